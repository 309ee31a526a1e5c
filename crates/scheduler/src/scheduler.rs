//! The task that knows the cluster, and tries pod after pod.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Namespace, Node, Pod, Service},
};
use knarr_client::{Change, Informers};
use kube::ResourceExt;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::{
    Config,
    bind::{Binder, Bound},
    cluster::{Cluster, Workload},
    cycle::Pipeline,
    framework::Events,
    labels::Selector,
    plugins,
    pod_info::PodInfo,
    preempt,
    queue::{Failure, Queue},
};

/// Attempts in a row before others get the thread.
const IN_A_ROW: usize = 16;

struct Inputs {
    pods: UnboundedReceiver<Change<Pod>>,
    nodes: UnboundedReceiver<Change<Node>>,
    services: UnboundedReceiver<Change<Service>>,
    sets: UnboundedReceiver<Change<ReplicaSet>>,
    namespaces: UnboundedReceiver<Change<Namespace>>,
    bound: UnboundedReceiver<Bound>,
}

/// Runs the scheduler for ever.
pub async fn run(informers: Informers, config: Config) {
    let (pods, nodes, services) = (
        informers.of::<Pod>(),
        informers.of::<Node>(),
        informers.of::<Service>(),
    );
    let (sets, namespaces) = (informers.of::<ReplicaSet>(), informers.of::<Namespace>());
    tokio::join!(
        pods.synced(),
        nodes.synced(),
        services.synced(),
        sets.synced(),
        namespaces.synced()
    );
    let (done, bound) = mpsc::unbounded_channel();
    let mut inputs = Inputs {
        pods: pods.subscribe(),
        nodes: nodes.subscribe(),
        services: services.subscribe(),
        sets: sets.subscribe(),
        namespaces: namespaces.subscribe(),
        bound,
    };
    let binder = Binder::new(informers.client().clone(), &config.name, done);
    let mut scheduler = Scheduler::new(config, binder);
    loop {
        scheduler.take_in(&mut inputs);
        let mut tried = 0;
        while tried < IN_A_ROW && scheduler.try_next(Instant::now()) {
            tried += 1;
        }
        if tried > 0 {
            tokio::task::yield_now().await;
        } else if !scheduler.wait(&mut inputs).await {
            return;
        }
    }
}

struct Scheduler {
    config: Config,
    cluster: Cluster,
    queue: Queue,
    pipeline: Pipeline,
    binder: Binder,
}

fn drain<T>(from: &mut UnboundedReceiver<T>, mut handle: impl FnMut(T)) {
    while let Ok(item) = from.try_recv() {
        handle(item);
    }
}

impl Scheduler {
    fn new(config: Config, binder: Binder) -> Self {
        Scheduler {
            config,
            cluster: Cluster::default(),
            queue: Queue::default(),
            pipeline: Pipeline::new(plugins::all()),
            binder,
        }
    }

    /// All changes that wait.
    fn take_in(&mut self, inputs: &mut Inputs) {
        drain(&mut inputs.namespaces, |c| self.namespace_changed(&c));
        drain(&mut inputs.services, |c| self.service_changed(&c));
        drain(&mut inputs.sets, |c| self.set_changed(&c));
        drain(&mut inputs.nodes, |c| self.node_changed(&c));
        drain(&mut inputs.pods, |c| self.pod_changed(&c));
        drain(&mut inputs.bound, |b| self.bound(&b));
    }

