//! Tells users where a served Ingress is reached: `status.loadBalancer.ingress`.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use knarr_client::{Change, Informer, Informers, Queue, informer::Key};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{Config, route::is_served};

/// Writes addresses for ever.
pub(crate) async fn run(informers: &Informers, config: &Config) {
    let ingresses: Informer<Ingress> = informers.of();
    let classes: Informer<IngressClass> = informers.of();
    let queue = Queue::new();
    let feed = async {
        let (mut changes, mut class_changes) = (ingresses.subscribe(), classes.subscribe());
        loop {
            tokio::select! {
                Some(Change::Applied { new, .. }) = changes.recv() => queue.add(Key::of(&*new)),
                Some(_) = class_changes.recv() => ingresses.list().iter().for_each(|i| queue.add(Key::of(&**i))),
                else => return,
            }
        }
    };
    let worker = Arc::new(Worker {
        client: informers.client().clone(),
        config: config.clone(),
        ingresses: ingresses.clone(),
        classes: classes.clone(),
    });
    let work = queue.run("ingress-status", 1, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await }
    });
    tokio::join!(feed, work);
}

struct Worker {
    client: Client,
    config: Config,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
}

impl Worker {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Option<Duration>> {
        let Some(ingress) = self.ingresses.get_key(key) else {
            return Ok(None);
        };
        let classes = self.classes.list();
        let Config {
            class, controller, ..
        } = &self.config;
        if !is_served(&ingress, classes.iter().map(|c| &**c), class, controller) {
            return Ok(None);
        }
        let wanted: Vec<Value> = self
            .config
            .addresses
            .iter()
            .map(|ip| json!({"ip": ip.to_string()}))
            .collect();
        let current = serde_json::to_value(&ingress.status)?["loadBalancer"]["ingress"].clone();
        if current == Value::Array(wanted.clone()) {
            return Ok(None);
        }
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": wanted}}}));
        api.patch_status(&key.name, &PatchParams::default(), &patch)
            .await?;
        Ok(None)
    }
}
