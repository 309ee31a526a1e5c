//! Follows definitions: decides their status, serves those that are established, and lets go of those that are gone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use http::Method;
use jiff::Timestamp;
use knarr_api::strategy::definition::approval;
use knarr_json::Value;
use knarr_store::{EventKind, Range, RevisionError, Watch};

use super::{
    PATH, PREFIX, apiservices, conditions, finalize, install,
    install::Installed,
    names::{self, Taken},
    requests::{Answer, send},
};
use crate::server::Shared;

/// Time until what failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// What is remembered of a definition without reading it again.
struct Known {
    group: String,
    accepted: Value,
    /// The annotation of its approval, as far as the status tells of it.
    approval: Option<Value>,
}

/// All definitions, as far as they have been looked at.
#[derive(Default)]
pub(crate) struct Definitions {
    known: BTreeMap<String, Known>,
    installed: HashMap<String, Installed>,
    /// Revision of the store that was looked at.
    revision: u64,
    /// To be looked at.
    waiting: BTreeSet<String>,
}

/// Serves every definition that is established, before anybody asks.
pub(crate) fn load(shared: &Arc<Shared>) -> Definitions {
    let mut out = Definitions::default();
    out.list(shared);
    out
}

/// Follows changes until the server stops.
pub(crate) fn start(shared: &Arc<Shared>, mut definitions: Definitions) {
    let server = shared.clone();
    shared.tasks.spawn(async move {
        let stop = server.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = definitions.follow(&server) => {}
        }
    });
}

impl Definitions {
    /// Looks at all there are.
    fn list(&mut self, shared: &Arc<Shared>) {
        let Ok(listing) = shared.store.list(Range {
            prefix: PREFIX,
            ..Range::default()
        }) else {
            return;
        };
        self.revision = listing.revision;
        let names: BTreeSet<String> = listing.items.iter().map(|s| s.head.name.clone()).collect();
        let gone: Vec<String> = self
            .known
            .keys()
            .filter(|k| !names.contains(*k))
            .cloned()
            .collect();
        for name in gone {
            self.forget(shared, &name);
        }
        for stored in &listing.items {
            let object: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
            self.note(&stored.head.name, &object);
            self.serve(shared, &stored.head.name, &object, stored.revision);
            self.waiting.insert(stored.head.name.clone());
        }
    }

    async fn follow(&mut self, shared: &Arc<Shared>) {
        let mut watch = self.watch(shared).ok();
        apiservices::sync(shared).await;
        loop {
            let failed = self.work(shared).await;
            let Some(stream) = watch.as_mut() else {
                self.list(shared);
                watch = self.watch(shared).ok();
                if watch.is_none() {
                    tokio::time::sleep(AGAIN).await;
                }
                continue;
            };
            let event = if failed {
                match tokio::time::timeout(AGAIN, stream.next()).await {
                    Ok(event) => event,
                    Err(_) => continue,
                }
            } else {
                stream.next().await
            };
            match event {
                Some(Ok(event)) => {
                    let name = event.object.head.name.clone();
                    self.revision = event.object.revision;
                    if event.kind == EventKind::Deleted {
                        self.forget(shared, &name);
                    }
                    self.waiting.insert(name);
                }
                Some(Err(_)) => watch = None,
                None => return,
            }
        }
    }

    fn watch(&self, shared: &Shared) -> Result<Watch, RevisionError> {
        shared.store.watch(PREFIX, Some(self.revision))
    }

    /// Looks at everything that waits; true when something is to be tried again.
    async fn work(&mut self, shared: &Arc<Shared>) -> bool {
        let mut failed = BTreeSet::new();
        let mut served = false;
        while let Some(name) = self.waiting.pop_first() {
            match self.look(shared, &name).await {
                Looked::Fine { changed } => served |= changed,
                Looked::Again => {
                    failed.insert(name);
                }
            }
        }
        if served {
            apiservices::sync(shared).await;
        }
        self.waiting = failed;
        !self.waiting.is_empty()
    }

