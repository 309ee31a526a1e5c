//! Specs of PersistentVolumeClaims, which also stand in pods and StatefulSets as templates.

use super::{At, amount::Amount, labels, list};
use crate::{
    field::{Error, Errors},
    names,
};

const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

/// Checks the spec of a claim.
pub fn spec(spec: &At, errs: &mut Errors) {
    let modes = spec.get("accessModes");
    if list(modes.v).is_empty() {
        errs.push(modes.required("at least 1 access mode is required"));
    }
    if let Some(selector) = spec.some("selector") {
        labels::selector(&selector, errs);
    }
    access_modes(spec, errs);
    storage_request(spec, errs);
    let class = spec.get("storageClassName");
    if !class.str().is_empty() {
        class.push(names::dns1123_subdomain(class.str()), errs);
    }
    volume_mode(spec, errs);
    data_source(&spec.get("dataSource"), errs);
    data_source(&spec.get("dataSourceRef"), errs);
    sources_agree(spec, errs);
    let class = spec.get("volumeAttributesClassName");
    if !class.str().is_empty() {
        class.push(names::dns1123_subdomain(class.str()), errs);
    }
}

/// What a volume is filled from.
fn data_source(source: &At, errs: &mut Errors) {
    if source.v.is_null() {
        return;
    }
    for key in ["name", "kind"] {
        if source.text(key).is_empty() {
            errs.push(source.get(key).required(""));
        }
    }
    let (group, kind) = (source.get("apiGroup"), source.text("kind"));
    if group.str().is_empty() && kind != "PersistentVolumeClaim" {
        errs.push(Error::invalid(
            &source.path,
            kind,
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ));
    }
    if !group.str().is_empty() {
        group.push(names::dns1123_subdomain(group.str()), errs);
    }
    let namespace = source.get("namespace");
    if !namespace.str().is_empty() {
        namespace.push(names::dns1123_label(namespace.str()), errs);
    }
}

/// The two fields for the source say the same, unless the newer one names a namespace, which the older one cannot.
fn sources_agree(spec: &At, errs: &mut Errors) {
    let (Some(old), Some(new)) = (spec.some("dataSource"), spec.some("dataSourceRef")) else {
        return;
    };
    // the original shows a path there, of which nothing is visible
    let mut refuse = |words: &str| errs.push(spec.invalid(words).showing("{}"));
    if !new.text("namespace").is_empty() {
        refuse("may not be specified when dataSourceRef.namespace is specified");
    } else if ["apiGroup", "kind", "name"]
        .iter()
        .any(|key| old.get(key).v != new.get(key).v)
    {
        refuse("must match dataSourceRef");
    }
}

/// `Block` or `Filesystem`.
pub fn volume_mode(spec: &At, errs: &mut Errors) {
    let mode = spec.get("volumeMode");
    if !mode.v.is_null() && !["Block", "Filesystem"].contains(&mode.str()) {
        errs.push(mode.not_supported(&["Block", "Filesystem"]));
    }
}

/// The values in the list `accessModes`.
pub fn access_modes(spec: &At, errs: &mut Errors) {
    let modes = spec.get("accessModes");
    let (mut alone, mut shared) = (false, false);
    for mode in list(modes.v).iter().filter_map(|m| m.as_str()) {
        if !ACCESS_MODES.contains(&mode) {
            errs.push(Error::not_supported(&modes.path, mode, &ACCESS_MODES));
        } else if mode == "ReadWriteOncePod" {
            alone = true;
        } else {
            shared = true;
        }
    }
    if alone && shared {
        errs.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}

fn storage_request(spec: &At, errs: &mut Errors) {
    let resources = spec.get("resources");
    let path = resources.path.key("storage");
    match resources.v["requests"].get("storage") {
        None => errs.push(Error::required(&path, "")),
        Some(amount) => {
            let amount = Amount::of(amount);
            if amount.nanos <= 0 {
                errs.push(Error::invalid(
                    &path,
                    amount.to_string(),
                    "must be greater than zero",
                ));
            }
        }
    }
}