    /// Sleeps until something happens; false when nothing can any more.
    async fn wait(&mut self, inputs: &mut Inputs) -> bool {
        let due = self.queue.next_due();
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = inputs.pods.recv() => change.map(|c| self.pod_changed(&c)).is_some(),
            change = inputs.nodes.recv() => change.map(|c| self.node_changed(&c)).is_some(),
            change = inputs.services.recv() => change.map(|c| self.service_changed(&c)).is_some(),
            change = inputs.sets.recv() => change.map(|c| self.set_changed(&c)).is_some(),
            change = inputs.namespaces.recv() => change.map(|c| self.namespace_changed(&c)).is_some(),
            bound = inputs.bound.recv() => bound.map(|b| self.bound(&b)).is_some(),
            () = timer => {
                self.queue.expire(Instant::now());
                true
            }
        }
    }

    fn namespace_changed(&mut self, change: &Change<Namespace>) {
        let namespace = change.object();
        match change {
            Change::Applied { .. } => {
                self.cluster
                    .namespaces
                    .insert(namespace.name_any(), namespace.metadata.labels.clone());
            }
            Change::Deleted(_) => {
                self.cluster.namespaces.remove(&namespace.name_any());
            }
        }
        self.queue.happened(Events::NAMESPACE, Instant::now());
    }

    fn service_changed(&mut self, change: &Change<Service>) {
        let service = change.object();
        let of_namespace = self
            .cluster
            .services
            .entry(service.namespace().unwrap_or_default())
            .or_default();
        let selector = service
            .spec
            .as_ref()
            .and_then(|s| s.selector.as_ref())
            .filter(|s| !s.is_empty());
        match (change, selector) {
            (Change::Applied { .. }, Some(selector)) => {
                of_namespace.insert(service.name_any(), Selector::equal(selector));
            }
            _ => drop(of_namespace.remove(&service.name_any())),
        }
    }

    fn set_changed(&mut self, change: &Change<ReplicaSet>) {
        let set = change.object();
        let uid = set.uid().unwrap_or_default();
        match (change, &set.spec) {
            (Change::Applied { .. }, Some(spec)) => {
                let selector = Selector::parse(Some(&spec.selector));
                self.cluster.workloads.insert(uid, Workload { selector });
            }
            _ => drop(self.cluster.workloads.remove(&uid)),
        }
    }

    fn node_changed(&mut self, change: &Change<Node>) {
        match change {
            Change::Applied { old, new } => {
                self.cluster.set_node(new.clone());
                let events = old
                    .as_ref()
                    .map_or(Events::NODE_ADDED, |old| node_events(old, new));
                if events != Events::default() {
                    self.queue.happened(events, Instant::now());
                }
            }
            Change::Deleted(node) => self.cluster.remove_node(&node.name_any()),
        }
    }

    fn pod_changed(&mut self, change: &Change<Pod>) {
        let pod = change.object();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        if matches!(change, Change::Deleted(_)) || matches!(phase, Some("Succeeded" | "Failed")) {
            self.queue.remove(uid);
            self.cluster.denominate(uid);
            self.gone(uid);
            return;
        }
        let spec = pod.spec.as_ref();
        if spec
            .and_then(|s| s.node_name.as_deref())
            .is_some_and(|n| !n.is_empty())
        {
            self.queue.remove(uid);
            self.placed(PodInfo::new(pod.clone()));
            return;
        }
        let name = spec
            .and_then(|s| s.scheduler_name.as_deref())
            .unwrap_or("default-scheduler");
        if name != self.config.name || pod.metadata.deletion_timestamp.is_some() {
            self.queue.remove(uid);
        } else if self.cluster.placed(uid).is_none() {
            // One that is assumed on a node is on its way there.
            self.queue.put(Arc::new(PodInfo::new(pod.clone())));
        }
    }

    fn gone(&mut self, uid: &str) {
        if self.cluster.remove(uid) {
            self.queue.happened(Events::POD_GONE, Instant::now());
        }
    }

    fn placed(&mut self, pod: PodInfo) {
        let (node, events) = (
            pod.node().to_owned(),
            placed_events(self.cluster.placed(&pod.uid), &pod),
        );
        self.cluster.place(Arc::new(pod), &node);
        if events != Events::default() {
            self.queue.happened(events, Instant::now());
        }
    }

    /// A binding that failed leaves its room to others, and the pod tries again.
    fn bound(&mut self, bound: &Bound) {
        if bound.failed && self.queue.contains(&bound.uid) {
            self.gone(&bound.uid);
            self.queue
                .failed(&bound.uid, Failure::Error, Instant::now());
        }
    }

    /// Tries the next pod; false when there is none.
    fn try_next(&mut self, now: Instant) -> bool {
        let Some(pod) = self.queue.next(now) else {
            return false;
        };
        match self.pipeline.schedule(&pod, &self.cluster) {
            Ok(node) => {
                let node = self.cluster.nodes()[node].name.clone();
                // Assumed: the next pod must not take the same room while this one is being bound.
                self.cluster.place(pod.clone(), &node);
                self.cluster.denominate(&pod.uid);
                self.queue.happened(Events::POD_PLACED, now);
                self.binder.bind(pod, node);
            }
            Err(mut diagnosis) => {
                let preemption = match diagnosis.nodes {
                    0 => None,
                    _ => Some(preempt::find(
                        &self.pipeline,
                        &pod,
                        &self.cluster,
                        &diagnosis,
                    )),
                };
                self.queue
                    .failed(&pod.uid, Failure::Unschedulable(diagnosis.wakes), now);
                match preemption {
                    Some(Ok(preemption)) => {
                        self.cluster.nominate(pod.clone(), &preemption.node);
                        self.binder.preempt(pod, preemption, diagnosis.message())
                    }
                    other => {
                        diagnosis.preemption = other.and_then(Result::err);
                        self.binder.tell(pod, diagnosis.message());
                    }
                }
            }
        }
        true
    }
}

