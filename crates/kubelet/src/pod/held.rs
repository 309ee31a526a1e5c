//! The ConfigMaps and Secrets one pod refers to, held live while its task runs.

use std::{collections::BTreeMap, sync::Arc};

use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use knarr_client::informer::Kind;
use tokio_stream::wrappers::WatchStream;

use crate::{
    container::env::Objects,
    context::{Context, by_name},
    refs::{Live, Refs},
    volume::payload::references,
};

type Set<K> = BTreeMap<String, Arc<Live<K>>>;

/// What a pod refers to.
#[derive(Default)]
pub struct Held {
    maps: Set<ConfigMap>,
    secrets: Set<Secret>,
    changes: SelectAll<BoxStream<'static, ()>>,
}

/// A copy for work that runs beside the pod's task.
#[derive(Clone)]
pub struct Snapshot {
    maps: Set<ConfigMap>,
    secrets: Set<Secret>,
}

impl Held {
    /// Holds what the pod refers to now, and lets go of what it no longer does.
    pub fn update(&mut self, ctx: &Context, pod: &Pod) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let (maps, secrets) = references(pod);
        if maps.iter().eq(self.maps.keys()) && secrets.iter().eq(self.secrets.keys()) {
            return;
        }
        self.changes = SelectAll::new();
        self.maps = hold(&ctx.config_maps, namespace, maps, &mut self.changes);
        self.secrets = hold(&ctx.secrets, namespace, secrets, &mut self.changes);
    }

    /// Resolves at the next change of any of them; never when there are none.
    pub async fn changed(&mut self) {
        if self.changes.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            maps: self.maps.clone(),
            secrets: self.secrets.clone(),
        }
    }
}

fn hold<K>(
    refs: &Refs<K>,
    namespace: &str,
    names: Vec<String>,
    changes: &mut SelectAll<BoxStream<'static, ()>>,
) -> Set<K>
where
    K: Kind + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    let mut out = Set::new();
    for name in names {
        let live = refs.hold(namespace, &name);
        changes.push(
            WatchStream::from_changes(live.changes())
                .map(|_| ())
                .boxed(),
        );
        out.insert(name, live);
    }
    out
}

async fn get_all<K>(
    set: &Set<K>,
    what: &str,
) -> Result<std::collections::HashMap<String, Arc<K>>, String> {
    let mut out = Vec::new();
    for (name, live) in set {
        let object = live
            .get()
            .await
            .map_err(|e| format!("failed to sync {what} cache: {e}"))?;
        out.push((name.clone(), object));
    }
    Ok(by_name(out))
}

impl Snapshot {
    /// Everything that exists.
    ///
    /// # Errors
    /// When the API server did not say in time.
    pub async fn objects(&self, ctx: &Context, pod: &Pod) -> Result<Objects, String> {
        Ok(Objects {
            config_maps: get_all(&self.maps, "configmap").await?,
            secrets: get_all(&self.secrets, "secret").await?,
            services: ctx.services_for(pod),
        })
    }
}
