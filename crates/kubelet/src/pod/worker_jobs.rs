//! How a pod's task has its plan done: begins jobs, and takes in what came of them.

use std::collections::HashSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use knarr_runtime::ContainerState;
use tokio::{
    sync::watch,
    task::{Id, JoinError},
};
use tokio_util::sync::CancellationToken;

use super::{
    cleanup,
    memory::{Busy, Condemned, Step, Waiting},
    ops::{self, Done},
    plan::Action,
    worker::{Key, Worker},
};
use crate::{
    container::{
        config,
        start::{Failure, Start, tell},
        stop::Stop,
    },
    probe::{Verdict, What},
};

/// Between tries of what failed for want of something else.
const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// Delays after failed steps of the whole pod: doubled up to the last.
const FIRST_STEP: i64 = 1;
const LAST_STEP: i64 = 60;

fn after(now: Timestamp, delay: SignedDuration) -> Option<Timestamp> {
    now.checked_add(delay).ok()
}

fn failed(step: &mut Step, now: Timestamp) {
    let delay = (FIRST_STEP << step.failures.min(10)).min(LAST_STEP);
    step.failures += 1;
    step.retry_at = after(now, SignedDuration::from_secs(delay));
}

impl Worker {
    fn spawn(&mut self, key: Key, job: impl Future<Output = Done> + Send + 'static) {
        let handle = self.jobs.spawn(job);
        self.keys.insert(handle.id(), key);
    }

    /// Begins one action.
    pub(super) fn begin(&mut self, action: Action, now: Timestamp) {
        let ctx = self.ctx.clone();
        let uid = self.wanted.uid().to_owned();
        match action {
            Action::Volumes => self.spawn_volumes(),
            Action::Sandbox { attempt, old } => {
                if old.is_some() {
                    ctx.recorder.normal(
                        &*self.wanted.pod,
                        "SandboxChanged",
                        "Pod sandbox changed, it will be killed and re-created.",
                    );
                }
                self.memory.sandbox.busy = true;
                let config = config::sandbox(&ctx, &self.wanted, attempt);
                self.spawn(Key::Sandbox, ops::sandbox(ctx, config, old));
            }
            Action::StopSandboxes(ids) => {
                self.memory.sandbox.busy = true;
                self.spawn(Key::Sandbox, ops::stop_sandboxes(ctx, uid, ids));
            }
            Action::Start {
                name,
                attempt,
                failed_at,
            } => self.begin_start(&name, attempt, failed_at, now),
            Action::Stop {
                name,
                id,
                deadline,
                message,
            } => self.begin_stop(&name, id, deadline, message),
            Action::Remove { name, id } => {
                self.memory.slot(&name).busy = Some(Busy::Removing);
                self.spawn(
                    Key::Container(name.clone()),
                    ops::remove(ctx, uid, name, id),
                );
            }
            Action::Abort { name } => {
                if let Some(cancel) = self.cancels.get(&name) {
                    cancel.cancel();
                }
            }
        }
    }

    pub(super) fn spawn_volumes(&mut self) {
        self.stale = false;
        self.memory.volumes.busy = true;
        let ips = self
            .seen
            .sandboxes
            .first()
            .map(|s| s.ips.clone())
            .unwrap_or_default();
        let facts = self.ctx.facts(ips);
        let job = ops::volumes(
            self.ctx.clone(),
            self.wanted.clone(),
            self.held.snapshot(),
            self.tokens.clone(),
            facts,
        );
        self.spawn(Key::Volumes, job);
    }

