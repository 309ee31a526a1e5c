//! ReplicaSet: keeps the wanted number of pods of one template.

mod decide;
mod manage;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetStatus},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use knarr_client::{Change, Informer, Informers, Queue, events::Recorder, informer::Key};
use kube::{Api, Client, ResourceExt, core::Selector};

use crate::{
    expectations::Expectations,
    feed,
    index::ByOwner,
    owner::{self, controller_of},
    pod, write,
};
use decide::Failure;

const WORKERS: usize = 8;

struct Controller {
    client: Client,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    expectations: Expectations,
    pods_of: ByOwner,
    sets_of: ByOwner,
    recorder: Recorder,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let client = informers.client().clone();
    let controller = Arc::new(Controller {
        sets: informers.of(),
        pods: informers.of(),
        queue: Queue::new(),
        expectations: Expectations::default(),
        pods_of: ByOwner::default(),
        sets_of: ByOwner::default(),
        recorder: Recorder::new(client.clone(), "replicaset-controller", None),
        client,
    });
    let c = &controller;
    let work = async {
        c.sets.synced().await;
        c.pods.synced().await;
        feed::work("replicaset", WORKERS, &c.queue, c, |c, key| async move {
            c.sync(key).await
        })
        .await;
    };
    tokio::join!(
        feed::each(&c.sets, |s| c.set_changed(&s)),
        feed::each(&c.pods, |p| c.pod_changed(&p)),
        work
    );
}

impl Controller {
    fn set_changed(&self, change: &Change<ReplicaSet>) {
        self.sets_of.follow(change);
        if let Change::Deleted(set) = change {
            self.expectations
                .forget(set.metadata.uid.as_deref().unwrap_or_default());
        }
        self.queue.add(Key::of(&**change.object()));
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        self.pods_of.follow(change);
        match change {
            Change::Applied { old: None, new } => {
                if let Some(owner) = controller_of(&new.metadata) {
                    self.expectations.created(&owner.uid, 1);
                }
                self.going(new);
                self.wake(new, true);
            }
            Change::Applied {
                old: Some(old),
                new,
            } => {
                self.going(new);
                let moved = controller_of(&old.metadata).map(|o| &o.uid)
                    != controller_of(&new.metadata).map(|o| &o.uid);
                if moved {
                    self.wake(old, false);
                }
                // An orphan may come to be wanted by another label, or by losing its owner.
                self.wake(new, moved || old.metadata.labels != new.metadata.labels);
            }
            Change::Deleted(last) => {
                if let Some(owner) = controller_of(&last.metadata) {
                    self.expectations
                        .deleted(&owner.uid, last.metadata.uid.as_deref().unwrap_or_default());
                }
                self.wake(last, false);
            }
        }
    }

    /// A pod that is being deleted counts as deleted.
    fn going(&self, pod: &Pod) {
        if let (Some(_), Some(owner)) = (
            &pod.metadata.deletion_timestamp,
            controller_of(&pod.metadata),
        ) {
            self.expectations
                .deleted(&owner.uid, pod.metadata.uid.as_deref().unwrap_or_default());
        }
    }

    /// Wakes the set that controls the pod, or those that could adopt it.
    fn wake(&self, pod: &Pod, adoptable: bool) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        match controller_of(&pod.metadata) {
            Some(owner) if owner.kind == "ReplicaSet" => {
                self.queue.add(Key::new(namespace, &owner.name))
            }
            Some(_) => {}
            None if adoptable => {
                for set in self.sets.list_namespace(namespace) {
                    let selector = set.spec.as_ref().and_then(|s| owner::selector(&s.selector));
                    if selector.is_some_and(|s| owner::picks(&s, &pod.metadata.labels)) {
                        self.queue.add(Key::of(&*set));
                    }
                }
            }
            None => {}
        }
    }

    async fn sync(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let Some(set) = self.sets.get_key(&key) else {
            return Ok(None);
        };
        let Some(spec) = &set.spec else {
            return Ok(None);
        };
        let Some(selector) = owner::selector(&spec.selector) else {
            return Ok(None);
        };
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        // Before the pods are looked at: what arrives in between is then seen, not made again.
        let may_manage = self.expectations.met(uid) && set.metadata.deletion_timestamp.is_none();
        let pods = self.claim(&set, &selector).await?;
        let active: Vec<Arc<Pod>> = pods.iter().filter(|p| pod::active(p)).cloned().collect();
        let terminating = pods.iter().filter(|p| pod::terminating(p)).count();
        let outcome = if may_manage {
            self.manage(&set, &active).await
        } else {
            Ok(())
        };
        let failure = match (&outcome, may_manage) {
            (Err((failure, _)), _) => Some(failure.clone()),
            (Ok(()), true) => None,
            // Nothing was tried: what was said of the last try stands.
            (Ok(()), false) => standing_failure(&set),
        };
        let (status, next) = decide::status(
            &set,
            &active,
            terminating,
            failure.as_ref(),
            Timestamp::now(),
        );
        self.tell(&set, status).await?;
        if let Err((_, error)) = outcome {
            return Err(error);
        }
        Ok(
            next.map(|left| {
                Duration::try_from(left).unwrap_or_default() + Duration::from_millis(5)
            }),
        )
    }

    async fn claim(&self, set: &ReplicaSet, selector: &Selector) -> anyhow::Result<Vec<Arc<Pod>>> {
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let mut keys = self.pods_of.controlled(uid);
        keys.extend(self.pods_of.orphans(namespace));
        let candidates = keys
            .iter()
            .filter_map(|k| self.pods.get_key(k))
            .filter(|p| !pod::ended(p))
            .collect();
        owner::claim_all(&self.client, set, selector, candidates).await
    }

    async fn tell(&self, set: &ReplicaSet, status: ReplicaSetStatus) -> anyhow::Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<ReplicaSet> =
            Api::namespaced(self.client.clone(), &set.namespace().unwrap_or_default());
        let update = ReplicaSet {
            status: Some(status),
            ..set.clone()
        };
        match api
            .replace_status(&set.name_any(), &write::post(), &update)
            .await
        {
            Err(error) if !write::gone(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn standing_failure(set: &ReplicaSet) -> Option<Failure> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    let standing = conditions.iter().find(|c| c.type_ == "ReplicaFailure")?;
    let reason = if standing.reason.as_deref() == Some("FailedDelete") {
        "FailedDelete"
    } else {
        "FailedCreate"
    };
    Some(Failure {
        reason,
        message: standing.message.clone().unwrap_or_default(),
    })
}
