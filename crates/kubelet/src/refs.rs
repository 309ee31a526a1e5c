//! Live copies of single objects that pods refer to (ConfigMaps, Secrets): watched while somebody holds them, so that a
//! node knows only what its pods use.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use knarr_client::informer::{Key, Kind};
use kube::{Api, Client, runtime::watcher};
use parking_lot::Mutex;
use tokio::sync::watch;

/// How long a reader waits for the first answer about an object.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(200);

/// All live objects of one kind. Clones share them.
pub struct Refs<K> {
    client: Client,
    live: Arc<Mutex<HashMap<Key, Weak<Live<K>>>>>,
}

impl<K> Clone for Refs<K> {
    fn clone(&self) -> Self {
        Refs {
            client: self.client.clone(),
            live: self.live.clone(),
        }
    }
}

/// One object, watched until the last holder drops it.
pub struct Live<K> {
    // Outer none: not known yet. Inner none: there is no such object.
    value: watch::Receiver<Option<Option<Arc<K>>>>,
    task: tokio::task::AbortHandle,
}

impl<K> Drop for Live<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K> Live<K> {
    /// The object as it is now; `Ok(None)` when there is none.
    ///
    /// # Errors
    /// When the API server told nothing about it for some seconds.
    pub async fn get(&self) -> Result<Option<Arc<K>>, String> {
        let mut value = self.value.clone();
        let known = tokio::time::timeout(PATIENCE, value.wait_for(Option::is_some)).await;
        match known {
            Ok(Ok(value)) => Ok(value.clone().flatten()),
            _ => Err("timed out waiting for the condition".to_owned()),
        }
    }

    /// Marks every change from now on.
    pub fn changes(&self) -> watch::Receiver<Option<Option<Arc<K>>>> {
        self.value.clone()
    }
}

impl<K> Refs<K>
where
    K: Kind + kube::Resource<Scope = NamespaceResourceScope>,
{
    pub fn new(client: Client) -> Self {
        Refs {
            client,
            live: Arc::default(),
        }
    }

    /// Starts watching the object, or joins those who do.
    pub fn hold(&self, namespace: &str, name: &str) -> Arc<Live<K>> {
        let key = Key::new(namespace, name);
        let mut live = self.live.lock();
        if let Some(there) = live.get(&key).and_then(Weak::upgrade) {
            return there;
        }
        live.retain(|_, held| held.strong_count() > 0);
        let (tx, value) = watch::channel(None);
        let task = tokio::spawn(follow(
            Api::namespaced(self.client.clone(), namespace),
            name.to_owned(),
            tx,
        ));
        let new = Arc::new(Live {
            value,
            task: task.abort_handle(),
        });
        live.insert(key, Arc::downgrade(&new));
        new
    }
}

async fn follow<K: Kind>(api: Api<K>, name: String, value: watch::Sender<Option<Option<Arc<K>>>>) {
    let mut states = std::pin::pin!(watcher::watch_object(api, &name));
    while let Some(state) = states.next().await {
        match state {
            Ok(object) => update(&value, object),
            Err(error) => {
                tracing::debug!(kind = %K::kind(&()), name, %error, "watch failed; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Wakes readers only when the object is another one than before.
fn update<K: Kind>(value: &watch::Sender<Option<Option<Arc<K>>>>, new: Option<K>) {
    value.send_if_modified(|old| {
        let version = |o: &K| (o.meta().uid.clone(), o.meta().resource_version.clone());
        let same = matches!((&*old, &new), (Some(Some(a)), Some(b)) if version(a) == version(b))
            || matches!((&*old, &new), (Some(None), None));
        if !same {
            *old = Some(new.map(Arc::new));
        }
        !same
    });
}
