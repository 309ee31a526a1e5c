//! Volume sources that live outside the cluster's own objects; PersistentVolumes have them as well.

use super::volume::{no_backsteps, require};
use crate::{
    field::{Error, Errors},
    names,
    validation::At,
};

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Checks a source by its key in the volume.
pub fn check(key: &str, s: &At, errs: &mut Errors) {
    match key {
        "hostPath" => host_path(s, errs),
        "nfs" => {
            require(s, &["server", "path"], errs);
            let path = s.get("path");
            if !path.str().is_empty() && !path.str().starts_with('/') {
                errs.push(path.invalid("must be an absolute path"));
            }
        }
        "iscsi" => iscsi(s, errs),
        "fc" => fibre_channel(s, errs),
        "csi" => csi(s, errs),
        "flexVolume" => require(s, &["driver"], errs),
        _ => require(s, required(key), errs),
    }
}

fn required(key: &str) -> &'static [&'static str] {
    match key {
        "gitRepo" => &["repository"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" => &["volumeID"],
        "glusterfs" => &["endpoints", "path"],
        "persistentVolumeClaim" => &["claimName"],
        "rbd" => &["monitors", "image"],
        "cephfs" => &["monitors"],
        "azureFile" => &["secretName", "shareName"],
        "quobyte" => &["registry", "volume"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "portworxVolume" => &["volumeID"],
        "azureDisk" => &["diskName", "diskURI"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "local" => &["path"],
        _ => &[],
    }
}

fn host_path(s: &At, errs: &mut Errors) {
    let path = s.get("path");
    if path.str().is_empty() {
        errs.push(path.required(""));
        return;
    }
    no_backsteps(path.str(), &path.path, errs);
    let kind = s.get("type");
    if !HOST_PATH_TYPES.contains(&kind.str()) {
        errs.push(kind.not_supported(&HOST_PATH_TYPES));
    }
}

fn iscsi(s: &At, errs: &mut Errors) {
    require(s, &["targetPortal"], errs);
    let iqn = s.get("iqn");
    if iqn.str().is_empty() {
        errs.push(iqn.required(""));
    } else if !["iqn", "eui", "naa"]
        .iter()
        .any(|p| iqn.str().starts_with(p))
    {
        errs.push(iqn.invalid("must be valid format starting with iqn, eui, or naa"));
    }
    let lun = s.int("lun").unwrap_or(0);
    if !(0..=255).contains(&lun) {
        errs.push(Error::invalid(
            &s.path.child("lun"),
            lun,
            "must be between 0 and 255, inclusive",
        ));
    }
}

fn fibre_channel(s: &At, errs: &mut Errors) {
    let (names, ids) = (s.get("targetWWNs"), s.get("wwids"));
    if crate::validation::is_empty(names.v) && crate::validation::is_empty(ids.v) {
        errs.push(names.required("must specify either targetWWNs or wwids, but not both"));
    } else if !crate::validation::is_empty(names.v) && !crate::validation::is_empty(ids.v) {
        errs.push(names.invalid("targetWWNs and wwids can not be specified simultaneously"));
    }
    if !crate::validation::is_empty(names.v) && !s.has("lun") {
        errs.push(
            s.get("lun")
                .required("lun is required if targetWWNs is specified"),
        );
    }
}

fn csi(s: &At, errs: &mut Errors) {
    let driver = s.get("driver");
    if driver.str().is_empty() {
        errs.push(driver.required(""));
    } else if driver.str().len() > 63 {
        errs.push(Error::too_long(&driver.path, 63));
    } else {
        driver.push(names::dns1123_subdomain(&driver.str().to_lowercase()), errs);
    }
    if let Some(secret) = s.some("nodePublishSecretRef") {
        require(&secret, &["name"], errs);
    }
}
