//! Heads of stored objects, for a store that opens.

use std::{collections::HashMap, sync::Arc};

use knarr_api::{Head, Registry, Resource};
use knarr_store::HeadOf;

/// Reads heads by the strategies of the registered kinds. What belongs to none gets the head that all objects have.
pub fn head_of(registry: &Registry) -> HeadOf {
    let by_prefix: HashMap<String, Arc<Resource>> =
        registry.iter().map(|r| (r.prefix(), r.clone())).collect();
    Arc::new(move |key: &str, json: &[u8]| {
        let object = serde_json::from_slice(json).unwrap_or_default();
        match resource_of(&by_prefix, key) {
            Some(resource) => resource.strategy.head(&object),
            None => Head::of(&object, Vec::new()),
        }
    })
}

/// The resource whose prefix is the longest of the key's.
fn resource_of<'a>(
    by_prefix: &'a HashMap<String, Arc<Resource>>,
    key: &str,
) -> Option<&'a Arc<Resource>> {
    let mut end = key.len();
    while let Some(slash) = key[..end].rfind('/') {
        if let Some(found) = by_prefix.get(&key[..=slash]) {
            return Some(found);
        }
        end = slash;
    }
    None
}
