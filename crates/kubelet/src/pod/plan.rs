//! What to do next for a pod. Pure: what is wanted, what was observed and what is remembered go in, actions come out.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::Container,
    jiff::{SignedDuration, Timestamp},
};
use knarr_runtime::{ContainerState, ContainerStatus, SandboxState, SandboxStatus};

use super::{
    backoff::words,
    memory::{Busy, Ending, Memory, Slot, Waiting},
    wanted::{Kind, Wanted},
};
use crate::view::Observed;

/// One thing to be done. Each runs beside the pod's task and is not asked for again while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the pod's directories and volumes.
    Volumes,
    /// Make a sandbox, after the old one (if any) was stopped.
    Sandbox {
        attempt: u32,
        old: Option<String>,
    },
    StopSandboxes(Vec<String>),
    /// Get the image, create and start. `failed_at`: when the container that this one replaces ended.
    Start {
        name: String,
        attempt: u32,
        failed_at: Option<Timestamp>,
    },
    Stop {
        name: String,
        id: String,
        deadline: Timestamp,
        message: String,
    },
    /// Remove a container that was made and never started.
    Remove {
        name: String,
        id: String,
    },
    /// Give up starting a container.
    Abort {
        name: String,
    },
}

/// What to do, and when to think again without anything having happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Containers that wait for their back-off.
    pub waiting: BTreeMap<String, Waiting>,
    pub wake: Option<Timestamp>,
    /// Nothing will run for this pod any more.
    pub over: bool,
    /// Nothing runs any more either, and its sandbox is stopped.
    pub ended: bool,
}

struct Look<'a> {
    wanted: &'a Wanted,
    seen: &'a Observed,
    memory: &'a Memory,
    now: Timestamp,
    plan: Plan,
}

/// Decides what to do for a pod.
pub fn plan(wanted: &Wanted, seen: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let mut look = Look {
        wanted,
        seen,
        memory,
        now,
        plan: Plan::default(),
    };
    match &memory.ending {
        Some(ending) => look.end(ending.deadline),
        None if is_over(wanted, seen, memory) => {
            let deadline = now
                .saturating_add(SignedDuration::from_secs(wanted.grace()))
                .unwrap_or(now);
            look.end(deadline);
        }
        None => look.run(),
    }
    look.plan
}

/// The exit code, also of a container that nobody saw ending.
pub fn exit_code(container: &ContainerStatus) -> i32 {
    container.exit_code.unwrap_or(137)
}

fn has_ended(container: &ContainerStatus) -> bool {
    matches!(
        container.state,
        ContainerState::Exited | ContainerState::Unknown
    )
}

/// Whether the pod ran to its end by itself: its apps have ended, or an init container failed, and nothing restarts.
pub fn is_over(wanted: &Wanted, seen: &Observed, memory: &Memory) -> bool {
    let for_good = |kind: Kind, c: &Container| {
        let last = seen
            .latest(&c.name)
            .filter(|l| has_ended(l) && !memory.is_busy(&c.name));
        last.is_some_and(|last| !wanted.restarts(kind, c, exit_code(last)))
    };
    let apps_ended = wanted.of_kind(Kind::App).all(|c| for_good(Kind::App, c));
    let app_began = wanted
        .of_kind(Kind::App)
        .any(|c| seen.latest(&c.name).is_some());
    let failed = |c: &Container| {
        for_good(Kind::Init, c) && seen.latest(&c.name).is_some_and(|l| exit_code(l) != 0)
    };
    apps_ended || (!app_began && wanted.of_kind(Kind::Init).any(failed))
}

