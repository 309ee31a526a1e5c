//! PersistentVolumes and their claims.

mod claim;
pub mod spec;
mod volume;

pub use claim::{PersistentVolumeClaim, claim_warnings};
pub use volume::PersistentVolume;

use knarr_json::Value;

use super::defaults::ensure;
use crate::validation::{list, text};

/// Where the storage class was told before it had a field.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Puts the finalizer that protects an object in use on a new one.
fn protect(object: &mut Value, finalizer: &str) {
    let meta = ensure(object, "metadata");
    let mut all = list(&meta["finalizers"]).to_vec();
    if !all.iter().any(|f| f == finalizer) {
        all.push(finalizer.into());
        meta["finalizers"] = all.into();
    }
}

/// Access modes as `RWO,ROX`, in the order that kubectl knows them.
fn modes(all: &Value) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| list(all).iter().any(|m| m == mode);
    let shown: Vec<&str> = SHORT
        .iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, short)| *short)
        .collect();
    shown.join(",")
}

fn phase(object: &Value) -> &str {
    if object["metadata"]["deletionTimestamp"].is_string() {
        "Terminating"
    } else {
        text(&object["status"], "phase")
    }
}

/// The storage class by name: the annotation of old comes first.
fn class(object: &Value) -> &str {
    let old = text(&object["metadata"]["annotations"], OLD_CLASS);
    match old.is_empty() {
        true => text(&object["spec"], "storageClassName"),
        false => old,
    }
}

fn or_unset(text: &str) -> Value {
    if text.is_empty() {
        "<unset>".into()
    } else {
        text.into()
    }
}