    fn begin_start(
        &mut self,
        name: &str,
        attempt: u32,
        failed_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let Some((kind, container)) = self.wanted.container(name).cloned() else {
            return;
        };
        let Some(sandbox) = self.seen.ready_sandbox().cloned() else {
            return;
        };
        let slot = self.memory.slot(name);
        slot.busy = Some(Busy::Starting);
        slot.retry_at = None;
        if let Some(failed_at) = failed_at {
            slot.crash.next(failed_at, now);
        }
        let hosts_file = self.hosts_file(&sandbox);
        let cancel = CancellationToken::new();
        self.cancels.insert(name.to_owned(), cancel.clone());
        let (ctx, wanted, held) = (self.ctx.clone(), self.wanted.clone(), self.held.snapshot());
        let (volumes, facts) = (self.paths.clone(), self.ctx.facts(sandbox.ips.clone()));
        let name = name.to_owned();
        self.spawn(Key::Container(name.clone()), async move {
            let objects = match held.objects(&ctx, &wanted.pod).await {
                Ok(objects) => objects,
                Err(error) => {
                    let waiting = Waiting::new("CreateContainerConfigError", error);
                    return Done::Started {
                        name,
                        result: Err(Failure::Config(waiting)),
                    };
                }
            };
            let names = wanted
                .spec()
                .image_pull_secrets
                .iter()
                .flatten()
                .map(|r| r.name.clone());
            let pull_secrets = names
                .filter_map(|n| objects.secrets.get(&n).cloned())
                .collect();
            let sandbox_id = sandbox.id.clone();
            let pod_ips = if wanted.host_network() {
                ctx.config.node_ips.clone()
            } else {
                sandbox.ips
            };
            let start = Start {
                wanted,
                container,
                kind,
                attempt,
                sandbox_id,
                pod_ips,
                objects,
                pull_secrets,
                facts,
                volumes,
                hosts_file,
                cancel,
            };
            ops::start(ctx, start).await
        });
    }

    fn hosts_file(&mut self, sandbox: &knarr_runtime::SandboxStatus) -> Option<std::path::PathBuf> {
        if let Some((_, path)) = self
            .hosts
            .as_ref()
            .filter(|(id, path)| *id == sandbox.id && path.exists())
        {
            return Some(path.clone());
        }
        match ops::write_hosts(&self.ctx, &self.wanted, sandbox) {
            Ok(path) => {
                self.hosts = Some((sandbox.id.clone(), path.clone()));
                Some(path)
            }
            Err(error) => {
                tracing::warn!(pod = self.wanted.name(), %error, "hosts file not written");
                None
            }
        }
    }

    fn begin_stop(&mut self, name: &str, id: String, deadline: Timestamp, message: String) {
        let Some((kind, container)) = self.wanted.container(name).cloned() else {
            return;
        };
        self.memory.slot(name).busy = Some(Busy::Stopping);
        tell(
            &self.ctx,
            &self.wanted.pod,
            kind,
            name,
            true,
            "Killing",
            message,
        );
        let (tx, rx) = watch::channel(deadline);
        self.deadlines.insert(name.to_owned(), tx);
        let own = self
            .seen
            .sandboxes
            .first()
            .and_then(|s| s.ips.first().copied());
        let pod_ip = if self.wanted.host_network() {
            self.ctx.config.node_ips.first().copied()
        } else {
            own
        };
        let stop = Stop {
            wanted: self.wanted.clone(),
            container,
            id,
            pod_ip,
            deadline: rx,
        };
        let uid = self.wanted.uid().to_owned();
        self.spawn(
            Key::Container(name.to_owned()),
            ops::stop(self.ctx.clone(), uid, stop),
        );
    }

    /// Tells those who are being stopped when the end came nearer.
    pub(super) fn hurry(&mut self) {
        let Some(ending) = &self.memory.ending else {
            return;
        };
        for deadline in self.deadlines.values() {
            deadline.send_if_modified(|d| {
                let nearer = ending.deadline < *d;
                *d = (*d).min(ending.deadline);
                nearer
            });
        }
    }