impl Look<'_> {
    fn act(&mut self, action: Action) {
        self.plan.actions.push(action);
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.plan.wake = Some(self.plan.wake.map_or(at, |w| w.min(at)));
    }

    fn slot(&self, name: &str) -> Option<&Slot> {
        self.memory.containers.get(name)
    }

    fn run(&mut self) {
        match self.memory.volumes.due(self.now) {
            Ok(true) => self.act(Action::Volumes),
            Ok(false) => {}
            Err(at) => self.wake_at(at),
        }
        let Some(sandbox) = self.seen.ready_sandbox() else {
            return self.make_sandbox();
        };
        if self.memory.volumes.done && !self.memory.sandbox.busy {
            self.run_containers(sandbox);
        }
    }

    fn make_sandbox(&mut self) {
        match self.memory.sandbox.due(self.now) {
            Ok(true) => {}
            Ok(false) => return,
            Err(at) => return self.wake_at(at),
        }
        // What is being started belongs to the sandbox that is gone.
        if self.memory.containers.values().any(|s| s.busy.is_some()) {
            return;
        }
        let old = self.seen.sandboxes.first();
        let attempt = old.map_or(0, |s| s.config.attempt + 1);
        self.act(Action::Sandbox {
            attempt,
            old: old.map(|s| s.id.clone()),
        });
    }

    fn run_containers(&mut self, sandbox: &SandboxStatus) {
        let began = |c: &Container| {
            self.seen.latest_in(&sandbox.id, &c.name).is_some() || self.memory.is_busy(&c.name)
        };
        let initialized = self.wanted.of_kind(Kind::App).any(began);
        let wanted = self.wanted;
        let mut gate_open = true;
        for (kind, container) in &wanted.containers {
            match kind {
                Kind::Init if !initialized && gate_open => {
                    gate_open = self.step_init(sandbox, container)
                }
                Kind::Init => {}
                Kind::Sidecar if initialized || gate_open => {
                    self.keep(sandbox, *kind, container);
                    gate_open &= initialized || self.has_started(sandbox, &container.name);
                }
                Kind::Sidecar => {}
                Kind::App if gate_open => self.keep(sandbox, *kind, container),
                Kind::App => {}
                Kind::Ephemeral => self.keep(sandbox, *kind, container),
            }
        }
    }

    /// Takes an init container further. True when it is done.
    fn step_init(&mut self, sandbox: &SandboxStatus, container: &Container) -> bool {
        let last = self.seen.latest_in(&sandbox.id, &container.name);
        if !self.memory.is_busy(&container.name)
            && last.is_some_and(|l| has_ended(l) && exit_code(l) == 0)
        {
            return true;
        }
        self.keep(sandbox, Kind::Init, container);
        false
    }

    fn has_started(&self, sandbox: &SandboxStatus, name: &str) -> bool {
        let running = self
            .seen
            .latest_in(&sandbox.id, name)
            .filter(|l| l.state == ContainerState::Running);
        let slot = self.slot(name);
        running.is_some_and(|l| slot.is_some_and(|s| s.busy.is_none() && s.id == l.id && s.started))
    }

    /// Brings one container to run, or to run again.
    fn keep(&mut self, sandbox: &SandboxStatus, kind: Kind, container: &Container) {
        if self.memory.is_busy(&container.name) {
            return;
        }
        let Some(last) = self.seen.latest_in(&sandbox.id, &container.name) else {
            return self.start_in_new_sandbox(kind, container);
        };
        match last.state {
            ContainerState::Running => self.check_running(container, last),
            ContainerState::Created => self.act(Action::Remove {
                name: container.name.clone(),
                id: last.id.clone(),
            }),
            ContainerState::Exited | ContainerState::Unknown => {
                if self.wanted.restarts(kind, container, exit_code(last)) {
                    self.start(container, Some(last));
                }
            }
        }
    }

    fn start_in_new_sandbox(&mut self, kind: Kind, container: &Container) {
        let before = self.seen.latest(&container.name);
        let for_good = |l: &ContainerStatus| {
            has_ended(l) && !self.wanted.restarts(kind, container, exit_code(l))
        };
        if kind != Kind::Init && before.is_some_and(for_good) {
            return;
        }
        self.start(container, before);
    }

    fn check_running(&mut self, container: &Container, running: &ContainerStatus) {
        let condemned = self
            .slot(&container.name)
            .filter(|s| s.id == running.id)
            .and_then(|s| s.condemned.clone());
        let (message, grace) = if let Some(c) = condemned {
            (c.message, c.grace.unwrap_or(self.wanted.grace()))
        } else if container
            .image
            .as_deref()
            .is_some_and(|image| image != running.image_ref)
        {
            (
                format!(
                    "Container {} definition changed, will be restarted",
                    container.name
                ),
                self.wanted.grace(),
            )
        } else {
            return;
        };
        let deadline = self
            .now
            .saturating_add(SignedDuration::from_secs(grace.max(0)))
            .unwrap_or(self.now);
        self.act(Action::Stop {
            name: container.name.clone(),
            id: running.id.clone(),
            deadline,
            message,
        });
    }

    fn start(&mut self, container: &Container, before: Option<&ContainerStatus>) {
        let slot = self.slot(&container.name);
        let failed_at = before.map(|l| l.finished_at.unwrap_or(l.created_at));
        let crash = slot.map(|s| s.crash).unwrap_or_default();
        if let Some(until) = failed_at.and_then(|at| crash.until(at, self.now)) {
            let message = format!(
                "back-off {} restarting failed container={} pod={}_{}({})",
                words(crash.delay()),
                container.name,
                self.wanted.name(),
                self.wanted.namespace(),
                self.wanted.uid()
            );
            self.plan.waiting.insert(
                container.name.clone(),
                Waiting::new("CrashLoopBackOff", message),
            );
            return self.wake_at(until);
        }
        if let Some(at) = slot.and_then(|s| s.retry_at).filter(|at| *at > self.now) {
            return self.wake_at(at);
        }
        let attempt = before.map_or(0, |l| l.attempt + 1);
        self.act(Action::Start {
            name: container.name.clone(),
            attempt,
            failed_at,
        });
    }

    /// Stops what runs: apps first, then sidecars in reverse order, then the sandbox.
    fn end(&mut self, deadline: Timestamp) {
        self.plan.over = true;
        let mut alive = false;
        let wanted = self.wanted;
        for (_, container) in wanted
            .containers
            .iter()
            .filter(|(kind, _)| *kind != Kind::Sidecar)
        {
            alive |= self.stop(&container.name, deadline);
        }
        for container in wanted.of_kind(Kind::Sidecar).rev() {
            if alive {
                // It goes on until those that may need it have ended; a start in progress is of no use.
                if self
                    .slot(&container.name)
                    .is_some_and(|s| s.busy == Some(Busy::Starting))
                {
                    self.act(Action::Abort {
                        name: container.name.clone(),
                    });
                }
                continue;
            }
            alive = self.stop(&container.name, deadline);
        }
        if alive || self.memory.sandbox.busy || self.memory.volumes.busy {
            return;
        }
        let up = self
            .seen
            .sandboxes
            .iter()
            .filter(|s| s.state == SandboxState::Ready);
        let up: Vec<String> = up.map(|s| s.id.clone()).collect();
        match self.memory.sandbox.retry_at {
            _ if up.is_empty() => self.plan.ended = true,
            Some(at) if at > self.now => self.wake_at(at),
            _ => self.act(Action::StopSandboxes(up)),
        }
    }

    /// Asks for a container's end. False when it has ended.
    fn stop(&mut self, name: &str, deadline: Timestamp) -> bool {
        let running = self
            .seen
            .latest(name)
            .filter(|l| l.state == ContainerState::Running);
        match (self.slot(name).and_then(|s| s.busy), running) {
            (Some(Busy::Starting), _) => self.act(Action::Abort {
                name: name.to_owned(),
            }),
            (Some(_), _) => {}
            (None, Some(l)) => {
                let message = format!("Stopping container {name}");
                self.act(Action::Stop {
                    name: name.to_owned(),
                    id: l.id.clone(),
                    deadline,
                    message,
                });
            }
            (None, None) => return false,
        }
        true
    }
}

/// When the pod has been active for too long, as `spec.activeDeadlineSeconds` has it.
pub fn active_deadline(wanted: &Wanted, started: Option<Timestamp>) -> Option<Timestamp> {
    let seconds = wanted.spec().active_deadline_seconds?;
    started?
        .checked_add(SignedDuration::from_secs(seconds))
        .ok()
}

/// How a pod that has to go ends: `grace` seconds from `now`, never later than an earlier decision said.
pub fn ending(
    why: super::memory::Why,
    before: Option<&Ending>,
    grace: i64,
    now: Timestamp,
) -> Ending {
    let deadline = now
        .saturating_add(SignedDuration::from_secs(grace.max(1)))
        .unwrap_or(now);
    Ending {
        why,
        deadline: before.map_or(deadline, |b| b.deadline.min(deadline)),
    }
}

#[cfg(test)]
mod tests;
