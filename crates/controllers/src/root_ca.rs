//! Every namespace has a ConfigMap `kube-root-ca.crt`, by which pods know the API server.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use knarr_client::{Informer, Informers, Queue};
use kube::{Api, Client, ResourceExt, api::ObjectMeta};

use crate::{feed, service_account::lives, write};

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

struct Controller {
    client: Client,
    namespaces: Informer<Namespace>,
    /// Only these: other ConfigMaps are none of its business, and may be many.
    published: Informer<ConfigMap>,
    queue: Queue<String>,
    data: BTreeMap<String, String>,
}

/// Runs the controller for ever. `root_ca` is PEM.
pub async fn run(informers: Informers, root_ca: String) {
    if root_ca.is_empty() {
        return;
    }
    let controller = Arc::new(Controller {
        client: informers.client().clone(),
        namespaces: informers.of(),
        published: informers.selected(&format!("metadata.name={NAME}")),
        queue: Queue::new(),
        data: [("ca.crt".to_owned(), root_ca)].into(),
    });
    let c = &controller;
    let work = async {
        c.namespaces.synced().await;
        c.published.synced().await;
        feed::work(
            "root-ca-certificate-publisher",
            2,
            &c.queue,
            c,
            |c, name| async move { c.sync(name).await },
        )
        .await;
    };
    tokio::join!(
        feed::each(&c.namespaces, |n| c.queue.add(n.object().name_any())),
        feed::each(&c.published, |m| c
            .queue
            .add(m.object().namespace().unwrap_or_default())),
        work,
    );
}

impl Controller {
    async fn sync(&self, namespace: String) -> anyhow::Result<Option<Duration>> {
        if !self
            .namespaces
            .get("", &namespace)
            .is_some_and(|n| lives(&n))
        {
            return Ok(None);
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
        let written = match self.published.get(&namespace, NAME) {
            Some(map) if self.right(&map) => return Ok(None),
            Some(map) => {
                let mut map = ConfigMap::clone(&map);
                map.data = Some(self.data.clone());
                map.annotations_mut()
                    .insert(DESCRIPTION.0.into(), DESCRIPTION.1.into());
                api.replace(NAME, &write::post(), &map).await
            }
            None => api.create(&write::post(), &self.map(namespace)).await,
        };
        match written {
            Err(error)
                if !write::exists(&error)
                    && !write::namespace_going(&error)
                    && !write::gone(&error) =>
            {
                Err(error.into())
            }
            _ => Ok(None),
        }
    }

    fn right(&self, map: &ConfigMap) -> bool {
        map.data.as_ref() == Some(&self.data)
            && map.annotations().get(DESCRIPTION.0).map(String::as_str) == Some(DESCRIPTION.1)
    }

    fn map(&self, namespace: String) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                namespace: Some(namespace),
                annotations: Some([(DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(self.data.clone()),
            ..ConfigMap::default()
        }
    }
}
