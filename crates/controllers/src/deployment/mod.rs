//! Deployment: rolls a template out over ReplicaSets, and back.

mod revision;
mod rollout;
mod status;
mod sync;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use knarr_client::{Change, Informer, Informers, Queue, events::Recorder, informer::Key};
use kube::Client;

use crate::{
    feed,
    index::ByOwner,
    owner::{self, controller_of},
};
use revision::Sets;
use sync::Rollout;

const WORKERS: usize = 5;

struct Controller {
    client: Client,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    sets_of: ByOwner,
    recorder: Recorder,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let client = informers.client().clone();
    let controller = Arc::new(Controller {
        deployments: informers.of(),
        sets: informers.of(),
        pods: informers.of(),
        queue: Queue::new(),
        sets_of: ByOwner::default(),
        recorder: Recorder::new(client.clone(), "deployment-controller", None),
        client,
    });
    let c = &controller;
    let work = async {
        c.deployments.synced().await;
        c.sets.synced().await;
        c.pods.synced().await;
        feed::work("deployment", WORKERS, &c.queue, c, |c, key| async move {
            c.sync(key).await
        })
        .await;
    };
    tokio::join!(
        feed::each(&c.deployments, |d| c.queue.add(Key::of(&**d.object()))),
        feed::each(&c.sets, |s| c.set_changed(&s)),
        feed::each(&c.pods, |p| c.pod_changed(&p)),
        work,
    );
}

impl Controller {
    fn set_changed(&self, change: &Change<ReplicaSet>) {
        self.sets_of.follow(change);
        let new = change.object();
        if let Change::Applied { old: Some(old), .. } = change {
            let moved = controller_of(&old.metadata).map(|o| &o.uid)
                != controller_of(&new.metadata).map(|o| &o.uid);
            if moved {
                self.wake_owner(old);
            }
        }
        if controller_of(&new.metadata).is_some() {
            self.wake_owner(new);
        } else if matches!(change, Change::Applied { .. }) {
            self.wake_adopters(new);
        }
    }

    fn wake_owner(&self, set: &ReplicaSet) {
        if let Some(owner) = controller_of(&set.metadata).filter(|o| o.kind == "Deployment") {
            self.queue.add(Key::new(
                set.metadata.namespace.as_deref().unwrap_or_default(),
                &owner.name,
            ));
        }
    }

    fn wake_adopters(&self, set: &ReplicaSet) {
        for deployment in self
            .deployments
            .list_namespace(set.metadata.namespace.as_deref().unwrap_or_default())
        {
            let selector = deployment
                .spec
                .as_ref()
                .and_then(|s| owner::selector(&s.selector));
            if selector.is_some_and(|s| owner::picks(&s, &set.metadata.labels)) {
                self.queue.add(Key::of(&*deployment));
            }
        }
    }

    /// Only a Recreate rollout waits for single pods: for the last old one to be gone.
    fn pod_changed(&self, change: &Change<Pod>) {
        let Change::Deleted(pod) = change else { return };
        let Some(owner) = controller_of(&pod.metadata).filter(|o| o.kind == "ReplicaSet") else {
            return;
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(set) = self.sets.get(namespace, &owner.name) else {
            return;
        };
        let Some(owner) = controller_of(&set.metadata) else {
            return;
        };
        if self
            .deployments
            .get(namespace, &owner.name)
            .is_some_and(|d| !rollout::Wanted::of(&d).rolling)
        {
            self.queue.add(Key::new(namespace, &owner.name));
        }
    }

    async fn sync(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let Some(deployment) = self.deployments.get_key(&key) else {
            return Ok(None);
        };
        let Some(spec) = &deployment.spec else {
            return Ok(None);
        };
        let Some(selector) = owner::selector(&spec.selector) else {
            let words = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(&*deployment, "SelectingAll", words);
            return Ok(None);
        };
        let mut keys = self
            .sets_of
            .controlled(deployment.metadata.uid.as_deref().unwrap_or_default());
        keys.extend(self.sets_of.orphans(&key.namespace));
        let candidates = keys.iter().filter_map(|k| self.sets.get_key(k)).collect();
        let claimed = owner::claim_all(&self.client, &*deployment, &selector, candidates).await?;
        let sets = Sets::sort(
            &deployment,
            claimed.iter().map(|s| ReplicaSet::clone(s)).collect(),
        );
        Rollout::new(self, &deployment, sets).step().await
    }

    /// Whether pods of sets other than `new` still run.
    fn old_pods_run(&self, sets: &Sets) -> bool {
        if sets
            .old
            .iter()
            .any(|s| s.status.as_ref().is_some_and(|s| s.replicas > 0))
        {
            return true;
        }
        let uids: Vec<&str> = sets
            .old
            .iter()
            .filter_map(|s| s.metadata.uid.as_deref())
            .collect();
        let Some(namespace) = sets
            .old
            .first()
            .and_then(|s| s.metadata.namespace.as_deref())
        else {
            return false;
        };
        self.pods.list_namespace(namespace).iter().any(|p| {
            !crate::pod::ended(p)
                && controller_of(&p.metadata).is_some_and(|o| uids.contains(&o.uid.as_str()))
        })
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}
