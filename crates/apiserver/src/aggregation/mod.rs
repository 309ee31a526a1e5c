//! The aggregation layer: API groups that others serve, named by APIService objects.
//!
//! Every group version has such an object: [`local`] keeps those of what is served here, [`available`] says whether the
//! others can be reached, [`proxy`] sends requests on to them, and [`documents`] asks them what they serve.

mod available;
mod documents;
pub(crate) mod local;
pub(crate) mod priority;
mod proxy;
mod remote;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use knarr_json::{Value, json};
use knarr_store::Range;
use parking_lot::Mutex;

pub(crate) use documents::{openapi_index, openapi_of, openapi_v2};
pub(crate) use local::register;
pub(crate) use proxy::{answer, find};
pub use remote::ProxyClient;
pub(crate) use remote::Remote;

use crate::{discovery::Place, server::Shared};

pub(crate) const PREFIX: &str = "/registry/apiservices/";

/// Who serves what is not served here.
pub(crate) struct Aggregator {
    /// Where group versions stand among others, by the APIServices there are.
    services: ArcSwap<Vec<Service>>,
    /// By group and version.
    remotes: ArcSwap<HashMap<(String, String), Arc<Remote>>>,
    identity: Option<Arc<ProxyClient>>,
    /// What remote servers tell about themselves, by the name of their APIService.
    told: Mutex<HashMap<String, Told>>,
    /// Changes when `told` or `remotes` do.
    generation: AtomicU64,
}

/// What an APIService says of its group version.
pub(crate) struct Service {
    pub place: Place,
    /// Servers made it and take it away again.
    pub managed: bool,
    /// Others serve the group version.
    pub remote: bool,
}

impl Service {
    fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
        Service {
            place: Place {
                group: text("group"),
                version: text("version"),
                group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
                version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
            },
            managed: object["metadata"]["labels"][local::LABEL].is_string(),
            remote: spec["service"].is_object(),
        }
    }
}

/// What a remote server says it serves.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Told {
    /// Its version in aggregated discovery.
    discovery: Value,
    /// Where its OpenAPI document is, as its own index has it.
    openapi: String,
}

impl Aggregator {
    pub fn new(identity: Option<ProxyClient>) -> Self {
        Aggregator {
            services: ArcSwap::default(),
            remotes: ArcSwap::default(),
            identity: identity.map(Arc::new),
            told: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// Changes when documents that name remote groups are out of date.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// All APIServices.
    pub fn services(&self) -> Arc<Vec<Service>> {
        self.services.load_full()
    }

    /// A version of another server as aggregated discovery shows it: what it told last, or its name alone.
    pub fn shown(&self, group: &str, version: &str) -> Option<Value> {
        let remote = self.get(group, version)?;
        let told = self.told.lock();
        let known = told.get(&remote.name).map(|t| t.discovery.clone());
        drop(told);
        let mut shown = known
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({"version": version, "freshness": "Stale"}));
        if !remote.available {
            shown["freshness"] = "Stale".into();
        }
        Some(shown)
    }

    /// The remote that serves a group version.
    fn get(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return None;
        }
        remotes
            .get(&(group.to_owned(), version.to_owned()))
            .cloned()
    }

    /// All remotes, the groups and versions that come first in front.
    fn all(&self) -> Vec<Arc<Remote>> {
        let mut out: Vec<Arc<Remote>> = self.remotes.load().values().cloned().collect();
        out.sort_by(|a, b| a.order().cmp(&b.order()));
        out
    }

    /// Reads all APIServices again.
    fn reload(&self, shared: &Shared) {
        let range = Range {
            prefix: PREFIX,
            ..Range::default()
        };
        let Ok(listing) = shared.store.list(range) else {
            return;
        };
        let objects = listing.items.iter();
        let objects: Vec<Value> = objects
            .filter_map(|s| serde_json::from_slice(&s.json).ok())
            .collect();
        let identity = self.identity.as_deref();
        let remotes: HashMap<_, _> = objects
            .iter()
            .filter_map(|object| Remote::new(object, identity))
            .map(|r| ((r.group.clone(), r.version.clone()), Arc::new(r)))
            .collect();
        let names: Vec<String> = remotes.values().map(|r| r.name.clone()).collect();
        self.told.lock().retain(|name, _| names.contains(name));
        self.remotes.store(Arc::new(remotes));
        let services = objects.iter().map(Service::of).collect();
        self.services.store(Arc::new(services));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes what a remote told about itself.
    fn note(&self, name: &str, told: Told) {
        let mut all = self.told.lock();
        if all.get(name) != Some(&told) {
            all.insert(name.to_owned(), told);
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Follows the APIServices and the custom resources that need one, and looks after those who serve elsewhere.
pub(crate) fn start(shared: &Arc<Shared>) {
    shared.aggregator.reload(shared);
    shared.tasks.spawn(follow(shared.clone()));
    shared.tasks.spawn(available::run(shared.clone()));
}

async fn follow(shared: Arc<Shared>) {
    while let Ok(mut watch) = shared.store.watch(PREFIX, None) {
        shared.aggregator.reload(&shared);
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                event = watch.next() => match event {
                    Some(Ok(_)) => shared.aggregator.reload(&shared),
                    Some(Err(_)) => break,
                    None => return,
                },
            }
        }
    }
}
