//! What a volume that outlives pods is: that of a PersistentVolume, or one that an attachment brings with it.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    strategy::{
        defaults::{at, set},
        pod,
    },
    validation::{At, amount::Amount, claims, is_empty, list},
};

/// What the source of a volume leaves out.
pub fn source_defaults(spec: &mut Value) {
    if let Some(host) = at(spec, "hostPath") {
        set(host, "type", "");
    }
    pod::defaults::storage(spec);
}

/// Sources in the order in which the original looks for them.
pub const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// The volume that an attachment brings with it, which is a driver's and belongs to nobody.
pub fn inline(spec: &At, errs: &mut Errors) {
    const NOT: &str = "may not be specified in the context of inline volumes";
    let refuse = |key: &str, errs: &mut Errors| {
        if !is_empty(spec.get(key).v) {
            errs.push(spec.get(key).forbidden(NOT));
        }
    };
    if spec.has("claimRef") {
        errs.push(spec.get("claimRef").forbidden(NOT));
    }
    refuse("capacity", errs);
    if !spec.has("csi") {
        let words = "has to be specified in the context of inline volumes";
        errs.push(spec.get("csi").required(words));
    }
    access(spec, errs);
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if !["", "Retain"].contains(&policy.str()) {
        errs.push(policy.forbidden("may only be Retain in the context of inline volumes"));
    }
    if spec.has("nodeAffinity") {
        errs.push(spec.get("nodeAffinity").forbidden(NOT));
    }
    sources(spec, "", errs);
    root_is_not_recycled(spec, errs);
    refuse("storageClassName", errs);
    if spec
        .some("volumeMode")
        .is_some_and(|m| m.str() != "Filesystem")
    {
        let words =
            "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errs.push(spec.get("volumeMode").forbidden(words));
    }
    attributes(spec, errs);
}

fn access(spec: &At, errs: &mut Errors) {
    let access = spec.get("accessModes");
    if list(access.v).is_empty() {
        errs.push(access.required(""));
    }
    claims::access_modes(spec, errs);
}

fn root_is_not_recycled(spec: &At, errs: &mut Errors) {
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if is_root(spec.get("hostPath").text("path")) && policy.str() == "Recycle" {
        errs.push(policy.forbidden("may not be 'recycle' for a hostPath mount of '/'"));
    }
}

/// The volume of a PersistentVolume called `name`.
pub fn check(spec: &At, name: &str, errs: &mut Errors) {
    access(spec, errs);
    capacity(&spec.get("capacity"), errs);
    const POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if !policy.str().is_empty() && !POLICIES.contains(&policy.str()) {
        errs.push(policy.not_supported(&POLICIES));
    }
    if let Some(affinity) = spec.some("nodeAffinity") {
        match affinity.some("required") {
            Some(required) => pod::validate::node_selector(&required, errs),
            None => errs.push(
                affinity
                    .get("required")
                    .required("must specify required node constraints"),
            ),
        }
    }
    sources(spec, name, errs);
    root_is_not_recycled(spec, errs);
    let class = spec.get("storageClassName");
    if !class.str().is_empty() {
        class.push(names::dns1123_subdomain(class.str()), errs);
    }
    claims::volume_mode(spec, errs);
    attributes(spec, errs);
}

/// A path that comes down to `/`.
fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| part.is_empty() || part == ".")
}

/// How much there is: of storage, and of nothing else.
fn capacity(capacity: &At, errs: &mut Errors) {
    if is_empty(capacity.v) {
        errs.push(capacity.required(""));
    }
    let count = capacity.v.as_object().map_or(0, |m| m.len());
    if count != 1 || capacity.v.get("storage").is_none() {
        errs.push(capacity.not_supported(&["storage"]));
    }
    for (_, at) in capacity.entries() {
        let amount = Amount::of(at.v);
        if amount.rounded_up() < 0 {
            let n = i64::try_from(amount.rounded_up()).unwrap_or(i64::MIN);
            errs.push(Error::invalid(
                &at.path,
                n,
                "must be a valid resource quantity",
            ));
        }
        if amount.nanos <= 0 {
            errs.push(Error::invalid(
                &at.path,
                amount.to_string(),
                "must be greater than zero",
            ));
        }
    }
}

