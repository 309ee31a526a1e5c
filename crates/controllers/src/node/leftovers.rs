//! Deletes pods that nobody else will: those of nodes that are gone, those that were deleted before they had a node, and
//! the oldest of too many that ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use knarr_client::{Change, Informer, Informers, Queue, informer::Key};
use kube::{Api, Client, ResourceExt, api::Patch};
use serde_json::json;

use crate::{feed, pod, write};

const WORKERS: usize = 4;
/// A node may be gone only for a moment: it is given this long to come back.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Ended pods that are kept.
const KEPT: usize = 12_500;

struct Controller {
    client: Client,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    ended: AtomicUsize,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let controller = Arc::new(Controller {
        client: informers.client().clone(),
        nodes: informers.of(),
        pods: informers.of(),
        queue: Queue::new(),
        ended: AtomicUsize::new(0),
    });
    let c = &controller;
    // What is said of a pod depends on the nodes there are.
    c.nodes.synced().await;
    tokio::join!(
        feed::each(&c.nodes, |n| c.node_changed(&n)),
        feed::each(&c.pods, |p| c.pod_changed(&p)),
        feed::work("podgc", WORKERS, &c.queue, c, |c, key| async move {
            c.sync(key).await
        }),
    );
}

impl Controller {
    fn node_changed(&self, change: &Change<Node>) {
        let Change::Deleted(node) = change else {
            return;
        };
        let name = node.name_any();
        for p in self
            .pods
            .list()
            .into_iter()
            .filter(|p| pod::node(p) == name)
        {
            self.queue.add_after(Key::of(&*p), QUARANTINE);
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let p = change.object();
        let (before, after) = match change {
            Change::Applied { old, new } => {
                (old.as_ref().is_some_and(|o| pod::ended(o)), pod::ended(new))
            }
            Change::Deleted(last) => (pod::ended(last), false),
        };
        match (before, after) {
            (false, true) => drop(self.ended.fetch_add(1, Ordering::Relaxed)),
            (true, false) => {
                // A pod that ended unseen, just before it was deleted, was never counted.
                let less = |n: usize| Some(n.saturating_sub(1));
                let _ = self
                    .ended
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            }
            _ => {}
        }
        if matches!(change, Change::Deleted(_)) {
            return;
        }
        if self.ended.load(Ordering::Relaxed) > KEPT {
            self.too_many();
        }
        match pod::node(p) {
            "" if p.metadata.deletion_timestamp.is_some() => self.queue.add(Key::of(&**p)),
            "" => {}
            node if self.nodes.get("", node).is_none() => {
                self.queue.add_after(Key::of(&**p), QUARANTINE)
            }
            _ => {}
        }
    }

    /// Marks the oldest of the ended pods.
    fn too_many(&self) {
        let mut ended: Vec<_> = self
            .pods
            .list()
            .into_iter()
            .filter(|p| pod::ended(p))
            .collect();
        self.ended.store(ended.len(), Ordering::Relaxed);
        let surplus = ended.len().saturating_sub(KEPT);
        ended.sort_by(|a, b| {
            a.metadata
                .creation_timestamp
                .cmp(&b.metadata.creation_timestamp)
        });
        ended.truncate(surplus);
        ended.into_iter().for_each(|p| self.queue.add(Key::of(&*p)));
    }

    async fn sync(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let Some(p) = self.pods.get_key(&key) else {
            return Ok(None);
        };
        let unscheduled = pod::node(&p).is_empty() && p.metadata.deletion_timestamp.is_some();
        let orphaned = !pod::node(&p).is_empty() && self.node_gone(pod::node(&p)).await?;
        let surplus = pod::ended(&p) && self.ended.load(Ordering::Relaxed) > KEPT;
        if !(unscheduled || orphaned || surplus) {
            return Ok(None);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        if orphaned && !pod::ended(&p) {
            let disrupted = json!({
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists", "lastTransitionTime": Time(Timestamp::now()),
            });
            let status = json!({"phase": "Failed", "conditions": [disrupted]});
            let patch = json!({"metadata": {"uid": p.uid()}, "status": status});
            ignore_gone(
                api.patch_status(&key.name, &write::patch(), &Patch::Strategic(patch))
                    .await,
            )?;
        }
        let mut params = write::delete(p.uid());
        params.grace_period_seconds = Some(0);
        ignore_gone(api.delete(&key.name, &params).await)?;
        Ok(None)
    }

    /// Asks rather than trusts the cache: the pod is lost if this is wrong.
    async fn node_gone(&self, name: &str) -> anyhow::Result<bool> {
        if self.nodes.get("", name).is_some() {
            return Ok(false);
        }
        let api: Api<Node> = Api::all(self.client.clone());
        Ok(api.get_metadata_opt(name).await?.is_none())
    }
}

fn ignore_gone<T>(result: Result<T, kube::Error>) -> anyhow::Result<()> {
    match result {
        Err(error) if !write::gone(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
