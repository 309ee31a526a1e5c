//! Volumes.

use serde_json::Value;

use super::{env, sources};
use crate::{
    field::{Error, Errors, Path},
    names,
    validation::{At, amount::Amount, list, text},
};

/// Sources in the order in which the original looks for them.
const SOURCES: [&str; 29] = [
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
    "downwardAPI",
    "fc",
    "azureFile",
    "configMap",
    "quobyte",
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

/// Checks the volumes of a pod; answers those that are fine, which containers may mount.
pub fn volumes<'a>(all: &At<'a>, errs: &mut Errors) -> Vec<&'a Value> {
    let mut good: Vec<&'a Value> = Vec::new();
    for v in all.each() {
        let before = errs.len();
        source(&v, errs);
        let name = v.get("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
        } else {
            name.push(names::dns1123_label(name.str()), errs);
        }
        if good.iter().any(|g| text(g, "name") == name.str()) {
            errs.push(name.duplicate());
        }
        if errs.len() == before {
            good.push(v.v);
        }
    }
    good
}

fn source(v: &At, errs: &mut Errors) {
    let mut found = 0;
    for key in SOURCES {
        let Some(s) = v.some(key) else { continue };
        if found > 0 {
            errs.push(s.forbidden("may not specify more than 1 volume type"));
            continue;
        }
        found += 1;
        one_source(key, &s, errs);
    }
    if found == 0 {
        errs.push(v.required("must specify a volume type"));
    }
}

fn one_source(key: &str, s: &At, errs: &mut Errors) {
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
            downward_items(s, errs);
        }
        "projected" => projected(s, errs),
        "ephemeral" => ephemeral(s, errs),
        "image" => image(s, errs),
        _ => sources::check(key, s, errs),
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

fn mode(s: &At, key: &str, errs: &mut Errors) {
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
        if item.text("key").is_empty() {
            errs.push(item.get("key").required(""));
        }
        file_path(&item, errs);
        mode(&item, "mode", errs);
    }
}

fn file_path(item: &At, errs: &mut Errors) {
    let path = item.get("path");
    if path.str().is_empty() {
        errs.push(path.required(""));
    }
    local_path(&path, errs);
}

/// A path below a volume that is not one of its hidden ones.
pub fn local_path(path: &At, errs: &mut Errors) {
    let before = errs.len();
    descending(path.str(), &path.path, errs);
    if errs.len() == before && path.str().starts_with("..") {
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

fn downward_items(s: &At, errs: &mut Errors) {
    for item in s.items("items") {
        file_path(&item, errs);
        let (field, resource) = (item.some("fieldRef"), item.some("resourceFieldRef"));
        match (&field, &resource) {
            (Some(f), None) => env::field_ref(f, &env::VOLUME_FIELDS, errs),
            (None, Some(r)) => env::resource_ref(r, true, errs),
            (Some(_), Some(_)) => {
                let words = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errs.push(Error::invalid(&item.path, "resource", words));
            }
            (None, None) => {
                errs.push(item.required("one of fieldRef and resourceFieldRef is required"))
            }
        }
        mode(&item, "mode", errs);
    }
}

fn projected(s: &At, errs: &mut Errors) {
    mode(s, "defaultMode", errs);
    let mut paths: Vec<&str> = Vec::new();
    for source in s.items("sources") {
        let mut found = 0;
        for key in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let Some(part) = source.some(key) else {
                continue;
            };
            if found > 0 {
                errs.push(part.forbidden("may not specify more than 1 volume type"));
                continue;
            }
            found += 1;
            projected_part(key, &part, errs);
            conflicts(key, &part, &mut paths, errs);
        }
        if found == 0 {
            errs.push(source.required("must specify a volume type"));
        }
    }
}

fn projected_part(key: &str, part: &At, errs: &mut Errors) {
    match key {
        "secret" | "configMap" => {
            require(part, &["name"], errs);
            modes_and_items(part, errs);
        }
        "downwardAPI" => downward_items(part, errs),
        "serviceAccountToken" => {
            let seconds = part.get("expirationSeconds");
            if let Some(n) = seconds.v.as_i64() {
                if n < 600 {
                    errs.push(seconds.invalid("may not specify a duration less than 10 minutes"));
                } else if n > 1 << 32 {
                    errs.push(
                        seconds.invalid("may not specify a duration larger than 2^32 seconds"),
                    );
                }
            }
            if part.text("path").is_empty() {
                errs.push(part.get("path").required(""));
            } else {
                local_path(&part.get("path"), errs);
            }
        }
        _ => {}
    }
}

/// Two files of a projected volume cannot have the same path.
fn conflicts<'a>(key: &str, part: &At<'a>, paths: &mut Vec<&'a str>, errs: &mut Errors) {
    let own: Vec<At<'a>> = match key {
        "serviceAccountToken" | "clusterTrustBundle" => vec![part.get("path")],
        _ => part.items("items").map(|i| i.get("path")).collect(),
    };
    for path in own.iter().filter(|p| !p.str().is_empty()) {
        if paths.contains(&path.str()) {
            errs.push(Error::invalid(
                &part.path,
                part.text("name"),
                format!("conflicting duplicate paths: {}", path.str()),
            ));
        }
        paths.push(path.str());
    }
}

fn ephemeral(s: &At, errs: &mut Errors) {
    let Some(template) = s.some("volumeClaimTemplate") else {
        errs.push(s.get("volumeClaimTemplate").required(""));
        return;
    };
    crate::validation::claims::spec(&template.get("spec"), errs);
}

fn image(s: &At, errs: &mut Errors) {
    let policy = s.get("pullPolicy");
    match policy.str() {
        "Always" | "IfNotPresent" | "Never" => {}
        "" => errs.push(policy.required("")),
        _ => errs.push(policy.not_supported(&["Always", "IfNotPresent", "Never"])),
    }
    let reference = s.get("reference");
    if reference.str().is_empty() {
        errs.push(reference.required(""));
    } else if reference.str().trim() != reference.str() {
        errs.push(reference.invalid("must not have leading or trailing whitespace"));
    }
}

/// Whether a projected volume has a service account token.
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
