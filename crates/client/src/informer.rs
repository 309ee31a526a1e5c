//! Shared informers: one watch, one decode and one copy per kind and selector in a process, however many components look.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

/// Kinds that can be informed about.
pub trait Kind: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static {}
impl<K> Kind for K where K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static {}

/// Namespace (empty when cluster-scoped) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Key { namespace: namespace.into(), name: name.into() }
    }

    pub fn of<K: Resource>(object: &K) -> Self {
        Key { namespace: object.meta().namespace.clone().unwrap_or_default(), name: object.name_any() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What happened to an object, with its state before when this process knew it.
#[derive(Debug)]
pub enum Change<K> {
    Applied { old: Option<Arc<K>>, new: Arc<K> },
    Deleted(Arc<K>),
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Change::Applied { old, new } => Change::Applied { old: old.clone(), new: new.clone() },
            Change::Deleted(k) => Change::Deleted(k.clone()),
        }
    }
}

impl<K> Change<K> {
    /// The newest state known.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Change::Applied { new, .. } => new,
            Change::Deleted(k) => k,
        }
    }
}

/// All informers of a process.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    by_type: Arc<Mutex<HashMap<(TypeId, String), Box<dyn Any + Send>>>>,
}

impl Informers {
    pub fn new(client: Client) -> Self {
        Informers { client, by_type: Arc::default() }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The informer of all objects of a kind. The first call starts its watch.
    pub fn of<K: Kind>(&self) -> Informer<K> {
        self.selected("")
    }

    /// The informer of the objects that a field selector picks, e.g. `spec.nodeName=n1`.
    pub fn selected<K: Kind>(&self, field_selector: &str) -> Informer<K> {
        let mut map = self.by_type.lock();
        let slot = map
            .entry((TypeId::of::<K>(), field_selector.to_owned()))
            .or_insert_with(|| Box::new(Informer::<K>::start(self.client.clone(), field_selector.to_owned())));
        slot.downcast_ref::<Informer<K>>().expect("keyed by type").clone()
    }
}

struct Shared<K> {
    objects: RwLock<HashMap<Key, Arc<K>>>,
    subscribers: Mutex<Vec<mpsc::UnboundedSender<Change<K>>>>,
    synced: watch::Sender<bool>,
}

/// A live copy of the objects of one kind. Clones share it.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Informer { shared: self.shared.clone() }
    }
}

impl<K: Kind> Informer<K> {
    fn start(client: Client, field_selector: String) -> Self {
        let shared = Arc::new(Shared {
            objects: RwLock::default(),
            subscribers: Mutex::default(),
            synced: watch::channel(false).0,
        });
        let mut config = watcher::Config::default().any_semantic().timeout(290);
        config.page_size = None;
        if !field_selector.is_empty() {
            config = config.fields(&field_selector);
        }
        let weak = shared.clone();
        tokio::spawn(run(Api::all(client), config, weak));
        Informer { shared }
    }

    /// Waits until the first full list is in.
    pub async fn synced(&self) {
        let mut rx = self.shared.synced.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = rx.wait_for(|done| *done).await;
    }

    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shared.objects.read().get(&Key::new(namespace, name)).cloned()
    }

    pub fn get_key(&self, key: &Key) -> Option<Arc<K>> {
        self.shared.objects.read().get(key).cloned()
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.objects.read().values().cloned().collect()
    }

    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.shared.objects.read();
        objects.iter().filter(|(k, _)| k.namespace == namespace).map(|(_, v)| v.clone()).collect()
    }

    /// Every object there is now as `Applied`, then every change, none lost or repeated between.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Change<K>> {
        let (tx, rx) = mpsc::unbounded_channel();
        let mut subscribers = self.shared.subscribers.lock();
        for new in self.shared.objects.read().values() {
            let _ = tx.send(Change::Applied { old: None, new: new.clone() });
        }
        subscribers.push(tx);
        rx
    }
}

impl<K: Kind> Shared<K> {
    // The subscribers' lock is held over every change, so that `subscribe` sees each object exactly once.
    fn apply(&self, new: K) {
        let mut subscribers = self.subscribers.lock();
        let new = Arc::new(new);
        let old = self.objects.write().insert(Key::of(&*new), new.clone());
        if old.as_ref().is_some_and(|o| o.meta().resource_version == new.meta().resource_version) {
            return;
        }
        subscribers.retain(|tx| tx.send(Change::Applied { old: old.clone(), new: new.clone() }).is_ok());
    }

    fn delete(&self, key: &Key, last: Option<K>) {
        let mut subscribers = self.subscribers.lock();
        let old = self.objects.write().remove(key);
        let Some(gone) = last.map(Arc::new).or(old) else { return };
        subscribers.retain(|tx| tx.send(Change::Deleted(gone.clone())).is_ok());
    }

    /// After a relist: what was not in the list is gone.
    fn keep_only(&self, seen: &std::collections::HashSet<Key>) {
        let gone: Vec<Key> = self.objects.read().keys().filter(|k| !seen.contains(*k)).cloned().collect();
        for key in gone {
            self.delete(&key, None);
        }
    }
}

async fn run<K: Kind>(api: Api<K>, config: watcher::Config, shared: Arc<Shared<K>>) {
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut seen = std::collections::HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => seen.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                seen.insert(Key::of(&object));
                shared.apply(object);
            }
            Ok(watcher::Event::InitDone) => {
                shared.keep_only(&seen);
                seen = Default::default();
                shared.synced.send_replace(true);
            }
            Ok(watcher::Event::Apply(object)) => shared.apply(object),
            Ok(watcher::Event::Delete(object)) => shared.delete(&Key::of(&object), Some(object)),
            Err(error) => {
                tracing::debug!(kind = std::any::type_name::<K>(), %error, "watch failed; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