/// What a change of a node may mean to pods that wait.
fn node_events(old: &Node, new: &Node) -> Events {
    let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
    let taints = |n: &Node| n.spec.as_ref().map(|s| (s.taints.clone(), s.unschedulable));
    let mut events = Events::default();
    if allocatable(old) != allocatable(new) {
        events = events.and(Events::NODE_RESOURCES);
    }
    if old.metadata.labels != new.metadata.labels {
        events = events.and(Events::NODE_LABELS);
    }
    if taints(old) != taints(new) {
        events = events.and(Events::NODE_TAINTS);
    }
    events
}

/// What it may mean to pods that wait that this pod is now so on its node.
fn placed_events(before: Option<(&Arc<PodInfo>, &str)>, pod: &PodInfo) -> Events {
    let Some((before, node)) = before else {
        return Events::POD_PLACED;
    };
    let mut events = Events::default();
    if before.labels() != pod.labels() || node != pod.node() {
        events = events.and(Events::POD_PLACED);
    }
    if before.requests != pod.requests
        || node != pod.node()
        || before.terminating() != pod.terminating()
    {
        events = events.and(Events::POD_GONE);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::tests::node, pod_info::tests::pod};
    use serde_json::json;

    #[test]
    fn what_a_node_update_means() {
        let plain = node("a", json!({}), json!({}));
        assert_eq!(
            node_events(&plain, &node("a", json!({}), json!({}))),
            Events::default()
        );
        assert_eq!(
            node_events(&plain, &node("a", json!({"x": "y"}), json!({}))),
            Events::NODE_LABELS
        );
        assert_eq!(
            node_events(
                &plain,
                &node("a", json!({}), json!({"unschedulable": true}))
            ),
            Events::NODE_TAINTS
        );
    }

    #[test]
    fn what_a_placed_pod_means() {
        let a = pod("a", json!({}), json!({"nodeName": "n"}));
        assert_eq!(placed_events(None, &a), Events::POD_PLACED);
        assert_eq!(placed_events(Some((&a, "n")), &a), Events::default());
        let labelled = pod("a", json!({"x": "y"}), json!({"nodeName": "n"}));
        assert_eq!(
            placed_events(Some((&a, "n")), &labelled),
            Events::POD_PLACED
        );
    }
}
