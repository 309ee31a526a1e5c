//! The task of one pod: looks, plans, has work done, tells. Sleeps until something happens.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Pod, PodStatus},
    jiff::{SignedDuration, Timestamp},
};
use knarr_runtime::ContainerState;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{Id, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    cleanup,
    held::Held,
    last_words,
    memory::{Busy, Memory, Waiting, Why},
    ops::{self, Done},
    plan::{self, Plan, active_deadline},
    probing::Probing,
    report::Reporter,
    status::{Inputs, pod_status},
    wanted::Wanted,
};
use crate::{
    context::Context,
    view::Observed,
    volume::{Paths, token::Tokens},
};

/// How long `ErrImagePull` is told before it becomes `ImagePullBackOff`.
const FRESH_PULL_ERROR: SignedDuration = SignedDuration::from_secs(3);
const CLEANUP_RETRY: Duration = Duration::from_secs(2);

/// News for a pod's task.
#[derive(Debug)]
pub enum Input {
    /// The pod as it is wanted now.
    Pod(Arc<Pod>),
    /// The pod is no more in the API, or its file is gone.
    Gone(Arc<Pod>),
}

/// Which piece of work a task belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Volumes,
    Sandbox,
    Container(String),
}

/// The task of one pod.
pub struct Worker {
    pub(super) ctx: Arc<Context>,
    pub(super) wanted: Arc<Wanted>,
    pub(super) memory: Memory,
    pub(super) seen: Observed,
    pub(super) held: Held,
    pub(super) jobs: JoinSet<Done>,
    pub(super) keys: HashMap<Id, Key>,
    pub(super) cancels: HashMap<String, CancellationToken>,
    pub(super) deadlines: HashMap<String, watch::Sender<Timestamp>>,
    pub(super) probing: Probing,
    pub(super) paths: Paths,
    pub(super) tokens: Tokens,
    /// Volumes show old content.
    pub(super) stale: bool,
    /// For which sandbox the hosts file was written.
    pub(super) hosts: Option<(String, PathBuf)>,
    inputs: mpsc::UnboundedReceiver<Input>,
    waker: Arc<Notify>,
    reporter: Reporter,
    told: PodStatus,
    is_static: bool,
    gone: bool,
    volumes_removed: bool,
}

impl Worker {
    /// `refused`: why this node will not run the pod.
    pub fn new(
        ctx: Arc<Context>,
        pod: Arc<Pod>,
        refused: Option<Why>,
        is_static: bool,
        inputs: mpsc::UnboundedReceiver<Input>,
    ) -> Self {
        let told = pod.status.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let reporter = Reporter::new(ctx.client().clone(), &pod, told.clone(), is_static);
        let mut worker = Worker {
            waker: ctx.view.waker(&uid),
            wanted: Arc::new(Wanted::new(pod.clone())),
            memory: Memory::default(),
            seen: ctx.view.observe(&uid),
            held: Held::default(),
            jobs: JoinSet::new(),
            keys: HashMap::new(),
            cancels: HashMap::new(),
            deadlines: HashMap::new(),
            probing: Probing::new(ctx.clone()),
            paths: Paths::new(),
            tokens: Tokens::default(),
            stale: false,
            hosts: None,
            inputs,
            reporter,
            told,
            is_static,
            gone: false,
            volumes_removed: false,
            ctx,
        };
        let over = worker
            .told
            .phase
            .as_deref()
            .is_some_and(|p| p == "Succeeded" || p == "Failed");
        if let Some(why) = refused.or(over.then_some(Why::Completed)) {
            worker.end(why, 0);
        }
        worker.take_pod(pod);
        worker
    }

    /// Runs until nothing is left of the pod.
    pub async fn run(mut self) {
        loop {
            self.look();
            let now = Timestamp::now();
            let plan = plan::plan(&self.wanted, &self.seen, &self.memory, now);
            self.tell(&plan, now);
            if plan.ended && self.jobs.is_empty() && self.finish().await {
                break;
            }
            let wake = self.act(plan, now);
            self.wait(wake).await;
        }
        let uid = self.wanted.uid().to_owned();
        self.ctx.view.forget(&uid);
    }

    /// Takes in what runs, and what ended since.
    fn look(&mut self) {
        self.seen = self.ctx.view.observe(self.wanted.uid());
        let known: HashSet<&str> = self.seen.containers.iter().map(|c| c.id.as_str()).collect();
        self.memory
            .messages
            .retain(|id, _| known.contains(id.as_str()));
        for container in self
            .seen
            .containers
            .iter()
            .filter(|c| c.state == ContainerState::Exited)
        {
            if !self.memory.messages.contains_key(&container.id) {
                let log = ops::log_file(&self.ctx, &self.wanted.pod, container);
                self.memory
                    .messages
                    .insert(container.id.clone(), last_words::read(container, &log));
            }
        }
        self.adopt();
        self.probing.sync(&self.wanted, &self.seen, &self.memory);
    }

