//! Ending a container: its hook, its signal, and death when its time is up.

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Container, jiff::Timestamp};
use tokio::sync::watch;

use super::hooks;
use crate::{context::Context, pod::wanted::Wanted};

/// A container gets at least this long between its stop signal and death.
const MIN_GRACE: Duration = Duration::from_secs(2);

/// Who has to go, and where to reach it.
pub struct Stop {
    pub wanted: Arc<Wanted>,
    pub container: Container,
    pub id: String,
    pub pod_ip: Option<IpAddr>,
    /// When it has to be gone; may be moved earlier while it is being stopped.
    pub deadline: watch::Receiver<Timestamp>,
}

fn left(deadline: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(Timestamp::now())).unwrap_or_default()
}

/// Stops the container. Returns when it has ended; false when it could not be ended.
pub async fn run(ctx: &Context, mut stop: Stop) -> bool {
    pre_stop(ctx, &mut stop).await;
    loop {
        let time = left(*stop.deadline.borrow_and_update()).max(MIN_GRACE);
        tokio::select! {
            ended = ctx.runtime().stop_container(&stop.id, time) => {
                if let Err(error) = &ended {
                    tracing::warn!(container = stop.id, %error, "container not stopped; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                return ended.is_ok();
            }
            Ok(()) = stop.deadline.changed() => {}
        }
    }
}

/// Runs the hook for as long as the grace period lasts.
async fn pre_stop(ctx: &Context, stop: &mut Stop) {
    let Some(hook) = stop
        .container
        .lifecycle
        .as_ref()
        .and_then(|l| l.pre_stop.clone())
    else {
        return;
    };
    let Stop {
        wanted,
        container,
        id,
        pod_ip,
        deadline,
    } = stop;
    let mut hook = std::pin::pin!(hooks::run(ctx, &hook, container, id, *pod_ip));
    loop {
        let time = left(*deadline.borrow_and_update());
        tokio::select! {
            done = &mut hook => {
                if let Err(error) = done {
                    ctx.recorder.warning(&*wanted.pod, "FailedPreStopHook", format!("PreStopHook failed: {error}"));
                }
                return;
            }
            () = tokio::time::sleep(time) => return,
            Ok(()) = deadline.changed() => {}
        }
    }
}
