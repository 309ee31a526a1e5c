//! Shared informers: one watch, one decode and one copy per kind and selector in a process, however many components look.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{WatchStreamExt, utils::Backoff, watcher},
};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

/// Kinds that can be informed about.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static
{
}
impl<K> Kind for K where
    K: Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
{
}

/// Namespace (empty when cluster-scoped) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Key {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub fn of<K: Resource>(object: &K) -> Self {
        Key {
            namespace: object.meta().namespace.clone().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
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
            Change::Applied { old, new } => Change::Applied {
                old: old.clone(),
                new: new.clone(),
            },
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
    /// What requests are made with.
    client: Client,
    /// What objects are watched with.
    watching: Client,
    by_type: Arc<Mutex<ByType>>,
}

/// Informers by kind and field selector.
type ByType = HashMap<(TypeId, String), Box<dyn Any + Send>>;

impl Informers {
    pub fn new(client: Client) -> Self {
        Informers {
            watching: client.clone(),
            client,
            by_type: Arc::default(),
        }
    }

    /// The same copies for a component that makes its requests as somebody of its own.
    pub fn acting_as(&self, client: Client) -> Self {
        Informers {
            client,
            ..self.clone()
        }
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
            .or_insert_with(|| {
                Box::new(Informer::<K>::start(
                    self.watching.clone(),
                    field_selector.to_owned(),
                ))
            });
        slot.downcast_ref::<Informer<K>>()
            .expect("keyed by type")
            .clone()
    }
}

/// Objects by namespace (empty for cluster-scoped ones), then name: looking up needs no owned key, and one namespace
/// is listed without walking the others.
type Objects<K> = HashMap<String, HashMap<String, Arc<K>>>;

struct Shared<K> {
    objects: RwLock<Objects<K>>,
    subscribers: Mutex<Vec<mpsc::UnboundedSender<Change<K>>>>,
    synced: watch::Sender<bool>,
}

/// A live copy of the objects of one kind. Clones share it.
///
/// `metadata.managedFields` are left out of the copies: they make up a third of a typical object, and the server keeps
/// them when an update comes without.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Informer {
            shared: self.shared.clone(),
        }
    }
}

impl<K: Kind> Informer<K> {
    fn start(client: Client, field_selector: String) -> Self {
        let shared = Arc::new(Shared::new());
        let mut config = watcher::Config::default().any_semantic().timeout(290);
        config.page_size = None;
        if !field_selector.is_empty() {
            config = config.fields(&field_selector);
        }
        tokio::spawn(run(Api::all(client), config, shared.clone()));
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
        self.shared
            .objects
            .read()
            .get(namespace)?
            .get(name)
            .cloned()
    }

    pub fn get_key(&self, key: &Key) -> Option<Arc<K>> {
        self.get(&key.namespace, &key.name)
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared
            .objects
            .read()
            .values()
            .flat_map(HashMap::values)
            .cloned()
            .collect()
    }

    /// The objects of one namespace, in no order.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.shared
            .objects
            .read()
            .get(namespace)
            .map(|m| m.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Every object there is now as `Applied`, then every change, none lost or repeated between.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Change<K>> {
        let (tx, rx) = mpsc::unbounded_channel();
        let mut subscribers = self.shared.subscribers.lock();
        for new in self
            .shared
            .objects
            .read()
            .values()
            .flat_map(HashMap::values)
        {
            let _ = tx.send(Change::Applied {
                old: None,
                new: new.clone(),
            });
        }
        subscribers.push(tx);
        rx
    }
}

impl<K: Kind> Shared<K> {
    fn new() -> Self {
        Shared {
            objects: RwLock::default(),
            subscribers: Mutex::default(),
            synced: watch::channel(false).0,
        }
    }

    // The subscribers' lock is held over every change, so that `subscribe` sees each object exactly once.
    fn apply(&self, mut new: K) {
        new.meta_mut().managed_fields = None;
        let new = Arc::new(new);
        let Key { namespace, name } = Key::of(&*new);
        let mut subscribers = self.subscribers.lock();
        let mut old = self
            .objects
            .write()
            .entry(namespace)
            .or_default()
            .insert(name, new.clone());
        if let Some(before) = &old {
            if before.meta().resource_version == new.meta().resource_version {
                return;
            }
            // Deleted and made anew while nobody watched: to whoever looks these are two objects.
            if before.meta().uid != new.meta().uid {
                let gone = before.clone();
                subscribers.retain(|tx| tx.send(Change::Deleted(gone.clone())).is_ok());
                old = None;
            }
        }
        subscribers.retain(|tx| {
            tx.send(Change::Applied {
                old: old.clone(),
                new: new.clone(),
            })
            .is_ok()
        });
    }