    /// Remembers containers that run and were started by an earlier run of the kubelet.
    fn adopt(&mut self) {
        let scheme = self.ctx.scheme();
        let told = self
            .told
            .container_statuses
            .iter()
            .chain(&self.told.init_container_statuses)
            .flatten();
        let told: HashMap<String, (bool, bool)> = told
            .filter_map(|c| Some((c.container_id.clone()?, (c.started == Some(true), c.ready))))
            .collect();
        for (_, container) in &self.wanted.containers {
            let Some(last) = self
                .seen
                .latest(&container.name)
                .filter(|l| l.state == ContainerState::Running)
            else {
                continue;
            };
            let slot = self
                .memory
                .containers
                .entry(container.name.clone())
                .or_default();
            if slot.id == last.id || slot.busy == Some(Busy::Starting) {
                continue;
            }
            let (started, ready) = told
                .get(&format!("{scheme}://{}", last.id))
                .copied()
                .unwrap_or_default();
            slot.id = last.id.clone();
            slot.condemned = None;
            slot.started = started || container.startup_probe.is_none();
            slot.ready = ready || (slot.started && container.readiness_probe.is_none());
        }
    }

    /// Makes the status and hands it on.
    fn tell(&mut self, plan: &Plan, now: Timestamp) {
        let busy = self.memory.containers.values().any(|s| s.busy.is_some());
        let ips = &self.ctx.config.node_ips;
        let status = pod_status(&Inputs {
            wanted: &self.wanted,
            seen: &self.seen,
            memory: &self.memory,
            waiting: &plan.waiting,
            before: &self.told,
            node_ips: ips,
            scheme: &self.ctx.scheme(),
            over: plan.over && !busy && !self.seen.any_running(),
            now,
        });
        self.reporter.set(status.clone());
        self.told = status;
    }

    /// Has everything done that the plan says; returns when to look again at the latest.
    fn act(&mut self, plan: Plan, now: Timestamp) -> Option<Timestamp> {
        let mut wake = plan.wake;
        let mut at = |t: Timestamp| wake = Some(wake.map_or(t, |w: Timestamp| w.min(t)));
        self.note_backoffs(&plan.waiting);
        for slot in self.memory.containers.values_mut() {
            let Some(w) = slot
                .waiting
                .as_mut()
                .filter(|w| w.reason == "ErrImagePull" && slot.busy.is_none())
            else {
                continue;
            };
            let Some(turn) = slot.retry_at.and_then(|r| {
                r.checked_sub(slot.pull.delay())
                    .ok()?
                    .checked_add(FRESH_PULL_ERROR)
                    .ok()
            }) else {
                continue;
            };
            if turn > now {
                at(turn);
            } else {
                let message = std::mem::take(&mut w.message);
                *w = Waiting::new("ImagePullBackOff", message);
            }
        }
        if let Some(deadline) = self.active_deadline() {
            if deadline <= now {
                let message =
                    "Pod was active on the node longer than the specified deadline".to_owned();
                self.end(
                    Why::Failed {
                        reason: "DeadlineExceeded".to_owned(),
                        message,
                    },
                    self.wanted.grace(),
                );
                return Some(now);
            }
            at(deadline);
        }
        if self.memory.volumes.done && !plan.over {
            let renew = self.tokens.renew_at();
            self.stale |= renew.is_some_and(|r| r <= now);
            if let Some(renew) = renew.filter(|r| *r > now) {
                at(renew);
            }
            if self.stale && !self.memory.volumes.busy {
                match self.memory.volumes.retry_at.filter(|r| *r > now) {
                    Some(retry) => at(retry),
                    None => self.spawn_volumes(),
                }
            }
        }
        for action in plan.actions {
            self.begin(action, now);
        }
        if plan.over {
            self.hurry();
        }
        wake
    }

    fn active_deadline(&self) -> Option<Timestamp> {
        let ending =
            self.memory.ending.is_some() || plan::is_over(&self.wanted, &self.seen, &self.memory);
        let started = self.told.start_time.as_ref().map(|t| t.0);
        active_deadline(&self.wanted, started).filter(|_| !ending)
    }

    /// An event for every container that begins to wait for its back-off.
    fn note_backoffs(&mut self, waiting: &BTreeMap<String, Waiting>) {
        for name in waiting.keys() {
            let slot = self.memory.slot(name);
            if slot
                .waiting
                .as_ref()
                .is_some_and(|w| w.reason == "CrashLoopBackOff")
            {
                continue;
            }
            // Remembered, so that it is told once per wait; cleared when the container runs.
            slot.waiting = Some(Waiting::new("CrashLoopBackOff", ""));
            let message = format!(
                "Back-off restarting failed container {name} in pod {}_{}({})",
                self.wanted.name(),
                self.wanted.namespace(),
                self.wanted.uid()
            );
            let kind = self
                .wanted
                .container(name)
                .map_or(super::wanted::Kind::App, |(k, _)| *k);
            crate::container::start::tell(
                &self.ctx,
                &self.wanted.pod,
                kind,
                name,
                false,
                "BackOff",
                message,
            );
        }
    }

