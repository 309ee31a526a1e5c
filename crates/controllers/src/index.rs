//! Which objects an owner controls, kept up to date by changes, so that looking needs no walk over a namespace.

use std::collections::{HashMap, HashSet};

use knarr_client::{
    Change,
    informer::{Key, Kind},
};
use parking_lot::Mutex;

use crate::owner::controller_of;

/// Keys of objects by the uid of their controller; those without one by namespace.
#[derive(Default)]
pub struct ByOwner {
    keys: Mutex<HashMap<String, HashSet<Key>>>,
}

fn slot<K: Kind>(object: &K) -> String {
    match controller_of(object.meta()) {
        Some(owner) => owner.uid.clone(),
        None => orphans_of(object.meta().namespace.as_deref().unwrap_or_default()),
    }
}

// A slash cannot be part of a uid.
fn orphans_of(namespace: &str) -> String {
    format!("/{namespace}")
}

impl ByOwner {
    /// Must see every change of the kind, in order.
    pub fn follow<K: Kind>(&self, change: &Change<K>) {
        let mut keys = self.keys.lock();
        let (gone, new) = match change {
            Change::Applied { old, new } => (old.as_ref(), Some(new)),
            Change::Deleted(last) => (Some(last), None),
        };
        if let Some(gone) = gone {
            let slot = slot(&**gone);
            if let Some(set) = keys.get_mut(&slot) {
                set.remove(&Key::of(&**gone));
                if set.is_empty() {
                    keys.remove(&slot);
                }
            }
        }
        if let Some(new) = new {
            keys.entry(slot(&**new))
                .or_default()
                .insert(Key::of(&**new));
        }
    }

    /// What the owner with this uid controls.
    pub fn controlled(&self, uid: &str) -> Vec<Key> {
        self.keys
            .lock()
            .get(uid)
            .map(|set| set.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// What nobody controls in this namespace.
    pub fn orphans(&self, namespace: &str) -> Vec<Key> {
        self.controlled(&orphans_of(namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::tests::running;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use std::sync::Arc;

    #[test]
    fn follows_owners() {
        let index = ByOwner::default();
        let orphan = Arc::new(running("a", "n", None));
        let mut owned = running("a", "n", None);
        owned.metadata.owner_references = Some(vec![OwnerReference {
            uid: "rs".into(),
            controller: Some(true),
            ..OwnerReference::default()
        }]);
        let owned = Arc::new(owned);
        index.follow(&Change::Applied {
            old: None,
            new: orphan.clone(),
        });
        assert_eq!(index.orphans("default").len(), 1);
        index.follow(&Change::Applied {
            old: Some(orphan),
            new: owned.clone(),
        });
        assert_eq!(index.orphans("default").len(), 0);
        assert_eq!(index.controlled("rs"), [Key::new("default", "a")]);
        index.follow(&Change::Deleted(owned));
        assert!(index.controlled("rs").is_empty() && index.keys.lock().is_empty());
    }
}
