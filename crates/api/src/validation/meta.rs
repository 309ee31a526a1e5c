//! `metadata` of any object.
//!
//! Kinds' strategies call [`create`] and [`update`] themselves, with their own rule for names, since what they find comes
//! first. The REST code of the API server then checks generic rules once more: [`update`] before a strategy's
//! `validate_update` (both lists are answered, so that a metadata error of an update shows twice, as it does with the
//! original) and [`path_segment_name`] after a strategy's `validate_create` found nothing.

use knarr_json::Value;

use super::{At, labels, list, ordered_json};
use crate::{
    field::{Error, Errors},
    names,
};

/// A kind's rule for names: the name, and whether it is a prefix (`generateName`).
pub type NameRule = fn(&str, bool) -> Vec<String>;

/// Names that are DNS-1123 subdomains.
pub fn subdomain(name: &str, prefix: bool) -> Vec<String> {
    names::dns1123_subdomain(&masked(name, prefix))
}

/// Names that are DNS-1123 labels.
pub fn label(name: &str, prefix: bool) -> Vec<String> {
    names::dns1123_label(&masked(name, prefix))
}

/// Names that only have to fit into a URL.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    let mut out = names::path_segment(name);
    if prefix {
        out.retain(|m| !m.starts_with("may not be"));
    }
    out
}

fn masked(name: &str, prefix: bool) -> String {
    if prefix {
        names::mask_trailing_dash(name)
    } else {
        name.to_owned()
    }
}

/// Checks the metadata of a new object, as the strategies of most built-in kinds do.
pub fn create(object: &Value, namespaced: bool, rule: NameRule, errs: &mut Errors) {
    check(&At::root(object, "metadata"), namespaced, rule, errs);
}

/// [`create_any`] and the rule that finalizers without a domain are known ones: of a built-in object itself or of a template.
pub fn check(meta: &At, namespaced: bool, rule: NameRule, errs: &mut Errors) {
    create_any(meta, namespaced, rule, errs);
    standard_finalizers(&meta.get("finalizers"), errs);
}

/// Checks metadata that any new object may have, found at `meta`.
pub fn create_any(meta: &At, namespaced: bool, rule: NameRule, errs: &mut Errors) {
    let prefix = meta.get("generateName");
    if !prefix.str().is_empty() {
        prefix.push(rule(prefix.str(), true), errs);
    }
    let name = meta.get("name");
    if name.str().is_empty() {
        errs.push(name.required("name or generateName is required"));
    } else {
        name.push(rule(name.str(), false), errs);
    }
    let namespace = meta.get("namespace");
    match (namespaced, namespace.str()) {
        (true, "") => errs.push(namespace.required("")),
        (true, ns) => namespace.push(names::dns1123_label(ns), errs),
        (false, "") => {}
        (false, _) => errs.push(namespace.forbidden("not allowed on this type")),
    }
    super::non_negative(meta, "generation", errs);
    labels::labels(&meta.get("labels"), errs);
    labels::annotations(&meta.get("annotations"), errs);
    owners(&meta.get("ownerReferences"), errs);
    finalizers(&meta.get("finalizers"), errs);
    managed_fields(&meta.get("managedFields"), errs);
}

/// Checks metadata of an update against what is stored. Whether a revision must be given is for generic code to say.
pub fn update(object: &Value, old: &Value, errs: &mut Errors) {
    let meta = At::root(object, "metadata");
    let old = &old["metadata"];
    if old["deletionTimestamp"].is_string() {
        no_new_finalizers(&meta.get("finalizers"), &old["finalizers"], errs);
    }
    if meta.int("generation").unwrap_or(0) < old["generation"].as_i64().unwrap_or(0) {
        let generation = meta.int("generation").unwrap_or(0);
        errs.push(Error::invalid(
            &meta.path.child("generation"),
            generation,
            "must not be decremented",
        ));
    }
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        super::immutable(&meta.get(key), &old[key], errs);
    }
    labels::labels(&meta.get("labels"), errs);
    labels::annotations(&meta.get("annotations"), errs);
    owners(&meta.get("ownerReferences"), errs);
    managed_fields(&meta.get("managedFields"), errs);
}

/// [`update`] and the rule that finalizers without a domain are known ones, as the strategies of built-in kinds check.
pub fn update_core(object: &Value, old: &Value, errs: &mut Errors) {
    update(object, old, errs);
    standard_finalizers(&At::root(object, "metadata").get("finalizers"), errs);
}

fn no_new_finalizers(new: &At, old: &Value, errs: &mut Errors) {
    let added: Vec<String> = list(new.v)
        .iter()
        .filter(|f| !list(old).contains(f))
        .map(|f| format!("{:?}", f.as_str().unwrap_or_default()))
        .collect();
    if !added.is_empty() {
        let mut sorted = added;
        sorted.sort();
        errs.push(new.forbidden(format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            sorted.join(", ")
        )));
    }
}

const OWNER_FIELDS: &[&str] = &[
    "apiVersion",
    "kind",
    "name",
    "uid",
    "controller",
    "blockOwnerDeletion",
];