    fn delete(&self, key: &Key, last: Option<K>) {
        let mut subscribers = self.subscribers.lock();
        let old = self.remove(key);
        let last = last.map(|mut last| {
            last.meta_mut().managed_fields = None;
            Arc::new(last)
        });
        // An object that was never known here is no news.
        let Some(gone) = old.map(|old| last.unwrap_or(old)) else {
            return;
        };
        subscribers.retain(|tx| tx.send(Change::Deleted(gone.clone())).is_ok());
    }

    fn remove(&self, key: &Key) -> Option<Arc<K>> {
        let mut objects = self.objects.write();
        let names = objects.get_mut(&key.namespace)?;
        let old = names.remove(&key.name);
        if names.is_empty() {
            objects.remove(&key.namespace);
        }
        old
    }

    /// After a relist: what was not in the list is gone.
    fn keep_only(&self, seen: &HashSet<Key>) {
        let gone: Vec<Key> = {
            let objects = self.objects.read();
            let keys = objects
                .values()
                .flat_map(HashMap::values)
                .map(|o| Key::of(&**o));
            keys.filter(|k| !seen.contains(k)).collect()
        };
        for key in gone {
            self.delete(&key, None);
        }
    }
}

/// 20 ms, then doubling to 5 s: in one process the API server is back in no time.
#[derive(Default)]
struct Retry(u32);

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0 = (self.0 + 1).min(9);
        Some(Duration::from_millis(10 << self.0).min(Duration::from_secs(5)))
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

async fn run<K: Kind>(api: Api<K>, config: watcher::Config, shared: Arc<Shared<K>>) {
    let mut events = watcher(api, config).backoff(Retry::default()).boxed();
    let mut seen = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => seen.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                seen.insert(Key::of(&object));
                shared.apply(object);
            }
            Ok(watcher::Event::InitDone) => {
                shared.keep_only(&seen);
                seen = HashSet::default();
                shared.synced.send_replace(true);
            }
            Ok(watcher::Event::Apply(object)) => shared.apply(object),
            Ok(watcher::Event::Delete(object)) => shared.delete(&Key::of(&object), Some(object)),
            Err(error) => {
                tracing::debug!(kind = std::any::type_name::<K>(), %error, "watch failed; trying again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{
        api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
    };

    fn object(name: &str, uid: &str, revision: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("ns".into());
        object.metadata.name = Some(name.into());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(revision.into());
        object.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        object
    }

    fn told(rx: &mut mpsc::UnboundedReceiver<Change<ConfigMap>>) -> Vec<String> {
        let mut out = Vec::new();
        while let Ok(change) = rx.try_recv() {
            let what = match &change {
                Change::Applied { old: None, .. } => "new",
                Change::Applied { .. } => "changed",
                Change::Deleted(_) => "gone",
            };
            let meta = &change.object().metadata;
            out.push(format!(
                "{what} {} {}",
                change.object().name_any(),
                meta.uid.as_deref().unwrap_or_default()
            ));
        }
        out
    }

    #[test]
    fn subscribers_hear_of_each_change_once() {
        let informer = Informer {
            shared: Arc::new(Shared::new()),
        };
        informer.shared.apply(object("a", "1", "1"));
        let mut rx = informer.subscribe();
        informer.shared.apply(object("a", "1", "1"));
        informer.shared.apply(object("a", "1", "2"));
        informer.shared.apply(object("b", "2", "3"));
        informer.shared.delete(&Key::new("ns", "b"), None);
        informer
            .shared
            .delete(&Key::new("ns", "b"), Some(object("b", "2", "3")));
        assert_eq!(
            told(&mut rx),
            ["new a 1", "changed a 1", "new b 2", "gone b 2"]
        );
        assert_eq!(informer.list_namespace("ns").len(), 1);
        assert!(informer.list_namespace("other").is_empty());
        assert_eq!(
            informer.get("ns", "a").unwrap().metadata.managed_fields,
            None
        );
    }

    #[test]
    fn an_object_made_anew_is_told_as_gone_and_new() {
        let informer = Informer {
            shared: Arc::new(Shared::new()),
        };
        let mut rx = informer.subscribe();
        informer.shared.apply(object("a", "1", "1"));
        informer.shared.apply(object("a", "2", "5"));
        assert_eq!(told(&mut rx), ["new a 1", "gone a 1", "new a 2"]);
    }

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let informer = Informer {
            shared: Arc::new(Shared::new()),
        };
        informer.shared.apply(object("a", "1", "1"));
        informer.shared.apply(object("b", "2", "2"));
        let mut rx = informer.subscribe();
        assert_eq!(told(&mut rx).len(), 2);
        informer
            .shared
            .keep_only(&HashSet::from([Key::new("ns", "b")]));
        assert_eq!(told(&mut rx), ["gone a 1"]);
    }
}