    /// Sleeps until there is news.
    async fn wait(&mut self, wake: Option<Timestamp>) {
        let pause = wake
            .map(|w| Duration::try_from(w.duration_since(Timestamp::now())).unwrap_or_default());
        tokio::select! {
            input = self.inputs.recv() => match input {
                Some(input) => self.take(input),
                // The node agent goes down: pods stay as they are.
                None => std::future::pending().await,
            },
            Some(done) = self.jobs.join_next_with_id() => self.take_done(done),
            verdict = self.probing.next() => self.take_verdict(verdict),
            () = self.held.changed() => self.refresh(),
            () = self.waker.notified() => {}
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Pod(pod) => self.take_pod(pod),
            Input::Gone(last) => {
                self.gone = true;
                let grace = last
                    .metadata
                    .deletion_grace_period_seconds
                    .unwrap_or_else(|| self.wanted.grace());
                self.end(Why::Deleted, grace);
            }
        }
    }

    fn take_pod(&mut self, pod: Arc<Pod>) {
        let meta = |p: &Pod| (p.metadata.labels.clone(), p.metadata.annotations.clone());
        let shows_meta = pod
            .spec
            .iter()
            .flat_map(|s| s.volumes.iter().flatten())
            .any(|v| v.downward_api.is_some() || v.projected.is_some());
        self.stale |= shows_meta && meta(&self.wanted.pod) != meta(&pod);
        let deleted = pod.metadata.deletion_timestamp.is_some();
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        self.wanted = Arc::new(Wanted::new(pod));
        self.held.update(&self.ctx, &self.wanted.pod);
        if deleted {
            self.end(Why::Deleted, grace);
        }
    }

    /// Decides that the pod has to stop. A later decision can only bring the end nearer.
    pub(super) fn end(&mut self, why: Why, grace: i64) {
        let before = self.memory.ending.as_ref();
        // A failed pod stays failed when it is deleted.
        let why = match before.map(|b| &b.why) {
            Some(failed @ Why::Failed { .. }) => failed.clone(),
            Some(Why::Deleted) => Why::Deleted,
            _ => why,
        };
        self.memory.ending = Some(plan::ending(why, before, grace, Timestamp::now()));
    }

    /// Something that the pod refers to changed.
    pub(super) fn refresh(&mut self) {
        self.stale |= self.memory.volumes.done;
        self.memory.volumes.retry_at = None;
        for slot in self.memory.containers.values_mut() {
            if slot
                .waiting
                .as_ref()
                .is_some_and(|w| w.reason == "CreateContainerConfigError")
            {
                slot.retry_at = None;
            }
        }
    }

    fn is_deleted(&self) -> bool {
        self.gone || self.wanted.pod.metadata.deletion_timestamp.is_some()
    }

    /// All has ended. Removes what is left once the pod is deleted; true when this task has nothing more to do.
    async fn finish(&mut self) -> bool {
        if !self.is_deleted() {
            if !self.volumes_removed {
                self.volumes_removed = cleanup::remove_volumes(&self.ctx, self.wanted.uid())
                    .await
                    .is_ok();
            }
            return false;
        }
        if !self.gone && !self.is_static {
            self.reporter.flush().await;
        }
        let log_dir = self.ctx.config.pod_log_dir(
            self.wanted.namespace(),
            self.wanted.name(),
            self.wanted.uid(),
        );
        if !self.gone && !self.is_static && !self.delete().await {
            tokio::time::sleep(CLEANUP_RETRY).await;
            return false;
        }
        while let Err(error) =
            cleanup::remove_pod(&self.ctx, self.wanted.uid(), Some(&log_dir)).await
        {
            tracing::warn!(
                pod = self.wanted.name(),
                error = format!("{error:#}"),
                "pod not removed from the node; trying again"
            );
            tokio::time::sleep(CLEANUP_RETRY).await;
        }
        // A finalizer may keep the object; this task waits, so that none is begun for it again.
        while !self.gone {
            match self.inputs.recv().await {
                Some(Input::Gone(_)) => self.gone = true,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
        true
    }

    /// Removes the object from the API. True when that is done or was done by somebody else.
    async fn delete(&mut self) -> bool {
        let api: Api<Pod> = Api::namespaced(self.ctx.client().clone(), self.wanted.namespace());
        let preconditions = Preconditions {
            uid: Some(self.wanted.uid().to_owned()),
            resource_version: None,
        };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match api.delete(self.wanted.name(), &params).await {
            Ok(_) => true,
            Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => true,
            Err(error) => {
                tracing::warn!(pod = self.wanted.name(), %error, "pod not deleted; trying again");
                false
            }
        }
    }
}
