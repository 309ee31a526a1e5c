//! managedFields of every write, and what metadata makes worth a warning.

use serde_json::Value;

use super::{Target, meta};
use crate::{chain::Call, query::WriteOptions};

/// Notes who set the fields of a new object. `sent` is what the client had in managedFields.
pub fn created(
    _call: &Call,
    _target: &Target,
    object: &mut Value,
    _sent: &Value,
    _options: &WriteOptions,
) {
    meta::of(object).remove("managedFields");
}

/// Notes who changed what.
pub fn updated(
    _call: &Call,
    _target: &Target,
    object: &mut Value,
    _old: &Value,
    _sent: &Value,
    _options: &WriteOptions,
) {
    meta::of(object).remove("managedFields");
}

/// A warning for owners that are named twice.
pub fn owner_warnings(object: &Value) -> Vec<String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut twice: Vec<&str> = Vec::new();
    for uid in object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|o| o["uid"].as_str())
    {
        if seen.contains(&uid) {
            twice.push(uid);
        }
        seen.push(uid);
    }
    if twice.is_empty() {
        return Vec::new();
    }
    vec![format!(
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    )]
}
