//! Writing slices, without acting twice on a cache that does not show the last write yet.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::{Change, Informer, informer::Key};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;

use super::plan::{MANAGED_BY, Plan, SERVICE_NAME};
use crate::write;

/// A write that the cache does not show after this long was overtaken by a delete of somebody else.
pub const GIVE_UP: Duration = Duration::from_secs(10);

/// The slices of one manager, by Service.
pub struct Slices {
    client: Client,
    pub informer: Informer<EndpointSlice>,
    manager: &'static str,
    known: Mutex<HashMap<Key, Known>>,
}

#[derive(Default)]
struct Known {
    slices: HashSet<String>,
    /// Revisions written and when, no revision for slices deleted, until the cache shows them.
    written: HashMap<String, (Option<u64>, Instant)>,
}

fn revision(slice: &EndpointSlice) -> u64 {
    slice
        .metadata
        .resource_version
        .as_deref()
        .and_then(|r| r.parse().ok())
        .unwrap_or(0)
}

impl Slices {
    pub fn new(client: Client, informer: Informer<EndpointSlice>, manager: &'static str) -> Self {
        Slices {
            client,
            informer,
            manager,
            known: Mutex::default(),
        }
    }

    /// Takes note of a change; the Service that it belongs to, if this manager looks after it.
    pub fn follow(&self, change: &Change<EndpointSlice>) -> Option<Key> {
        let slice = change.object();
        let labels = slice.metadata.labels.as_ref()?;
        if labels.get(MANAGED_BY).map(String::as_str) != Some(self.manager) {
            return None;
        }
        let key = Key::new(
            slice.metadata.namespace.as_deref()?,
            labels.get(SERVICE_NAME)?,
        );
        let mut known = self.known.lock();
        let of_service = known.entry(key.clone()).or_default();
        let name = slice.name_any();
        match change {
            Change::Applied { .. } => {
                of_service.slices.insert(name);
            }
            Change::Deleted(_) => {
                of_service.slices.remove(&name);
                of_service.written.remove(&name);
            }
        }
        if of_service.slices.is_empty() && of_service.written.is_empty() {
            known.remove(&key);
        }
        Some(key)
    }

    /// The Service's slices; `None` while the cache does not show all that was written. It wakes the Service when it does.
    pub fn of(&self, key: &Key) -> Option<Vec<Arc<EndpointSlice>>> {
        let mut known = self.known.lock();
        let Some(of_service) = known.get_mut(key) else {
            return Some(Vec::new());
        };
        let get = |name: &str| self.informer.get(&key.namespace, name);
        of_service.written.retain(|name, (written, at)| {
            at.elapsed() < GIVE_UP
                && match (written, get(name)) {
                    (Some(written), Some(cached)) => revision(&cached) < *written,
                    (Some(_), None) | (None, Some(_)) => true,
                    (None, None) => false,
                }
        });
        if !of_service.written.is_empty() {
            return None;
        }
        let mut slices: Vec<_> = of_service
            .slices
            .iter()
            .filter_map(|name| get(name))
            .collect();
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Some(slices)
    }

    /// Forgets what was written for a Service.
    pub fn forget(&self, key: &Key) {
        if let Some(known) = self.known.lock().get_mut(key) {
            known.written.clear();
        }
    }

    fn wrote(&self, key: &Key, name: String, revision: Option<u64>) {
        self.known
            .lock()
            .entry(key.clone())
            .or_default()
            .written
            .insert(name, (revision, Instant::now()));
    }

    /// Carries a plan out.
    ///
    /// # Errors
    /// The first refusal, after all has been tried.
    pub async fn carry_out(&self, key: &Key, plan: Plan) -> anyhow::Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = write::post();
        let creates = plan.create.iter().map(|slice| api.create(&params, slice));
        let names: Vec<String> = plan.update.iter().map(ResourceExt::name_any).collect();
        let updates = plan
            .update
            .iter()
            .zip(&names)
            .map(|(slice, name)| api.replace(name, &params, slice));
        let deletes = plan.delete.iter().map(|slice| {
            let api = &api;
            async move {
                let name = slice.name_any();
                let result = api.delete(&name, &write::delete(slice.uid())).await;
                (name, result.map(drop))
            }
        });
        // What is new first: an endpoint that moves between slices is then never in none.
        let mut results = join_all(creates).await;
        results.extend(join_all(updates).await);
        let mut refused = None;
        for result in results {
            match result {
                Ok(slice) => self.wrote(key, slice.name_any(), Some(revision(&slice))),
                Err(error) if write::namespace_going(&error) => {}
                Err(error) => refused = Some(error),
            }
        }
        for (name, result) in join_all(deletes).await {
            match result {
                Err(error) if !write::gone(&error) => refused = Some(error),
                _ => self.wrote(key, name, None),
            }
        }
        refused.map_or(Ok(()), |error| Err(error.into()))
    }
}
