//! All policies in force, as the store has them, so that a request needs no look-up to find that none concerns it.

use std::{collections::BTreeMap, sync::Arc};

use knarr_json::Value;
use knarr_store::{Store, Stored};

use super::config::{Active, Binding, Policy, active};
use crate::derived::{Derived, View};

/// Policies and their bindings.
const VALIDATING: [&str; 2] = [
    "/registry/validatingadmissionpolicies/",
    "/registry/validatingadmissionpolicybindings/",
];
const MUTATING: [&str; 2] = [
    "/registry/mutatingadmissionpolicies/",
    "/registry/mutatingadmissionpolicybindings/",
];

/// Policies in the order in which they are asked.
pub(crate) struct Policies(Derived<Index>);

/// By their keys.
#[derive(Default)]
struct Index {
    policies: BTreeMap<Arc<str>, Arc<Policy>>,
    bindings: BTreeMap<Arc<str>, Arc<Binding>>,
    validating: Arc<Vec<Active>>,
    mutating: Arc<Vec<Active>>,
}

impl Policies {
    /// Reads policies and bindings.
    pub fn new(store: &Store) -> Self {
        Policies(Derived::new(store))
    }

    pub fn validating(&self) -> Arc<Vec<Active>> {
        self.0.now().validating.clone()
    }

    pub fn mutating(&self) -> Arc<Vec<Active>> {
        self.0.now().mutating.clone()
    }
}

impl View for Index {
    const PREFIXES: &'static [&'static str] =
        &[VALIDATING[0], VALIDATING[1], MUTATING[0], MUTATING[1]];

    fn put(&mut self, stored: &Stored) {
        let object: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
        let key = stored.key.clone();
        if is_policy(&key) {
            self.policies.insert(key, Arc::new(Policy::of(&object)));
        } else {
            self.bindings.insert(key, Arc::new(Binding::of(&object)));
        }
    }

    fn remove(&mut self, stored: &Stored) {
        self.policies.remove(&stored.key);
        self.bindings.remove(&stored.key);
    }

    fn forget(&mut self, prefix: &str) {
        self.policies.retain(|key, _| !key.starts_with(prefix));
        self.bindings.retain(|key, _| !key.starts_with(prefix));
    }

    fn settle(&mut self) {
        let of = |[policies, bindings]: [&str; 2]| {
            let policies = under(&self.policies, policies);
            let bindings: Vec<_> = under(&self.bindings, bindings).collect();
            Arc::new(active(policies, &bindings))
        };
        (self.validating, self.mutating) = (of(VALIDATING), of(MUTATING));
    }
}

fn is_policy(key: &str) -> bool {
    key.starts_with(VALIDATING[0]) || key.starts_with(MUTATING[0])
}

fn under<'a, T>(
    all: &'a BTreeMap<Arc<str>, Arc<T>>,
    prefix: &'a str,
) -> impl Iterator<Item = &'a Arc<T>> {
    let own = all.iter().filter(move |(key, _)| key.starts_with(prefix));
    own.map(|(_, object)| object)
}