fn owners(owners: &At, errs: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in owners.each() {
        // the original leaves the index out of these paths
        let owner = At {
            v: owner.v,
            path: owners.path.clone(),
        };
        one_owner(&owner, errs);
        if owner.flag("controller") {
            let this = format!("{}/{}", owner.text("kind"), owner.text("name"));
            if let Some(first) = &controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errs.push(
                    owners
                        .invalid(detail)
                        .showing(ordered_json(owners.v, OWNER_FIELDS)),
                );
            } else {
                controller = Some(this);
            }
        }
    }
}

fn one_owner(owner: &At, errs: &mut Errors) {
    let version = owner.text("apiVersion");
    if version.is_empty() || version.ends_with('/') || version.matches('/').count() > 1 {
        errs.push(owner.get("apiVersion").invalid("version must not be empty"));
    }
    for key in ["kind", "name", "uid"] {
        if owner.text(key).is_empty() {
            errs.push(Error::invalid(
                &owner.path.child(key),
                "",
                "must not be empty",
            ));
        }
    }
    if version == "v1" && owner.text("kind") == "Event" {
        let shown = ordered_json(owner.v, OWNER_FIELDS);
        errs.push(
            owner
                .invalid("/v1, Kind=Event is disallowed from being an owner")
                .showing(shown),
        );
    }
}

fn finalizers(finalizers: &At, errs: &mut Errors) {
    for f in finalizers.each() {
        // the original leaves the index out of this path
        At {
            v: f.v,
            path: finalizers.path.clone(),
        }
        .push(names::qualified_name(f.str()), errs);
    }
    let has = |name: &str| list(finalizers.v).iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        errs.push(finalizers.invalid("finalizer orphan and foregroundDeletion cannot be both set"));
    }
}

/// A finalizer without a domain must be one that Kubernetes itself uses.
pub fn standard_finalizers(finalizers: &At, errs: &mut Errors) {
    for f in finalizers.each() {
        standard_finalizer(&f, errs);
    }
}

/// See [`standard_finalizers`]; `f` may have any path.
pub fn standard_finalizer(f: &At, errs: &mut Errors) {
    if !f.str().contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&f.str())
    {
        errs.push(f.invalid("name is neither a standard finalizer name nor is it fully qualified"));
    }
}

fn managed_fields(entries: &At, errs: &mut Errors) {
    for entry in entries.each() {
        let operation = entry.get("operation");
        if !["Apply", "Update"].contains(&operation.str()) {
            errs.push(Error::invalid(
                &operation.path,
                operation.str(),
                "must be `Apply` or `Update`",
            ));
        }
        let kind = entry.get("fieldsType");
        if !["", "FieldsV1"].contains(&kind.str()) {
            errs.push(kind.invalid("must be `FieldsV1`"));
        }
        let manager = entry.get("manager");
        if manager.str().len() > 128 {
            errs.push(Error::too_long(&manager.path, 128));
        }
        if let Some((i, c)) = manager.str().char_indices().find(|(_, c)| c.is_control()) {
            errs.push(manager.invalid(format!(
                "should only contain printable characters; found {:?} at {i}",
                c
            )));
        }
        let subresource = entry.get("subresource");
        if subresource.str().len() > 256 {
            errs.push(Error::too_long(&subresource.path, 256));
        }
    }
}

/// What any name must satisfy whatever its kind says: to be one segment of a URL path.
pub fn path_segment_name(object: &Value, namespaced: bool, errs: &mut Errors) {
    let meta = At::root(object, "metadata");
    create_any(&meta, namespaced, path_segment, errs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn created(meta: Value) -> Vec<String> {
        let mut errs = Errors::new();
        create(&json!({ "metadata": meta }), true, subdomain, &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn metadata_of_a_new_object() {
        assert!(
            created(json!({"name": "a", "namespace": "n", "finalizers": ["orphan", "a.io/b"]}))
                .is_empty()
        );
        assert_eq!(
            created(json!({"namespace": "n"})),
            ["metadata.name: Required value: name or generateName is required"]
        );
        let many = created(
            json!({"name": "a.b", "namespace": "n", "finalizers": ["plain"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "", "name": "x", "uid": ""}]}),
        );
        assert_eq!(
            many,
            [
                "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
                "metadata.finalizers[0]: Invalid value: \"plain\": name is neither a standard finalizer name nor is it fully qualified",
            ]
        );
    }

    #[test]
    fn an_update_keeps_identity_and_adds_no_finalizer_while_deleting() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "deletionTimestamp": "t", "finalizers": ["a.io/x"]}});
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!(["a.io/x", "a.io/y"]);
        new["metadata"]["uid"] = json!("v");
        let mut errs = Errors::new();
        update(&new, &old, &mut errs);
        let fields: Vec<_> = errs.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["metadata.finalizers", "metadata.uid"]);
        assert!(errs[0].detail.ends_with("[]string{\"a.io/y\"}"));
    }
}
