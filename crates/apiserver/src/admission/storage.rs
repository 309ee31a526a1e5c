//! DefaultStorageClass and PersistentVolumeClaimResize.

use knarr_json::Value;
use knarr_store::Range;

use super::{Attributes, Operation, amounts};
use crate::{Outcome, chain::Call};

const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

fn annotated<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// A claim without a class gets the one that is marked as default.
pub fn default_class(a: &Attributes<'_>, claim: &mut Value) {
    let named =
        annotated(claim, OLD_CLASS).is_some() || claim["spec"]["storageClassName"].is_string();
    if a.operation != Operation::Create || named || !claim["spec"].is_object() {
        return;
    }
    if let Some(name) = newest_default(&classes(a.call)) {
        claim["spec"]["storageClassName"] = name.into();
    }
}

fn classes(call: &Call) -> Vec<Value> {
    let listing = call.shared.store.list(Range {
        prefix: "/registry/storageclasses/",
        ..Range::default()
    });
    let items = listing.map(|l| l.items).unwrap_or_default();
    let parsed = items.iter().map(|s| serde_json::from_slice(&s.json));
    parsed.filter_map(Result::ok).collect()
}

/// Of several defaults the newest wins; of equally new ones the first by name.
fn newest_default(classes: &[Value]) -> Option<String> {
    let text = |class: &Value, key: &str| class["metadata"][key].as_str().unwrap_or("").to_owned();
    let marked = |class: &&Value| {
        DEFAULT
            .iter()
            .any(|key| annotated(class, key) == Some("true"))
    };
    let mut found: Vec<(String, String)> = classes
        .iter()
        .filter(marked)
        .map(|class| (text(class, "creationTimestamp"), text(class, "name")))
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    found.into_iter().next().map(|(_, name)| name)
}

/// A claim may grow when it is bound and its class lets it.
///
/// # Errors
/// 403 when it may not.
pub fn resize(a: &Attributes<'_>, claim: &Value) -> Outcome<()> {
    let Some(old) = a.old.filter(|_| a.operation == Operation::Update) else {
        return Ok(());
    };
    let size =
        |claim: &Value| amounts::read(&claim["spec"]["resources"]["requests"]).remove("storage");
    if size(claim) <= size(old) {
        return Ok(());
    }
    if old["status"]["phase"] != "Bound" {
        let why = "Only bound persistent volume claims can be expanded";
        return Err(a.forbidden(claim, why));
    }
    let class = |claim: &Value| {
        let old = annotated(claim, OLD_CLASS);
        let class = old.or(claim["spec"]["storageClassName"].as_str());
        class.unwrap_or_default().to_owned()
    };
    let (now, before) = (class(claim), class(old));
    let expands = || {
        let stored = a
            .call
            .shared
            .store
            .get(&format!("/registry/storageclasses/{now}"));
        let class: Option<Value> = stored.and_then(|s| serde_json::from_slice(&s.json).ok());
        class.is_some_and(|c| c["allowVolumeExpansion"] == true)
    };
    if now.is_empty() || before.is_empty() || !expands() {
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        return Err(a.forbidden(claim, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn the_newest_default_wins() {
        let class = |name: &str, made: &str, default: &str| json!({"metadata": {"name": name, "creationTimestamp": made, "annotations": {(DEFAULT[0]): default}}});
        let classes = [
            class("a", "2026-01-01T00:00:00Z", "true"),
            class("c", "2026-01-02T00:00:00Z", "true"),
            class("b", "2026-01-02T00:00:00Z", "true"),
            class("d", "2026-01-03T00:00:00Z", "false"),
        ];
        assert_eq!(newest_default(&classes).as_deref(), Some("b"));
        assert_eq!(newest_default(&[]), None);
    }
}
