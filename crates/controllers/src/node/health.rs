//! Tells nodes that no longer answer: their conditions become Unknown, taints say so, and their pods are no longer ready.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use knarr_client::{Change, Informer, Informers, Queue, events::Recorder};
use kube::{Api, Client, ResourceExt, api::Patch};
use parking_lot::Mutex;
use serde_json::json;

use super::taints;
use crate::{feed, pod, write};

const WORKERS: usize = 4;
/// A node that was never heard of is given longer: its kubelet may be starting.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// Conditions that only the kubelet can know, and thus nobody when it is silent.
const KUBELETS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

struct Seen {
    last: Instant,
    /// Whether it was ready when last looked at.
    ready: bool,
}

struct Controller {
    client: Client,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    queue: Queue<String>,
    seen: Mutex<HashMap<String, Seen>>,
    grace: Duration,
    recorder: Recorder,
}

/// Runs the controller for ever. `grace` is how long a node may be silent.
pub async fn run(informers: Informers, grace: Duration) {
    let client = informers.client().clone();
    let controller = Arc::new(Controller {
        nodes: informers.of(),
        leases: informers.selected("metadata.namespace=kube-node-lease"),
        pods: informers.of(),
        queue: Queue::new(),
        seen: Mutex::default(),
        grace,
        recorder: Recorder::new(client.clone(), "node-controller", None),
        client,
    });
    let c = &controller;
    let work = async {
        c.nodes.synced().await;
        c.leases.synced().await;
        c.pods.synced().await;
        feed::work(
            "nodelifecycle",
            WORKERS,
            &c.queue,
            c,
            |c, name| async move { c.sync(name).await },
        )
        .await;
    };
    tokio::join!(
        feed::each(&c.nodes, |n| c.node_changed(&n)),
        feed::each(&c.leases, |l| {
            if let Change::Applied { new, .. } = &l {
                c.heard(&new.name_any());
            }
        }),
        work,
    );
}

fn heartbeat(node: &Node) -> Option<&Time> {
    let all = node.status.as_ref()?.conditions.as_ref()?;
    all.iter()
        .find(|c| c.type_ == "Ready")?
        .last_heartbeat_time
        .as_ref()
}

impl Controller {
    /// A sign of life. Nothing is to be done unless the node was thought dead.
    fn heard(&self, name: &str) {
        if let Some(seen) = self.seen.lock().get_mut(name) {
            seen.last = Instant::now();
        }
    }

    fn node_changed(&self, change: &Change<Node>) {
        let node = change.object();
        let name = node.name_any();
        match change {
            Change::Deleted(_) => drop(self.seen.lock().remove(&name)),
            Change::Applied { old, new } => {
                let mut seen = self.seen.lock();
                let seen = seen.entry(name.clone()).or_insert_with(|| Seen {
                    last: Instant::now(),
                    ready: false,
                });
                if old
                    .as_ref()
                    .is_some_and(|old| heartbeat(old) != heartbeat(new))
                {
                    seen.last = Instant::now();
                }
            }
        }
        self.queue.add(name);
    }

    async fn sync(&self, name: String) -> anyhow::Result<Option<Duration>> {
        let Some(node) = self.nodes.get("", &name) else {
            return Ok(None);
        };
        let Some((last, was_ready)) = self.seen.lock().get(&name).map(|s| (s.last, s.ready)) else {
            return Ok(None);
        };
        let silent = last.elapsed();
        let grace = if taints::condition(&node, "Ready").is_empty() {
            STARTUP_GRACE
        } else {
            self.grace
        };
        let mut node = Node::clone(&node);
        if silent >= grace
            && let Some(conditions) = unknown(&node, Timestamp::now())
        {
            let patch = json!({"status": {"conditions": conditions}});
            let api: Api<Node> = Api::all(self.client.clone());
            node = api
                .patch_status(&name, &write::patch(), &Patch::Strategic(patch))
                .await?;
        }
        let ready = taints::condition(&node, "Ready") == "True";
        self.taint(&node).await?;
        if was_ready && !ready {
            self.recorder.normal(
                &node,
                "NodeNotReady",
                format!("Node {name} status is now: NodeNotReady"),
            );
            self.unready_pods(&name).await?;
        }
        if let Some(seen) = self.seen.lock().get_mut(&name) {
            seen.ready = ready;
        }
        // A dead node is looked at again when it is heard of: its kubelet then says how it is.
        Ok((silent < grace).then(|| grace - silent + Duration::from_millis(10)))
    }

    async fn taint(&self, node: &Node) -> anyhow::Result<()> {
        let Some(wanted) = taints::wanted(node, Timestamp::now()) else {
            return Ok(());
        };
        let patch = json!({"metadata": {"resourceVersion": node.resource_version()}, "spec": {"taints": wanted}});
        let api: Api<Node> = Api::all(self.client.clone());
        match api
            .patch(&node.name_any(), &write::patch(), &Patch::Merge(patch))
            .await
        {
            Err(error) if !write::gone(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// No traffic must go to pods on a node that does not answer.
    async fn unready_pods(&self, node: &str) -> anyhow::Result<()> {
        let on_node = |p: &Arc<Pod>| pod::node(p) == node && pod::ready(p);
        for p in self.pods.list().into_iter().filter(on_node) {
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": Time(Timestamp::now())});
            let patch =
                json!({"metadata": {"uid": p.uid()}, "status": {"conditions": [condition]}});
            let api: Api<Pod> =
                Api::namespaced(self.client.clone(), &p.namespace().unwrap_or_default());
            match api
                .patch_status(&p.name_any(), &write::patch(), &Patch::Strategic(patch))
                .await
            {
                Ok(_) => self
                    .recorder
                    .warning(&*p, "NodeNotReady", "Node is not ready"),
                Err(error) if write::gone(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The conditions that are Unknown of a silent node and do not say so yet.
fn unknown(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let all = node
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let fresh = |kind: &&str| {
        let current = all.iter().find(|c| c.type_ == **kind);
        let (reason, message) = match current {
            None => (
                "NodeStatusNeverUpdated",
                "Kubelet never posted node status.",
            ),
            Some(c) if c.status != "Unknown" => {
                ("NodeStatusUnknown", "Kubelet stopped posting node status.")
            }
            Some(_) => return None,
        };
        Some(NodeCondition {
            type_: (*kind).into(),
            status: "Unknown".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: match current {
                Some(c) => c.last_heartbeat_time.clone(),
                None => node.metadata.creation_timestamp.clone(),
            },
            last_transition_time: Some(Time(now)),
        })
    };
    let changed: Vec<NodeCondition> = KUBELETS.iter().filter_map(fresh).collect();
    (!changed.is_empty()).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_is_unknown() {
        let mut node: Node = serde_json::from_value(json!({"status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}]}}))
        .unwrap();
        let said = unknown(&node, Timestamp::UNIX_EPOCH).unwrap();
        let words: Vec<_> = said
            .iter()
            .map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap()))
            .collect();
        let (stopped, never) = ("NodeStatusUnknown", "NodeStatusNeverUpdated");
        let want = [
            ("Ready", stopped),
            ("MemoryPressure", never),
            ("DiskPressure", stopped),
            ("PIDPressure", never),
        ];
        assert_eq!(words, want);
        node.status.as_mut().unwrap().conditions = Some(said);
        assert!(unknown(&node, Timestamp::now()).is_none());
    }
}