fn sources(spec: &At, name: &str, errs: &mut Errors) {
    let mut found = 0;
    for key in SOURCES {
        if !spec.has(key) {
            continue;
        }
        // the original does not count what comes before this one
        if found > 0 && key != "flexVolume" {
            let path = spec.path.child(pod::validate::shown_as(key));
            errs.push(Error::forbidden(&path, pod::validate::ONE_SOURCE));
            continue;
        }
        found += 1;
        let source = At {
            v: spec.get(key).v,
            path: pod::validate::path_of(spec, key),
        };
        pod::validate::volume_source(key, &source, pod::validate::Holder::Volume(name), errs);
        if key == "local" && !spec.has("nodeAffinity") {
            errs.push(
                spec.get("nodeAffinity")
                    .required("Local volume requires node affinity"),
            );
        }
    }
    if found == 0 {
        errs.push(spec.required("must specify a volume type"));
    }
}

/// The class of a volume's attributes, which only CSI drivers have.
fn attributes(spec: &At, errs: &mut Errors) {
    let Some(class) = spec.some("volumeAttributesClassName") else {
        return;
    };
    if class.str().is_empty() {
        errs.push(class.required("an empty string is disallowed"));
    } else {
        class.push(names::dns1123_subdomain(class.str()), errs);
    }
    if !spec.has("csi") {
        errs.push(
            spec.get("csi")
                .required("has to be specified when using volumeAttributesClassName"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn wrong(spec: Value) -> Vec<String> {
        let mut errs = Errors::new();
        check(&At::new(&spec, "spec"), "pv", &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    fn with(more: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    }

    #[test]
    fn volumes_that_are_refused() {
        let cases: &[(Value, &[&str])] = &[
            (
                json!({"hostPath": {"path": "/x"}}),
                &[
                    "spec.accessModes: Required value",
                    "spec.capacity: Required value",
                    "spec.capacity: Unsupported value: null: supported values: \"storage\"",
                ],
            ),
            (
                with(json!({"capacity": {}, "hostPath": {"path": "/x"}})),
                &[
                    "spec.capacity: Required value",
                    "spec.capacity: Unsupported value: {}: supported values: \"storage\"",
                ],
            ),
            (
                with(json!({"capacity": {"storage": "-1"}, "nfs": {"server": "s", "path": "/"}})),
                &[
                    "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                    "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
                ],
            ),
            (
                with(json!({"local": {"path": "/x"}, "gcePersistentDisk": {}})),
                &[
                    "spec.persistentDisk.pdName: Required value",
                    "spec.local: Forbidden: may not specify more than 1 volume type",
                ],
            ),
            (
                with(json!({"local": {"path": "/x"}})),
                &["spec.nodeAffinity: Required value: Local volume requires node affinity"],
            ),
            (
                with(
                    json!({"hostPath": {"path": "//./"}, "persistentVolumeReclaimPolicy": "Recycle"}),
                ),
                &[
                    "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
                ],
            ),
            (
                with(json!({"hostPath": {"path": "/x"}, "volumeAttributesClassName": ""})),
                &[
                    "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
                    "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
                ],
            ),
        ];
        for (spec, want) in cases {
            assert_eq!(wrong(spec.clone()), *want, "{spec}");
        }
    }

    #[test]
    fn volumes_of_attachments_that_are_refused() {
        let csi = json!({"driver": "d.example", "volumeHandle": "h"});
        let cases: &[(Value, &[&str])] = &[
            (json!({"accessModes": ["ReadWriteOnce"], "csi": csi}), &[]),
            (
                json!({"accessModes": ["ReadWriteOnce"], "csi": csi, "persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"}),
                &[],
            ),
            (
                json!({"hostPath": {"path": "/x"}}),
                &[
                    "i.csi: Required value: has to be specified in the context of inline volumes",
                    "i.accessModes: Required value",
                ],
            ),
            (
                json!({"accessModes": ["ReadWriteOnce"], "csi": csi, "claimRef": {}, "capacity": {"storage": "1"}, "nodeAffinity": {}, "storageClassName": "s",
                    "persistentVolumeReclaimPolicy": "Delete", "volumeMode": "Block"}),
                &[
                    "i.claimRef: Forbidden: may not be specified in the context of inline volumes",
                    "i.capacity: Forbidden: may not be specified in the context of inline volumes",
                    "i.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
                    "i.nodeAffinity: Forbidden: may not be specified in the context of inline volumes",
                    "i.storageClassName: Forbidden: may not be specified in the context of inline volumes",
                    "i.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
                ],
            ),
        ];
        for (spec, want) in cases {
            let mut errs = Errors::new();
            inline(&At::new(spec, "i"), &mut errs);
            let found: Vec<String> = errs.iter().map(ToString::to_string).collect();
            assert_eq!(found, *want, "{spec}");
        }
    }
}
