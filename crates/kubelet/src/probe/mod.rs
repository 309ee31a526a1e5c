//! Probes: one task per probe of a running container, telling its verdicts.

mod check;
mod grpc;
pub mod http;
pub mod verdict;

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, Probe},
    jiff::Timestamp,
};
use tokio::sync::mpsc::UnboundedSender;

use verdict::Tally;
pub use verdict::What;

use crate::context::Context;

/// Between the quick first tries of readiness and startup probes; doubles.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// What a probe found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub container: String,
    pub id: String,
    pub what: What,
    pub good: bool,
    pub message: String,
    /// Told for its event only: below the threshold, or unchanged.
    pub only_event: bool,
}

/// Whom to probe.
#[derive(Clone)]
pub struct Subject {
    pub container: Container,
    pub id: String,
    pub pod_ip: Option<IpAddr>,
    pub started_at: Timestamp,
}

/// Probes until dropped by the caller's abort, or until a liveness or startup verdict is final.
pub async fn run(
    ctx: Arc<Context>,
    subject: Subject,
    what: What,
    probe: Probe,
    verdicts: UnboundedSender<Verdict>,
) {
    let period = seconds(probe.period_seconds, 10);
    let delay =
        Duration::from_secs(u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0));
    let age = Timestamp::now().duration_since(subject.started_at);
    tokio::time::sleep(delay.saturating_sub(Duration::try_from(age).unwrap_or_default())).await;
    let mut tally = Tally::new(what, probe.success_threshold, probe.failure_threshold);
    let send = |good: bool, message: String, only_event: bool| {
        let verdict = Verdict {
            container: subject.container.name.clone(),
            id: subject.id.clone(),
            what,
            good,
            message,
            only_event,
        };
        verdicts.send(verdict).is_ok()
    };
    // A container that just started gets a few quick looks that count only when they succeed.
    let mut quick = (what != What::Liveness && probe.exec.is_none()).then_some(FIRST_LOOK);
    loop {
        let (good, message) = check::once(&ctx, &subject, &probe).await;
        if let Some(pause) = quick.filter(|pause| !good && *pause < period) {
            quick = Some(pause * 2);
            tokio::time::sleep(pause).await;
            continue;
        }
        quick = None;
        let decided = tally.count(good);
        let told = match decided {
            Some(verdict) => send(verdict, message, false),
            None if !good => send(false, message, true),
            None => true,
        };
        let is_final = decided
            .is_some_and(|verdict| what == What::Startup || (what == What::Liveness && !verdict));
        if !told || is_final {
            return;
        }
        tokio::time::sleep(period).await;
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        value
            .and_then(|v| u64::try_from(v).ok())
            .filter(|v| *v > 0)
            .unwrap_or(default),
    )
}
