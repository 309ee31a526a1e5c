//! Namespace deletion: empties a namespace that is to go, pods first, and then lets it go.

mod decide;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Namespace, NamespaceStatus, Pod},
    jiff::Timestamp,
};
use knarr_client::{Change, Informer, Informers, Queue};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, PropagationPolicy},
};

use crate::{
    discovery::{self, Found},
    feed, write,
};
use decide::Outcome;

const WORKERS: usize = 10;
/// The finalizer, in the namespace's spec, that this controller takes away.
const FINALIZER: &str = "kubernetes";

struct Controller {
    client: Client,
    namespaces: Informer<Namespace>,
    pods: Informer<Pod>,
    queue: Queue<String>,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let controller = Arc::new(Controller {
        client: informers.client().clone(),
        namespaces: informers.of(),
        pods: informers.of(),
        queue: Queue::new(),
    });
    let c = &controller;
    let work = async {
        c.namespaces.synced().await;
        feed::work("namespace", WORKERS, &c.queue, c, |c, name| async move {
            c.sync(name).await
        })
        .await;
    };
    tokio::join!(
        feed::each(&c.namespaces, |n| {
            if n.object().metadata.deletion_timestamp.is_some() {
                c.queue.add(n.object().name_any());
            }
        }),
        feed::each(&c.pods, |p| c.pod_changed(&p)),
        work,
    );
}

impl Controller {
    /// The rest of a namespace waits for its last pod.
    fn pod_changed(&self, change: &Change<Pod>) {
        let Change::Deleted(pod) = change else { return };
        let namespace = pod.namespace().unwrap_or_default();
        let going = self
            .namespaces
            .get("", &namespace)
            .is_some_and(|n| n.metadata.deletion_timestamp.is_some());
        if going && self.pods.list_namespace(&namespace).is_empty() {
            self.queue.add(namespace);
        }
    }

    async fn sync(&self, name: String) -> anyhow::Result<Option<Duration>> {
        let Some(namespace) = self.namespaces.get("", &name) else {
            return Ok(None);
        };
        let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.as_ref());
        let ours = finalizers.is_some_and(|f| f.iter().any(|f| f == FINALIZER));
        if namespace.metadata.deletion_timestamp.is_none() || !ours {
            return Ok(None);
        }
        let outcome = self.empty(&name).await?;
        if outcome.done() {
            return self.finalize(&namespace).await.map(|()| None);
        }
        self.tell(&namespace, &outcome).await?;
        // Pods going is an event; this is for the case that a kubelet never tells.
        if outcome.refused.is_empty() && outcome.undiscovered.is_empty() && outcome.grace > 0 {
            let half = u64::try_from(outcome.grace / 2 + 1).unwrap_or(1);
            return Ok(Some(Duration::from_secs(half)));
        }
        anyhow::bail!("content remains: {outcome:?}")
    }

    /// Deletes what is in the namespace, as far as it goes by itself.
    async fn empty(&self, namespace: &str) -> anyhow::Result<Outcome> {
        let discovered = discovery::resources(&self.client).await?;
        let mut outcome = Outcome {
            undiscovered: discovered.failed,
            ..Outcome::default()
        };
        let deletable = discovered
            .resources
            .into_iter()
            .filter(|f| f.namespaced && f.can(&["list", "delete"]));
        let is_pods = |f: &Found| f.api.group.is_empty() && f.api.plural == "pods";
        let (pods, rest): (Vec<Found>, Vec<Found>) = deletable.partition(is_pods);
        // While pods run they may need what else there is.
        for found in pods {
            self.empty_of(namespace, &found, &mut outcome).await;
        }
        if outcome.remaining.is_empty() {
            for found in rest {
                self.empty_of(namespace, &found, &mut outcome).await;
            }
        }
        Ok(outcome)
    }

    async fn empty_of(&self, namespace: &str, found: &Found, outcome: &mut Outcome) {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &found.api);
        let left = async {
            let before = list(&api).await?;
            if before.is_empty() {
                return Ok(before);
            }
            let background = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Background),
                ..DeleteParams::default()
            };
            if found.can(&["deletecollection"]) {
                api.delete_collection(&background, &ListParams::default())
                    .await?;
            } else {
                for meta in &before {
                    ignore_gone(
                        api.delete(meta.name.as_deref().unwrap_or_default(), &background)
                            .await,
                    )?;
                }
            }
            list(&api).await
        };
        match left.await {
            Ok(left) => outcome.left(&found.api, &left),
            // A custom resource whose definition went meanwhile.
            Err(error) if write::gone(&error) => {}
            Err(error) => {
                outcome
                    .refused
                    .push(format!("{}: {}", found.api.plural, write::words(&error)))
            }
        }
    }

    async fn tell(&self, namespace: &Namespace, outcome: &Outcome) -> anyhow::Result<()> {
        let status = namespace.status.clone().unwrap_or_default();
        let current = status.conditions.clone().unwrap_or_default();
        let conditions = outcome.conditions(&current, Timestamp::now());
        if conditions == current {
            return Ok(());
        }
        let update = Namespace {
            status: Some(NamespaceStatus {
                conditions: Some(conditions),
                ..status
            }),
            ..namespace.clone()
        };
        let api: Api<Namespace> = Api::all(self.client.clone());
        ignore_gone(
            api.replace_status(&namespace.name_any(), &write::post(), &update)
                .await,
        )?;
        Ok(())
    }

    async fn finalize(&self, namespace: &Namespace) -> anyhow::Result<()> {
        let mut update = namespace.clone();
        if let Some(finalizers) = update.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
            finalizers.retain(|f| f != FINALIZER);
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let done = api
            .replace_subresource("finalize", &namespace.name_any(), &write::post(), &update)
            .await;
        ignore_gone(done)?;
        Ok(())
    }
}

async fn list(api: &Api<DynamicObject>) -> Result<Vec<ObjectMeta>, kube::Error> {
    let all = api.list_metadata(&ListParams::default()).await?;
    Ok(all.items.into_iter().map(|o| o.metadata).collect())
}

fn ignore_gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error) if !write::gone(&error) => Err(error),
        _ => Ok(()),
    }
}