    /// Takes in how a job ended.
    pub(super) fn take_done(&mut self, done: Result<(Id, Done), JoinError>) {
        let now = Timestamp::now();
        let done = match done {
            Ok((id, done)) => {
                self.keys.remove(&id);
                done
            }
            Err(error) => return self.take_panic(&error, now),
        };
        match done {
            Done::Volumes(result) => self.take_volumes(result, now),
            Done::Sandbox(result) | Done::SandboxesStopped(result) => {
                self.take_sandbox(result, now)
            }
            Done::Started { name, result } => self.take_started(&name, result, now),
            Done::Stopped { name, ok } => {
                self.deadlines.remove(&name);
                let slot = self.memory.slot(&name);
                slot.busy = None;
                if ok {
                    slot.condemned = None;
                }
            }
            Done::Removed { name } => self.memory.slot(&name).busy = None,
        }
    }

    /// A job that died is a fault of this program; the pod goes on.
    fn take_panic(&mut self, error: &JoinError, now: Timestamp) {
        tracing::error!(pod = self.wanted.name(), %error, "work on the pod failed unexpectedly");
        match self.keys.remove(&error.id()) {
            Some(Key::Volumes) => self.take_volumes(Err(error.to_string()), now),
            Some(Key::Sandbox) => self.take_sandbox(Err(error.to_string()), now),
            Some(Key::Container(name)) => {
                let slot = self.memory.slot(&name);
                slot.busy = None;
                slot.retry_at = after(now, RETRY);
            }
            None => {}
        }
    }

    fn take_volumes(
        &mut self,
        result: Result<(crate::volume::Paths, crate::volume::token::Tokens), String>,
        now: Timestamp,
    ) {
        let step = &mut self.memory.volumes;
        step.busy = false;
        match result {
            Ok((paths, tokens)) => {
                *step = Step {
                    done: true,
                    ..Step::default()
                };
                (self.paths, self.tokens) = (paths, tokens);
            }
            Err(error) => {
                self.stale |= step.done;
                failed(step, now);
                self.ctx
                    .recorder
                    .warning(&*self.wanted.pod, "FailedMount", error);
            }
        }
    }

    fn take_sandbox(&mut self, result: Result<(), String>, now: Timestamp) {
        let step = &mut self.memory.sandbox;
        step.busy = false;
        match result {
            Ok(()) => *step = Step::default(),
            Err(error) if self.memory.ending.is_none() => {
                failed(step, now);
                self.ctx.recorder.warning(
                    &*self.wanted.pod,
                    "FailedCreatePodSandBox",
                    format!("Failed to create pod sandbox: {error}"),
                );
            }
            Err(error) => {
                failed(step, now);
                self.ctx.recorder.warning(
                    &*self.wanted.pod,
                    "FailedKillPod",
                    format!("error killing pod: {error}"),
                );
            }
        }
    }

    fn take_started(&mut self, name: &str, result: Result<String, Failure>, now: Timestamp) {
        self.cancels.remove(name);
        let probes = self
            .wanted
            .container(name)
            .map(|(_, c)| (c.startup_probe.is_some(), c.readiness_probe.is_some()));
        let (has_startup, has_readiness) = probes.unwrap_or_default();
        let slot = self.memory.slot(name);
        slot.busy = None;
        match result {
            Ok(id) => {
                slot.id = id;
                slot.waiting = None;
                slot.condemned = None;
                slot.pull.reset();
                slot.started = !has_startup;
                slot.ready = slot.started && !has_readiness;
                self.collect(name);
            }
            Err(Failure::Image(mut waiting)) => {
                let event = slot.pull.until(now, now).is_some();
                slot.pull.next(now, now);
                slot.retry_at = after(now, slot.pull.delay());
                if waiting.reason == "ErrImagePull" {
                    let image = self
                        .wanted
                        .container(name)
                        .and_then(|(_, c)| c.image.clone())
                        .unwrap_or_default();
                    if event || slot.waiting.is_some() {
                        waiting = Waiting::new(
                            "ImagePullBackOff",
                            format!(
                                "Back-off pulling image \"{image}\": ErrImagePull: {}",
                                waiting.message
                            ),
                        );
                    }
                }
                slot.waiting = Some(waiting);
            }
            Err(Failure::Config(waiting)) => {
                slot.retry_at = after(now, RETRY);
                slot.waiting = Some(waiting);
            }
            Err(Failure::Run(waiting)) => {
                slot.crash.next(now, now);
                slot.retry_at = after(now, slot.crash.delay());
                slot.waiting = Some(waiting);
            }
            Err(Failure::Hook { id, message }) => {
                slot.id = id;
                (slot.started, slot.ready, slot.waiting) = (false, false, None);
                slot.condemned = Some(Condemned {
                    message,
                    grace: None,
                });
            }
            Err(Failure::Cancelled) => {}
        }
    }

