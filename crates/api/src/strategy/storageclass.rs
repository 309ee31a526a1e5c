//! StorageClasses.

use jiff::Timestamp;
use knarr_json::Value;

use super::{Column, Context, Strategy, defaults::set, pod};
use crate::{
    field::{Error, Errors},
    names, table,
    validation::{At, immutable, labels, list, meta, text},
};

/// `storage.k8s.io/v1/StorageClass`.
pub struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        set(object, "reclaimPolicy", "Delete");
        set(object, "volumeBindingMode", "Immediate");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        class(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        for key in [
            "parameters",
            "provisioner",
            "reclaimPolicy",
            "volumeBindingMode",
        ] {
            immutable(&At::root(object, key), &old[key], &mut errs);
        }
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        At::root(object, "allowedTopologies")
            .each()
            .flat_map(|term| term.items("matchLabelExpressions"))
            .filter_map(|e| {
                let key = e.get("key");
                let words = pod::warnings::node_label(key.str())?;
                Some(format!("{}: {words}", key.path))
            })
            .collect()
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Provisioner",
                "provisioner indicates the type of the provisioner.",
            ),
            table::column(
                "ReclaimPolicy",
                "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class. Defaults to Delete.",
            ),
            table::column(
                "VolumeBindingMode",
                "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.  When unset, VolumeBindingImmediate is used. This field is only honored by servers that enable the VolumeScheduling feature.",
            ),
            table::column(
                "AllowVolumeExpansion",
                "allowVolumeExpansion shows whether the storage class allow volume expand.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let annotations = &object["metadata"]["annotations"];
        let default = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ]
        .iter()
        .any(|k| text(annotations, k) == "true");
        let name = text(&object["metadata"], "name");
        vec![
            if default {
                format!("{name} (default)")
            } else {
                name.to_owned()
            }
            .into(),
            text(object, "provisioner").into(),
            text(object, "reclaimPolicy").into(),
            text(object, "volumeBindingMode").into(),
            (object["allowVolumeExpansion"] == true).into(),
            table::age_of(object, now),
        ]
    }
}

fn class(object: &Value, errs: &mut Errors) {
    meta::create(object, false, meta::subdomain, errs);
    let provisioner = At::root(object, "provisioner");
    if provisioner.str().is_empty() {
        errs.push(provisioner.required(""));
    } else {
        let lower = provisioner.str().to_lowercase();
        for m in names::qualified_name(&lower) {
            errs.push(Error::invalid(&provisioner.path, lower.as_str(), m));
        }
    }
    let parameters = At::root(object, "parameters");
    if parameters.v.get("").is_some() {
        errs.push(Error::invalid(
            &parameters.path,
            "",
            "field can not be empty.",
        ));
    }
    for (key, supported) in [
        ("reclaimPolicy", ["Delete", "Retain"]),
        ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"]),
    ] {
        let at = At::root(object, key);
        if !supported.contains(&at.str()) {
            errs.push(at.not_supported(&supported));
        }
    }
    topologies(&At::root(object, "allowedTopologies"), errs);
}

fn topologies(all: &At, errs: &mut Errors) {
    let mut terms: Vec<&Value> = Vec::new();
    for term in all.each() {
        let expressions = term.get("matchLabelExpressions");
        let mut keys: Vec<&str> = Vec::new();
        for e in expressions.each() {
            let values = e.get("values");
            if list(values.v).is_empty() {
                errs.push(values.required(""));
            }
            let mut seen: Vec<&str> = Vec::new();
            for value in values.each() {
                if seen.contains(&value.str()) {
                    errs.push(value.duplicate());
                }
                seen.push(value.str());
            }
            labels::label_key(&e.get("key"), e.text("key"), errs);
            if keys.contains(&e.text("key")) {
                errs.push(e.get("key").duplicate());
            }
            keys.push(e.text("key"));
        }
        if terms.contains(&expressions.v) {
            errs.push(Error::duplicate(&expressions.path, ""));
        }
        terms.push(expressions.v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn old_labels_of_nodes_are_warned_about() {
        let class = json!({"allowedTopologies": [{"matchLabelExpressions": [
            {"key": "disk", "values": ["ssd"]}, {"key": "beta.kubernetes.io/os", "values": ["linux"]}]}]});
        assert_eq!(
            StorageClass.warnings(&Context::default(), &class, None),
            [
                "allowedTopologies[0].matchLabelExpressions[1].key: deprecated since v1.14; use \"kubernetes.io/os\" instead"
            ]
        );
    }
}
