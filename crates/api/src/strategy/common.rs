//! What strategies do to objects in the same way.

use knarr_json::{Map, Value};

use crate::{names, validation::text};

/// Takes `key` from `old` into `new`, or drops it when `old` has none.
pub fn keep(new: &mut Value, old: &Value, key: &str) {
    let Some(map) = new.as_object_mut() else {
        return;
    };
    match old.get(key) {
        Some(value) => {
            map.insert(key.to_owned(), value.clone());
        }
        None => {
            map.remove(key);
        }
    }
}

/// Takes `metadata.key` from `old`.
pub fn keep_meta(new: &mut Value, old: &Value, key: &str) {
    if let Some(meta) = new.get_mut("metadata") {
        keep(meta, &old["metadata"], key);
    }
}

/// Drops a field.
pub fn clear(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(key);
    }
}

/// Empties a struct that is always written: `status: {}`.
pub fn reset(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), Value::Object(Map::new()));
    }
}

/// What an update of the object or of its `/status` may not touch, for a kind whose status is written by controllers only.
pub fn split_status(subresource: &str, new: &mut Value, old: &Value) {
    match subresource {
        "status" => keep(new, old, "spec"),
        _ => keep(new, old, "status"),
    }
}

/// What a write of `/status` leaves alone in the metadata, for kinds that take this literally (`ResetObjectMetaForStatus`).
pub fn keep_meta_of_status(new: &mut Value, old: &Value) {
    for key in [
        "deletionTimestamp",
        "generation",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
    ] {
        keep_meta(new, old, key);
    }
}

/// What the author of a workload is told of a name that is no DNS label: pods are called by it.
pub fn pod_name_warning(object: &Value, out: &mut Vec<String>) {
    let wrong = names::dns1123_label(text(&object["metadata"], "name"));
    if !wrong.is_empty() {
        out.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
}