    /// Removes all but the newest two of a container, and sandboxes that hold nothing.
    fn collect(&mut self, name: &str) {
        let uid = self.wanted.uid().to_owned();
        self.seen = self.ctx.view.observe(&uid);
        let ended = self
            .seen
            .containers
            .iter()
            .filter(|c| c.name == name && c.state != ContainerState::Running);
        let old: Vec<_> = ended.skip(1).cloned().collect();
        let kept: HashSet<&str> = self
            .seen
            .containers
            .iter()
            .filter(|c| !old.iter().any(|o| o.id == c.id))
            .map(|c| c.sandbox_id.as_str())
            .collect();
        let empty = self
            .seen
            .sandboxes
            .iter()
            .skip(1)
            .filter(|s| !kept.contains(s.id.as_str()));
        let empty: Vec<String> = empty.map(|s| s.id.clone()).collect();
        if old.is_empty() && empty.is_empty() {
            return;
        }
        let (ctx, pod) = (self.ctx.clone(), self.wanted.pod.clone());
        tokio::spawn(async move {
            let work = async {
                for container in old {
                    let log = ops::log_file(&ctx, &pod, &container);
                    cleanup::remove_container(&ctx, &uid, &container, &log).await?;
                }
                for id in &empty {
                    ctx.runtime().remove_sandbox(id).await?;
                }
                if !empty.is_empty() {
                    ctx.view.reload_sandboxes(&uid).await?;
                }
                anyhow::Ok(())
            };
            if let Err(error) = work.await {
                tracing::warn!(error = format!("{error:#}"), "old containers not removed");
            }
        });
    }

    /// Takes in what a probe found.
    pub(super) fn take_verdict(&mut self, verdict: Verdict) {
        let Some((kind, container)) = self.wanted.container(&verdict.container).cloned() else {
            return;
        };
        if !verdict.good {
            let message = format!("{} probe failed: {}", verdict.what.name(), verdict.message);
            tell(
                &self.ctx,
                &self.wanted.pod,
                kind,
                &container.name,
                false,
                "Unhealthy",
                message,
            );
        }
        let slot = self.memory.slot(&container.name);
        if verdict.only_event || slot.id != verdict.id {
            return;
        }
        let condemn = |probe: Option<&k8s_openapi::api::core::v1::Probe>, what: &str| Condemned {
            message: format!(
                "Container {} failed {what} probe, will be restarted",
                container.name
            ),
            grace: probe.and_then(|p| p.termination_grace_period_seconds),
        };
        match (verdict.what, verdict.good) {
            (What::Startup, true) => {
                slot.started = true;
                slot.ready = container.readiness_probe.is_none();
            }
            (What::Readiness, good) => slot.ready = good,
            (What::Startup, false) => {
                slot.condemned = Some(condemn(container.startup_probe.as_ref(), "startup"))
            }
            (What::Liveness, false) => {
                slot.condemned = Some(condemn(container.liveness_probe.as_ref(), "liveness"))
            }
            (What::Liveness, true) => {}
        }
    }
}
