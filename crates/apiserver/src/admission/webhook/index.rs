//! All webhooks there are, as the store has them, so that a request needs no look-up to find that none concerns it.

use std::{collections::BTreeMap, sync::Arc};

use knarr_json::Value;
use knarr_store::{Store, Stored};

use super::config::Hook;
use crate::derived::{Derived, View};

const MUTATING: &str = "/registry/mutatingwebhookconfigurations/";
const VALIDATING: &str = "/registry/validatingwebhookconfigurations/";

/// Webhooks in the order in which they are asked: by the names of their configurations.
pub struct Hooks(Derived<Index>);

/// By the keys of configurations.
#[derive(Default)]
struct Index {
    configured: BTreeMap<Arc<str>, Vec<Arc<Hook>>>,
    mutating: Arc<Vec<Arc<Hook>>>,
    validating: Arc<Vec<Arc<Hook>>>,
}

impl Hooks {
    /// Reads the configurations.
    pub fn new(store: &Store) -> Self {
        Hooks(Derived::new(store))
    }

    pub fn mutating(&self) -> Arc<Vec<Arc<Hook>>> {
        self.0.now().mutating.clone()
    }

    pub fn validating(&self) -> Arc<Vec<Arc<Hook>>> {
        self.0.now().validating.clone()
    }
}

impl View for Index {
    const PREFIXES: &'static [&'static str] = &[MUTATING, VALIDATING];

    fn put(&mut self, stored: &Stored) {
        let configuration: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
        let hooks = Hook::all_of(&configuration);
        self.configured.insert(stored.key.clone(), hooks);
    }

    fn remove(&mut self, stored: &Stored) {
        self.configured.remove(&stored.key);
    }

    fn forget(&mut self, prefix: &str) {
        self.configured.retain(|key, _| !key.starts_with(prefix));
    }

    fn settle(&mut self) {
        let of = |prefix: &str| {
            let own = self
                .configured
                .iter()
                .filter(|(key, _)| key.starts_with(prefix));
            Arc::new(own.flat_map(|(_, hooks)| hooks.clone()).collect())
        };
        (self.mutating, self.validating) = (of(MUTATING), of(VALIDATING));
    }
}
