//! Where containers see volumes.

use std::collections::HashSet;

use super::{Pod, volume};
use crate::{
    field::{Error, Errors},
    validation::{At, has, list, text},
};

/// The list `volumeMounts` of a container.
pub fn mounts(c: &At, pod: &Pod, errs: &mut Errors) {
    let all = c.get("volumeMounts");
    let devices = list(&c.v["volumeDevices"]);
    let mut points = HashSet::new();
    for mount in all.each() {
        let (name, point) = (mount.get("name"), mount.get("mountPath"));
        if name.str().is_empty() {
            errs.push(name.required(""));
        }
        if pod.volume(name.str()).is_none() {
            errs.push(Error::not_found(&name.path, name.str()));
        }
        if point.str().is_empty() {
            errs.push(point.required(""));
        }
        if !points.insert(text(mount.v, "mountPath")) {
            errs.push(Error::invalid(&point.path, point.str(), "must be unique"));
        }
        if devices.iter().any(|d| text(d, "name") == name.str()) {
            errs.push(name.invalid("must not already exist in volumeDevices"));
        }
        if devices.iter().any(|d| text(d, "devicePath") == point.str()) {
            errs.push(point.invalid("must not already exist as a path in volumeDevices"));
        }
        // the original leaves the index out of the paths that follow
        sub_paths(&mount, &all, errs);
        propagation(&mount, c, &all, errs);
        recursive_read_only(&mount, &all, errs);
    }
}

fn sub_paths(mount: &At, all: &At, errs: &mut Errors) {
    let (sub, expression) = (mount.text("subPath"), mount.get("subPathExpr"));
    if !sub.is_empty() {
        volume::descending(sub, &all.path.child("subPath"), errs);
    }
    if !expression.str().is_empty() {
        if !sub.is_empty() {
            errs.push(expression.invalid("subPathExpr and subPath are mutually exclusive"));
        }
        volume::descending(expression.str(), &all.path.child("subPathExpr"), errs);
    }
}

fn propagation(mount: &At, c: &At, all: &At, errs: &mut Errors) {
    let Some(mode) = mount.some("mountPropagation") else {
        return;
    };
    let path = all.path.child("mountPropagation");
    const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    if !MODES.contains(&mode.str()) {
        errs.push(Error::not_supported(&path, mode.str(), &MODES));
    }
    if mode.str() == "Bidirectional" && c.v["securityContext"]["privileged"] != true {
        errs.push(Error::forbidden(
            &path,
            "Bidirectional mount propagation is available only to privileged containers",
        ));
    }
}

fn recursive_read_only(mount: &At, all: &At, errs: &mut Errors) {
    let Some(mode) = mount.some("recursiveReadOnly") else {
        return;
    };
    let path = all.path.child("recursiveReadOnly");
    match mode.str() {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                errs.push(Error::forbidden(
                    &path,
                    "may only be specified when readOnly is true",
                ));
            }
            if !["", "None"].contains(&mount.text("mountPropagation")) {
                errs.push(Error::forbidden(
                    &path,
                    "may only be specified when mountPropagation is None or not specified",
                ));
            }
        }
        other => errs.push(Error::not_supported(
            &path,
            other,
            &["Disabled", "IfPossible", "Enabled"],
        )),
    }
}

/// The list `volumeDevices` of a container.
pub fn devices(c: &At, pod: &Pod, errs: &mut Errors) {
    let mounts = list(&c.v["volumeMounts"]);
    let (mut seen_names, mut seen_paths): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for device in c.items("volumeDevices") {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        if name.str().is_empty() {
            errs.push(name.required(""));
        }
        if seen_names.contains(&name.str()) {
            errs.push(name.invalid("must be unique"));
        }
        match pod.volume(name.str()) {
            None => errs.push(Error::not_found(&name.path, name.str())),
            Some(v) if has(v, "persistentVolumeClaim") || has(v, "ephemeral") => {}
            Some(_) => {
                let words = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errs.push(name.invalid(words));
            }
        }
        if path.str().is_empty() {
            errs.push(path.required(""));
        }
        if seen_paths.contains(&path.str()) {
            errs.push(path.invalid("must be unique"));
        }
        if path.str().split('/').any(|p| p == "..") {
            errs.push(path.invalid("can not contain backsteps ('..')"));
        } else {
            seen_paths.push(path.str());
        }
        if mounts.iter().any(|m| text(m, "name") == name.str()) {
            errs.push(name.invalid("must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|m| text(m, "mountPath") == path.str()) {
            errs.push(path.invalid("must not already exist as a path in volumeMounts"));
        }
        seen_names.push(name.str());
    }
}
