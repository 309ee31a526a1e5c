//! PersistentVolumes.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{OLD_CLASS, class, modes, or_unset, phase, protect, spec};
use crate::{
    field::{Error, Errors, Path},
    strategy::{
        Column, Context, Strategy, common,
        defaults::{ensure, set, set_text},
        pod,
    },
    table,
    validation::{At, amount::Amount, go, immutable, map, meta, text},
};

/// `v1/PersistentVolume`.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        set_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        set(spec, "volumeMode", "Filesystem");
        spec::source_defaults(spec);
        set_text(ensure(object, "status"), "phase", "Pending");
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
        protect(object, "kubernetes.io/pv-protection");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        let name = text(&object["metadata"], "name");
        spec::check(&At::root(object, "spec"), name, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        let (status, was) = (&object["status"], &old["status"]);
        let stale = |v: &Value| v.is_null() || *v == was["lastPhaseTransitionTime"];
        if ctx.subresource == "status"
            && status["phase"] != was["phase"]
            && stale(&status["lastPhaseTransitionTime"])
        {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            object["status"]["lastPhaseTransitionTime"] = now.into();
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            meta::update_core(object, old, &mut errs);
            return errs;
        }
        // an update is validated twice, as a new volume and as a changed one, and both answers are given
        for _ in 0..2 {
            errs.extend(self.validate_create(ctx, object));
        }
        changes(&At::root(object, "spec"), &old["spec"], &mut errs);
        errs
    }

    fn warnings(&self, ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        match ctx.subresource.as_str() {
            "status" => Vec::new(),
            _ => outdated(object),
        }
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Capacity",
                "capacity is the description of the persistent volume's resources and capacity.",
            ),
            table::column(
                "Access Modes",
                "accessModes contains all ways the volume can be mounted.",
            ),
            table::column(
                "Reclaim Policy",
                "What happens to the volume when it is released from its claim.",
            ),
            table::column(
                "Status",
                "phase indicates if a volume is available, bound to a claim, or released by a claim.",
            ),
            table::column("Claim", "The claim that the volume is bound to."),
            table::column("StorageClass", "StorageClass of the pv"),
            table::column(
                "VolumeAttributesClass",
                "Name of VolumeAttributesClass to which this persistent volume belongs.",
            ),
            table::column(
                "Reason",
                "reason is a brief CamelCase string that describes any failure.",
            ),
            table::age(),
            table::wide(
                "VolumeMode",
                "Whether the volume has a file system or is a raw block device.",
            ),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        let claim = &spec["claimRef"];
        let claimed = if claim.is_object() {
            format!("{}/{}", text(claim, "namespace"), text(claim, "name"))
        } else {
            String::new()
        };
        vec![
            table::name_of(object),
            Amount::of(&spec["capacity"]["storage"]).to_string().into(),
            modes(&spec["accessModes"]).into(),
            text(spec, "persistentVolumeReclaimPolicy").into(),
            phase(object).into(),
            claimed.into(),
            class(object).into(),
            or_unset(text(spec, "volumeAttributesClassName")),
            text(&object["status"], "reason").into(),
            table::age_of(object, now),
            or_unset(text(spec, "volumeMode")),
        ]
    }
}

/// Where the data is stays as it is. The original leaves `spec` out of two paths.
fn changes(spec: &At, was: &Value, errs: &mut Errors) {
    if !same_source(spec.v, was) {
        errs.push(Error::forbidden(
            &spec.path.child("persistentvolumesource"),
            "spec.persistentvolumesource is immutable after creation\n",
        ));
    }
    let root = Path::default();
    let mode = At {
        v: spec.get("volumeMode").v,
        path: root.child("volumeMode"),
    };
    immutable(&mode, &was["volumeMode"], errs);
    let affinity = &spec.get("nodeAffinity");
    if !was["nodeAffinity"].is_null() && !same_nodes(affinity.v, &was["nodeAffinity"]) {
        const LAYOUT: &str = "Required*{NodeSelectorTerms[MatchExpressions[Key'' Operator'' Values.] MatchFields[Key'' Operator'' Values.]]}";
        let shown = match affinity.v.is_null() {
            true => "null".to_owned(),
            false => go::dump(affinity.v, LAYOUT),
        };
        errs.push(
            Error::invalid(
                &root.child("nodeAffinity"),
                Value::Null,
                "field is immutable, except for updating from beta label to GA",
            )
            .showing(shown),
        );
    }
    let class = spec.get("volumeAttributesClassName");
    if class.v.is_null() && !was["volumeAttributesClassName"].is_null() {
        errs.push(class.forbidden("update from non-nil value to nil is forbidden"));
    }
}

