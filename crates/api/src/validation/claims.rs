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
    access_modes(spec, errs);
    if let Some(selector) = spec.some("selector") {
        labels::selector(&selector, errs);
    }
    storage_request(spec, errs);
    let class = spec.get("storageClassName");
    if !class.str().is_empty() {
        class.push(names::dns1123_subdomain(class.str()), errs);
    }
    volume_mode(spec, errs);
}

/// `Block` or `Filesystem`.
pub fn volume_mode(spec: &At, errs: &mut Errors) {
    let mode = spec.get("volumeMode");
    if !mode.v.is_null() && !["Block", "Filesystem"].contains(&mode.str()) {
        errs.push(mode.not_supported(&["Block", "Filesystem"]));
    }
}

/// The list `accessModes`.
pub fn access_modes(spec: &At, errs: &mut Errors) {
    let modes = spec.get("accessModes");
    if list(modes.v).is_empty() {
        errs.push(modes.required("at least 1 access mode is required"));
    }
    let mut alone = false;
    for mode in list(modes.v).iter().filter_map(|m| m.as_str()) {
        alone |= mode == "ReadWriteOncePod";
        if !ACCESS_MODES.contains(&mode) {
            errs.push(Error::not_supported(&modes.path, mode, &ACCESS_MODES));
        }
    }
    if alone && list(modes.v).len() > 1 {
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