    async fn look(&mut self, shared: &Arc<Shared>, name: &str) -> Looked {
        let Some(stored) = shared.store.get(&format!("{PREFIX}{name}")) else {
            self.forget(shared, name);
            return Looked::Fine { changed: true };
        };
        let object: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
        self.note(name, &object);
        if object["metadata"]["deletionTimestamp"].is_string() {
            finalize::start(shared, name);
            return Looked::Fine {
                changed: self.serve(shared, name, &object, stored.revision),
            };
        }
        let annotation = &object["metadata"]["annotations"][approval::ANNOTATION];
        let seen = self
            .known
            .get(name)
            .and_then(|known| known.approval.as_ref());
        let (again, taken) = (seen != Some(annotation), self.taken(name, &object));
        if let Some(settled) = names::settled(&object, &taken, again, Timestamp::now()) {
            let path = format!("{PATH}/{name}/status");
            return match send(shared, Method::PUT, &path, Some(&settled)).await {
                Answer::Done => {
                    if let Some(known) = self.known.get_mut(name) {
                        known.approval = Some(annotation.clone());
                    }
                    // What it has now others of the group have no more.
                    self.again(name, &object);
                    self.waiting.insert(name.to_owned());
                    Looked::Fine { changed: false }
                }
                Answer::NotFound => Looked::Fine { changed: false },
                Answer::Conflict => Looked::Again,
                Answer::Refused(why) => {
                    tracing::warn!(definition = name, why, "status cannot be written");
                    Looked::Again
                }
            };
        }
        if let Some(known) = self.known.get_mut(name) {
            known.approval = Some(annotation.clone());
        }
        Looked::Fine {
            changed: self.serve(shared, name, &object, stored.revision),
        }
    }

    fn note(&mut self, name: &str, object: &Value) {
        let group = object["spec"]["group"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let accepted = object["status"]["acceptedNames"].clone();
        let approval = self.known.get(name).and_then(|k| k.approval.clone());
        let known = Known {
            group,
            accepted,
            approval,
        };
        self.known.insert(name.to_owned(), known);
    }

    /// Names that others of the group have.
    fn taken(&self, name: &str, object: &Value) -> Taken {
        let group = object["spec"]["group"].as_str().unwrap_or_default();
        let mut taken = Taken::default();
        for (other, known) in &self.known {
            if other != name && known.group == group {
                taken.add(&known.accepted);
            }
        }
        taken
    }

    /// Looks again at the others of the group: names may have become free.
    fn again(&mut self, name: &str, object: &Value) {
        let group = object["spec"]["group"].as_str().unwrap_or_default();
        let others = self
            .known
            .iter()
            .filter(|(other, known)| *other != name && known.group == group);
        let others: Vec<String> = others.map(|(other, _)| other.clone()).collect();
        self.waiting.extend(others);
    }

    fn forget(&mut self, shared: &Arc<Shared>, name: &str) {
        if let Some(installed) = self.installed.remove(name) {
            install::remove(shared, &installed);
        }
        if let Some(known) = self.known.remove(name) {
            let others = self
                .known
                .iter()
                .filter(|(_, other)| other.group == known.group);
            let others: Vec<String> = others.map(|(other, _)| other.clone()).collect();
            self.waiting.extend(others);
        }
    }

    /// Serves a definition as far as it is to be served; true when that changed something.
    fn serve(&mut self, shared: &Arc<Shared>, name: &str, object: &Value, revision: u64) -> bool {
        let before = self.installed.remove(name);
        if !conditions::is_true(object, "Established") {
            if let Some(before) = &before {
                install::remove(shared, before);
            }
            return before.is_some();
        }
        let registry = shared.registry.load_full();
        let terminating = conditions::is_true(object, "Terminating");
        let installed = install::install(shared, object, revision, terminating, before);
        self.installed.insert(name.to_owned(), installed);
        !Arc::ptr_eq(&registry, &shared.registry.load())
    }
}

enum Looked {
    Fine {
        /// What is served changed.
        changed: bool,
    },
    Again,
}
