//! Volumes.

use std::collections::{HashMap, HashSet};

use knarr_json::Value;

use super::{
    iscsi, projected,
    sources::{self, Holder},
};
use crate::{
    field::{Error, Errors, Path},
    names,
    validation::{At, amount::Amount, claims, has, labels, list, text},
};

/// Sources in the order in which the original looks for them.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// The words for a second source.
pub const ONE_SOURCE: &str = "may not specify more than 1 volume type";

/// Whose volumes are checked.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// Name of the pod; empty where it is not known, as in a template.
    pub pod: &'a str,
    /// A template may leave out what only a pod needs.
    pub is_pod: bool,
}

/// Checks the volumes of a pod; answers those that are fine, which containers may mount.
pub fn volumes<'a>(all: &At<'a>, owner: Owner, errs: &mut Errors) -> HashMap<&'a str, &'a Value> {
    let claims: HashSet<String> = list(all.v)
        .iter()
        .filter(|v| has(v, "ephemeral") && !owner.pod.is_empty())
        .map(|v| format!("{}-{}", owner.pod, text(v, "name")))
        .collect();
    let mut good = HashMap::new();
    for v in all.each() {
        let before = errs.len();
        source(&v, owner, errs);
        let name = v.get("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
        } else {
            name.push(names::dns1123_label(name.str()), errs);
        }
        if good.contains_key(name.str()) {
            errs.push(name.duplicate());
        }
        if errs.len() == before {
            good.insert(text(v.v, "name"), v.v);
        }
        let claim = v.get("persistentVolumeClaim").get("claimName");
        if claims.contains(claim.str()) {
            errs.push(
                claim.invalid("must not reference a PVC that gets created for an ephemeral volume"),
            );
        }
    }
    good
}

fn source(v: &At, owner: Owner, errs: &mut Errors) {
    let mut found = 0;
    for key in SOURCES {
        let Some(s) = v.some(key) else { continue };
        if found > 0 {
            errs.push(Error::forbidden(&v.path.child(shown_as(key)), ONE_SOURCE));
        } else {
            found += 1;
            one_source(key, v, owner, errs);
        }
        if key == "iscsi" && iscsi::names_too_long(&s, v.text("name")) {
            errs.push(Error::invalid(
                &v.path.child("name"),
                v.text("name"),
                iscsi::TOO_LONG,
            ));
        }
    }
    if found == 0 {
        errs.push(v.required("must specify a volume type"));
    }
}

/// What the original calls a source that stands beside another.
pub fn shown_as(key: &str) -> &str {
    match key {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        other => other,
    }
}

/// What the original calls a source in errors about its fields.
pub fn path_of(v: &At, key: &str) -> Path {
    v.path.child(if key == "gcePersistentDisk" {
        "persistentDisk"
    } else {
        key
    })
}

fn one_source(key: &str, v: &At, owner: Owner, errs: &mut Errors) {
    let s = &At {
        v: v.get(key).v,
        path: path_of(v, key),
    };
    match key {
        "emptyDir" => {
            if Amount::of(&s.v["sizeLimit"]).nanos < 0 {
                errs.push(
                    s.get("sizeLimit")
                        .forbidden("SizeLimit field must be a valid resource quantity"),
                );
            }
        }
        "secret" => {
            require(s, &["secretName"], errs);
            modes_and_items(s, errs);
        }
        "configMap" => {
            require(s, &["name"], errs);
            modes_and_items(s, errs);
        }
        "downwardAPI" => {
            mode(s, "defaultMode", errs);
            for item in s.items("items") {
                projected::downward_file(&item, &s.path, errs);
            }
        }
        "projected" => projected::check(s, errs),
        "ephemeral" => ephemeral(s, v, owner.pod, errs),
        "image" => image(s, owner.is_pod, errs),
        _ => sources::check(key, s, Holder::Pod, errs),
    }
}

/// Fields that may not be empty.
pub fn require(s: &At, keys: &[&str], errs: &mut Errors) {
    for key in keys {
        if crate::validation::is_empty(s.get(key).v) {
            errs.push(s.get(key).required(""));
        }
    }
}

/// The mode of files.
pub fn mode(s: &At, key: &str, errs: &mut Errors) {
    if s.int(key).is_some_and(|m| !(0..=0o777).contains(&m)) {
        errs.push(
            s.get(key)
                .invalid("must be a number between 0 and 0777 (octal), both inclusive"),
        );
    }
}

fn modes_and_items(s: &At, errs: &mut Errors) {
    mode(s, "defaultMode", errs);
    for item in s.items("items") {
        key_to_path(&item, errs);
    }
}

/// A key of an object and the file that it becomes.
pub fn key_to_path(item: &At, errs: &mut Errors) {
    require(item, &["key"], errs);
    file_path(item, errs);
    mode(item, "mode", errs);
}

/// The field `path` of a file: required, and below the volume.
pub fn file_path(item: &At, errs: &mut Errors) {
    require(item, &["path"], errs);
    local_path(&item.get("path"), errs);
}

