//! All webhooks there are, kept up with the store, so that a request needs no look-up to find that none concerns it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use knarr_json::Value;
use knarr_store::{Range, Store};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::config::Hook;

const MUTATING: &str = "/registry/mutatingwebhookconfigurations/";
const VALIDATING: &str = "/registry/validatingwebhookconfigurations/";

/// Webhooks in the order in which they are asked: by the names of their configurations.
pub struct Hooks {
    mutating: ArcSwap<Vec<Arc<Hook>>>,
    validating: ArcSwap<Vec<Arc<Hook>>>,
}

impl Hooks {
    /// Reads the configurations and follows them until `stop`.
    pub fn new(store: &Store, stop: &CancellationToken, tasks: &TaskTracker) -> Arc<Self> {
        let hooks = Arc::new(Hooks {
            mutating: ArcSwap::default(),
            validating: ArcSwap::default(),
        });
        for prefix in [MUTATING, VALIDATING] {
            let from = hooks.load(store, prefix);
            let (store, hooks, stop) = (store.clone(), hooks.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = hooks.follow(&store, prefix, from) => {}
                }
            });
        }
        hooks
    }

    pub fn mutating(&self) -> arc_swap::Guard<Arc<Vec<Arc<Hook>>>> {
        self.mutating.load()
    }

    pub fn validating(&self) -> arc_swap::Guard<Arc<Vec<Arc<Hook>>>> {
        self.validating.load()
    }

    /// Reads all configurations of a kind; there are few, and they change rarely. The revision they were read at.
    fn load(&self, store: &Store, prefix: &'static str) -> u64 {
        let range = Range {
            prefix,
            ..Range::default()
        };
        let Ok(listing) = store.list(range) else {
            return store.revision();
        };
        let hooks = listing.items.iter().flat_map(|stored| {
            let configuration: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
            Hook::all_of(&configuration)
        });
        let hooks = Arc::new(hooks.collect());
        match prefix {
            MUTATING => self.mutating.store(hooks),
            _ => self.validating.store(hooks),
        }
        listing.revision
    }

    async fn follow(&self, store: &Store, prefix: &'static str, mut from: u64) {
        loop {
            if let Ok(mut watch) = store.watch(prefix, Some(from)) {
                while let Some(Ok(_)) = watch.next().await {
                    self.load(store, prefix);
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            from = self.load(store, prefix);
        }
    }
}
