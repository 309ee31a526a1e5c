//! Which probes of a pod run right now.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{Container, Probe},
    jiff::Timestamp,
};
use knarr_runtime::ContainerState;
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    memory::{Busy, Memory, Slot},
    wanted::{Kind, Wanted},
};
use crate::{
    context::Context,
    probe::{self, Subject, Verdict, What},
    view::Observed,
};

/// The probes of one pod. Dropping it ends them.
pub struct Probing {
    ctx: Arc<Context>,
    running: HashMap<(String, What), AbortHandle>,
    sender: mpsc::UnboundedSender<Verdict>,
    receiver: mpsc::UnboundedReceiver<Verdict>,
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}

/// The probes that a container in this condition has.
fn due<'a>(
    kind: Kind,
    container: &'a Container,
    slot: &Slot,
    ending: bool,
) -> Vec<(What, &'a Probe)> {
    if !matches!(kind, Kind::App | Kind::Sidecar) || slot.busy == Some(Busy::Starting) {
        return Vec::new();
    }
    let stopping = ending || slot.busy == Some(Busy::Stopping) || slot.condemned.is_some();
    let startup = container.startup_probe.as_ref().filter(|_| !slot.started);
    if let Some(probe) = startup {
        return if stopping {
            Vec::new()
        } else {
            vec![(What::Startup, probe)]
        };
    }
    let liveness = container
        .liveness_probe
        .as_ref()
        .filter(|_| !stopping)
        .map(|p| (What::Liveness, p));
    let readiness = container
        .readiness_probe
        .as_ref()
        .map(|p| (What::Readiness, p));
    liveness.into_iter().chain(readiness).collect()
}

impl Probing {
    pub fn new(ctx: Arc<Context>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Probing {
            ctx,
            running: HashMap::new(),
            sender,
            receiver,
        }
    }

    /// The next verdict.
    pub async fn next(&mut self) -> Verdict {
        match self.receiver.recv().await {
            Some(verdict) => verdict,
            // Never: the sender lives here.
            None => std::future::pending().await,
        }
    }

    /// Starts the probes that are due and ends those that are not.
    pub fn sync(&mut self, wanted: &Wanted, seen: &Observed, memory: &Memory) {
        let mut keep = HashSet::new();
        for (kind, container) in &wanted.containers {
            let Some(slot) = memory.containers.get(&container.name) else {
                continue;
            };
            let Some(last) = seen.latest(&container.name) else {
                continue;
            };
            if last.state != ContainerState::Running || last.id != slot.id {
                continue;
            }
            let own = seen.sandboxes.first().and_then(|s| s.ips.first().copied());
            let pod_ip = if wanted.host_network() {
                self.ctx.config.node_ips.first().copied()
            } else {
                own
            };
            for (what, probe) in due(*kind, container, slot, memory.ending.is_some()) {
                let key = (last.id.clone(), what);
                keep.insert(key.clone());
                let subject = || Subject {
                    container: container.clone(),
                    id: last.id.clone(),
                    pod_ip,
                    started_at: last.started_at.unwrap_or_else(Timestamp::now),
                };
                let (ctx, sender) = (&self.ctx, &self.sender);
                self.running.entry(key).or_insert_with(|| {
                    tokio::spawn(probe::run(
                        ctx.clone(),
                        subject(),
                        what,
                        probe.clone(),
                        sender.clone(),
                    ))
                    .abort_handle()
                });
            }
        }
        self.running.retain(|key, task| {
            let stays = keep.contains(key);
            if !stays {
                task.abort();
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn startup_gates_the_others() {
        let p = || Some(Probe::default());
        let container = Container {
            startup_probe: p(),
            liveness_probe: p(),
            readiness_probe: p(),
            ..Container::default()
        };
        let run = |kind, slot: &Slot, ending| {
            due(kind, &container, slot, ending)
                .into_iter()
                .map(|(w, _)| w)
                .collect::<Vec<_>>()
        };
        let fresh = Slot::default();
        let started = Slot {
            started: true,
            ..Slot::default()
        };
        let starting = Slot {
            busy: Some(Busy::Starting),
            ..Slot::default()
        };
        let stopping = Slot {
            busy: Some(Busy::Stopping),
            started: true,
            ..Slot::default()
        };
        assert_eq!(run(Kind::App, &fresh, false), [What::Startup]);
        assert_eq!(
            run(Kind::Sidecar, &started, false),
            [What::Liveness, What::Readiness]
        );
        assert_eq!(run(Kind::App, &stopping, false), [What::Readiness]);
        assert_eq!(run(Kind::App, &started, true), [What::Readiness]);
        assert!(run(Kind::App, &starting, false).is_empty());
        assert!(run(Kind::Init, &started, false).is_empty());
    }
}