/// A path below a volume that is not one of its hidden ones.
pub fn local_path(path: &At, errs: &mut Errors) {
    let value = path.str();
    descending(value, &path.path, errs);
    if value.starts_with("..") && !value.starts_with("../") {
        errs.push(path.invalid("must not start with '..'"));
    }
}

/// A relative path without steps back.
pub fn descending(value: &str, path: &Path, errs: &mut Errors) {
    if value.starts_with('/') {
        errs.push(Error::invalid(path, value, "must be a relative path"));
    }
    no_backsteps(value, path, errs);
}

/// `must not contain '..'`.
pub fn no_backsteps(value: &str, path: &Path, errs: &mut Errors) {
    if value.split('/').any(|part| part == "..") {
        errs.push(Error::invalid(path, value, "must not contain '..'"));
    }
}

/// A volume whose claim is made with the pod, under a name made of both names.
fn ephemeral(s: &At, v: &At, pod: &str, errs: &mut Errors) {
    match s.some("volumeClaimTemplate") {
        None => errs.push(s.get("volumeClaimTemplate").required("")),
        Some(template) => {
            template_meta(&template.get("metadata"), errs);
            claims::spec(&template.get("spec"), errs);
        }
    }
    let name = v.text("name");
    if pod.is_empty() || name.is_empty() {
        return;
    }
    let claim = format!("{pod}-{name}");
    for m in names::dns1123_subdomain(&claim) {
        errs.push(Error::invalid(
            &v.path.child("name"),
            name,
            format!("PVC name {claim:?}: {m}"),
        ));
    }
}

/// Metadata of a claim to be made: labels and annotations, nothing else.
fn template_meta(meta: &At, errs: &mut Errors) {
    const OTHERS: [(&str, &str); 13] = [
        ("name", "name"),
        ("generateName", "generateName"),
        ("namespace", "namespace"),
        ("selfLink", "selfLink"),
        ("uid", "uID"),
        ("resourceVersion", "resourceVersion"),
        ("generation", "generation"),
        ("creationTimestamp", "creationTimestamp"),
        ("deletionTimestamp", "deletionTimestamp"),
        ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
        ("ownerReferences", "ownerReferences"),
        ("finalizers", "finalizers"),
        ("managedFields", "managedFields"),
    ];
    labels::annotations(&meta.get("annotations"), errs);
    labels::labels(&meta.get("labels"), errs);
    for (key, shown) in OTHERS {
        let field = meta.get_as(key, shown);
        if !crate::validation::is_empty(field.v) && *field.v != 0 {
            errs.push(field.forbidden("cannot be set"));
        }
    }
}

fn image(s: &At, is_pod: bool, errs: &mut Errors) {
    if is_pod {
        require(s, &["reference"], errs);
    }
    crate::validation::one_of(s, "pullPolicy", &["Always", "IfNotPresent", "Never"], errs);
}

/// Service account tokens among the sources of projected volumes.
pub fn token_sources<'a>(volumes: &At<'a>) -> impl Iterator<Item = At<'a>> + use<'a> {
    let path = volumes.path.clone();
    list(volumes.v).iter().enumerate().flat_map(move |(i, v)| {
        let sources = At {
            v: &v["projected"]["sources"],
            path: path.index(i).child("projected").child("sources"),
        };
        sources
            .each()
            .filter_map(|s| s.some("serviceAccountToken"))
            .collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn wrong(volumes: Value) -> Vec<String> {
        let owner = Owner {
            pod: "p",
            is_pod: true,
        };
        let mut errs = Errors::new();
        super::volumes(&At::new(&volumes, "v"), owner, &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn volumes_that_are_refused() {
        let spec =
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}});
        let cases: &[(Value, &[&str])] = &[
            (
                json!([{"name": "a", "emptyDir": {}, "cephfs": {}}]),
                &["v[0].cephFS: Forbidden: may not specify more than 1 volume type"],
            ),
            (
                json!([{"name": "a", "gcePersistentDisk": {}}]),
                &["v[0].persistentDisk.pdName: Required value"],
            ),
            (
                json!([{"name": "a", "configMap": {"name": "c", "items": [{"key": "", "path": "..x", "mode": 512}]}}]),
                &[
                    "v[0].configMap.items[0].key: Required value",
                    "v[0].configMap.items[0].path: Invalid value: \"..x\": must not start with '..'",
                    "v[0].configMap.items[0].mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                ],
            ),
            (
                json!([{"name": "a", "ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": spec}}},
                    {"name": "b", "persistentVolumeClaim": {"claimName": "p-a"}}]),
                &[
                    "v[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
                    "v[1].persistentVolumeClaim.claimName: Invalid value: \"p-a\": must not reference a PVC that gets created for an ephemeral volume",
                ],
            ),
            (
                json!([{"name": "a", "image": {"pullPolicy": "Always"}}]),
                &["v[0].image.reference: Required value"],
            ),
        ];
        for (volumes, want) in cases {
            assert_eq!(wrong(volumes.clone()), *want, "{volumes}");
        }
    }
}