/// The same source, but for a secret for growing that a CSI volume may be given later.
fn same_source(new: &Value, old: &Value) -> bool {
    const SECRET: &str = "controllerExpandSecretRef";
    spec::SOURCES.iter().all(|key| {
        let mut new = new[*key].clone();
        if *key == "csi" && old["csi"].is_object() && old["csi"][SECRET].is_null() {
            common::clear(&mut new, SECRET);
        }
        new == old[*key]
    })
}

/// The same selector of nodes, but for labels that have new names.
fn same_nodes(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(n), Value::Object(o)) => {
            n.len() == o.len()
                && n.iter().all(|(k, n)| {
                    let o = &old[k];
                    same_nodes(n, o)
                        || (k == "key" && new_label(o.as_str().unwrap_or_default()) == n.as_str())
                })
        }
        (Value::Array(n), Value::Array(o)) => {
            n.len() == o.len() && n.iter().zip(o).all(|(n, o)| same_nodes(n, o))
        }
        _ => new == old,
    }
}

fn new_label(old: &str) -> Option<&'static str> {
    match old {
        "failure-domain.beta.kubernetes.io/zone" => Some("topology.kubernetes.io/zone"),
        "failure-domain.beta.kubernetes.io/region" => Some("topology.kubernetes.io/region"),
        "beta.kubernetes.io/os" => Some("kubernetes.io/os"),
        "beta.kubernetes.io/arch" => Some("kubernetes.io/arch"),
        "beta.kubernetes.io/instance-type" => Some("node.kubernetes.io/instance-type"),
        _ => None,
    }
}

/// Warns about what no longer works, or soon will not.
fn outdated(object: &Value) -> Vec<String> {
    let (meta, spec) = (At::root(object, "metadata"), At::root(object, "spec"));
    let annotations = meta.get("annotations");
    let mut out = Vec::new();
    for (key, since, field) in [
        (OLD_CLASS, "v1.8", "storageClassName"),
        (
            "volume.beta.kubernetes.io/mount-options",
            "v1.31",
            "mountOptions",
        ),
    ] {
        if map(meta.v, "annotations").is_some_and(|m| m.contains_key(key)) {
            let path = annotations.path.key(key);
            out.push(format!(
                "{path}: deprecated since {since}; use \"{field}\" attribute instead"
            ));
        }
    }
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if policy.str() == "Recycle" {
        out.push(format!(
            "{}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            policy.path
        ));
    }
    let required = spec.get("nodeAffinity").get("required");
    for term in required.items("nodeSelectorTerms") {
        pod::warnings::node_term(&term, false, &mut out);
    }
    for (key, shown, words) in [
        ("cephfs", "cephfs", "v1.28, non-functional in v1.31+"),
        (
            "photonPersistentDisk",
            "photonPersistentDisk",
            "v1.11, non-functional in v1.16+",
        ),
        ("rbd", "rbd", "v1.28, non-functional in v1.31+"),
        ("scaleIO", "scaleIO", "v1.16, non-functional in v1.22+"),
        ("storageos", "storageOS", "v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "v1.25, non-functional in v1.26+"),
    ] {
        if spec.has(key) {
            out.push(format!("{}: deprecated in {words}", spec.path.child(shown)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays() {
        let nodes = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}});
        let csi = json!({"driver": "d", "volumeHandle": "h"});
        let mut grows = csi.clone();
        grows["controllerExpandSecretRef"] = json!({"name": "n", "namespace": "n"});
        for (old, new, fields) in [
            (json!({"csi": csi}), json!({"csi": grows}), vec![]),
            (
                json!({"csi": grows}),
                json!({"csi": csi}),
                vec!["spec.persistentvolumesource"],
            ),
            (
                json!({"nodeAffinity": nodes("beta.kubernetes.io/os")}),
                json!({"nodeAffinity": nodes("kubernetes.io/os")}),
                vec![],
            ),
            (
                json!({"nodeAffinity": nodes("a"), "volumeMode": "Block"}),
                json!({"nodeAffinity": nodes("b"), "volumeMode": "Filesystem"}),
                vec!["volumeMode", "nodeAffinity"],
            ),
        ] {
            let mut errs = Errors::new();
            changes(&At::new(&new, "spec"), &old, &mut errs);
            let all: Vec<&str> = errs.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(all, fields, "{old} to {new}");
        }
    }
}
