//! Volume sources that live outside the cluster's own objects; PersistentVolumes have them as well.

use super::volume::{descending, no_backsteps, require};
use crate::{
    field::{Error, Errors},
    names,
    validation::{At, is_empty},
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

/// Whose source it is: some are laid out or checked otherwise in a PersistentVolume.
#[derive(Clone, Copy)]
pub enum Holder<'a> {
    Pod,
    /// A PersistentVolume by its name.
    Volume(&'a str),
}

impl Holder<'_> {
    fn is_volume(self) -> bool {
        matches!(self, Holder::Volume(_))
    }
}

/// Checks a source by its key in the volume.
pub fn check(key: &str, s: &At, holder: Holder, errs: &mut Errors) {
    match key {
        "hostPath" => host_path(s, errs),
        "gitRepo" => {
            require(s, &["repository"], errs);
            let directory = s.get("directory");
            descending(directory.str(), &directory.path, errs);
        }
        "gcePersistentDisk" => disk(s, "pdName", errs),
        "awsElasticBlockStore" => disk(s, "volumeID", errs),
        "nfs" => nfs(s, errs),
        "iscsi" => super::iscsi::check(s, holder, errs),
        "glusterfs" => glusterfs(s, holder, errs),
        "flocker" => flocker(s, errs),
        "rbd" => require(s, &["monitors", "image"], errs),
        "cinder" => {
            require(s, &["volumeID"], errs);
            secret(s, holder, errs);
        }
        "quobyte" => quobyte(s, errs),
        "fc" => fibre_channel(s, errs),
        "flexVolume" => flex(s, errs),
        "azureFile" => azure_file(s, holder, errs),
        "azureDisk" => azure_disk(s, errs),
        "storageos" => {
            storage_os(s, errs);
            secret(s, holder, errs);
        }
        "local" => local(s, errs),
        "csi" => csi(s, holder, errs),
        _ => require(s, required(key), errs),
    }
}

fn required(key: &str) -> &'static [&'static str] {
    match key {
        "persistentVolumeClaim" => &["claimName"],
        "cephfs" => &["monitors"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "portworxVolume" => &["volumeID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
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

fn local(s: &At, errs: &mut Errors) {
    let path = s.get("path");
    if path.str().is_empty() {
        errs.push(path.required(""));
    } else {
        no_backsteps(path.str(), &path.path, errs);
    }
}

fn disk(s: &At, name: &str, errs: &mut Errors) {
    require(s, &[name], errs);
    byte_range(s, "partition", errs);
}

/// A small number: `must be between 0 and 255, inclusive`, or from one on for partitions, whose words promise less than
/// is accepted.
pub(super) fn byte_range(s: &At, key: &str, errs: &mut Errors) {
    let n = s.int(key).unwrap_or(0);
    if !(0..=255).contains(&n) {
        let least = if key == "partition" { 1 } else { 0 };
        let words = format!("must be between {least} and 255, inclusive");
        errs.push(Error::invalid(&s.path.child(key), n, words));
    }
}

fn nfs(s: &At, errs: &mut Errors) {
    require(s, &["server", "path"], errs);
    let path = s.text("path");
    if !path.starts_with('/') {
        errs.push(Error::invalid(
            &s.path.child("path"),
            path,
            "must be an absolute path",
        ));
    }
}

fn glusterfs(s: &At, holder: Holder, errs: &mut Errors) {
    require(s, &["endpoints", "path"], errs);
    let Some(namespace) = s.some("endpointsNamespace").filter(|_| holder.is_volume()) else {
        return;
    };
    if namespace.str().is_empty() {
        errs.push(
            namespace.invalid("if the endpointnamespace is set, it must be a valid namespace name"),
        );
    } else {
        namespace.push(names::dns1123_label(namespace.str()), errs);
    }
}

fn flocker(s: &At, errs: &mut Errors) {
    let (name, uuid) = (s.get("datasetName"), s.text("datasetUUID"));
    if name.str().is_empty() && uuid.is_empty() {
        errs.push(s.required("one of datasetName and datasetUUID is required"));
    }
    if !name.str().is_empty() && !uuid.is_empty() {
        let words = "datasetName and datasetUUID can not be specified simultaneously";
        errs.push(Error::invalid(&s.path, "resource", words));
    }
    if name.str().contains('/') {
        errs.push(name.invalid("must not contain '/'"));
    }
}

fn quobyte(s: &At, errs: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = s.get("registry");
    if registry.str().is_empty() {
        errs.push(registry.required(PAIRS));
    } else if s.text("tenant").len() >= 65 {
        errs.push(
            s.get("tenant")
                .required("must be a UUID and may not exceed a length of 64 characters"),
        );
    } else {
        for pair in registry.str().split(',') {
            if !is_host_and_port(pair) {
                errs.push(registry.invalid(PAIRS));
            }
        }
    }
    require(s, &["volume"], errs);
}

/// `host:port` or `[host]:port`, either part of which may be empty.
fn is_host_and_port(pair: &str) -> bool {
    match pair.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").is_some_and(|(host, port)| {
            !host.contains(['[', ']']) && !port.contains([':', '[', ']'])
        }),
        None => pair.matches(':').count() == 1 && !pair.contains(['[', ']']),
    }
}

/// The reference to a secret, which in a PersistentVolume must say the namespace too.
fn secret(s: &At, holder: Holder, errs: &mut Errors) {
    if let Some(secret) = s.some("secretRef") {
        let keys: &[&str] = if holder.is_volume() {
            &["name", "namespace"]
        } else {
            &["name"]
        };
        require(&secret, keys, errs);
    }
}

fn fibre_channel(s: &At, errs: &mut Errors) {
    let (wwns, ids) = (s.get("targetWWNs"), s.get("wwids"));
    if is_empty(wwns.v) && is_empty(ids.v) {
        errs.push(wwns.required("must specify either targetWWNs or wwids, but not both"));
    } else if !is_empty(wwns.v) && !is_empty(ids.v) {
        errs.push(wwns.invalid("targetWWNs and wwids can not be specified simultaneously"));
    }
    if is_empty(wwns.v) {
        return;
    }
    if s.has("lun") {
        byte_range(s, "lun", errs);
    } else {
        errs.push(
            s.get("lun")
                .required("lun is required if targetWWNs is specified"),
        );
    }
}

fn flex(s: &At, errs: &mut Errors) {
    require(s, &["driver"], errs);
    for (key, option) in s.get("options").entries() {
        let domain = key.split_once('/').map_or(key, |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let words = "kubernetes.io and k8s.io namespaces are reserved";
            errs.push(Error::invalid(&option.path, key, words));
        }
    }
}

fn azure_file(s: &At, holder: Holder, errs: &mut Errors) {
    require(s, &["secretName", "shareName"], errs);
    if holder.is_volume() && s.has("secretNamespace") {
        require(s, &["secretNamespace"], errs);
    }
}

fn azure_disk(s: &At, errs: &mut Errors) {
    const MANAGED: &str = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str =
        "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    require(s, &["diskName", "diskURI"], errs);
    for (key, supported) in [
        ("cachingMode", ["None", "ReadOnly", "ReadWrite"]),
        ("kind", ["Dedicated", "Managed", "Shared"]),
    ] {
        if let Some(value) = s.some(key).filter(|v| !supported.contains(&v.str())) {
            errs.push(value.not_supported(&supported));
        }
    }
    let uri = s.text("diskURI");
    let (start, shape) = match s.text("kind") {
        "" => return,
        "Managed" => ("/subscriptions/", MANAGED),
        _ => ("https://", BLOB),
    };
    if !uri.starts_with(start) {
        errs.push(Error::not_supported(
            &s.path.child("diskURI"),
            uri,
            &[shape],
        ));
    }
}

fn storage_os(s: &At, errs: &mut Errors) {
    let (name, namespace) = (s.get("volumeName"), s.get("volumeNamespace"));
    if name.str().is_empty() {
        errs.push(name.required(""));
    } else {
        name.push(names::dns1123_label(name.str()), errs);
    }
    if !namespace.str().is_empty() {
        namespace.push(names::dns1123_label(namespace.str()), errs);
    }
}

/// The name of a CSI driver.
pub fn driver_name(driver: &At, errs: &mut Errors) {
    if driver.str().is_empty() {
        errs.push(driver.required(""));
        return;
    }
    if driver.str().len() > 63 {
        errs.push(Error::too_long(&driver.path, 63));
    }
    driver.push(names::dns1123_subdomain(&driver.str().to_lowercase()), errs);
}

fn csi(s: &At, holder: Holder, errs: &mut Errors) {
    driver_name(&s.get("driver"), errs);
    if holder.is_volume() {
        require(s, &["volumeHandle"], errs);
        for key in [
            "controllerPublishSecretRef",
            "controllerExpandSecretRef",
            "nodePublishSecretRef",
            "nodeExpandSecretRef",
        ] {
            if let Some(secret) = s.some(key) {
                secret_reference(&secret, errs);
            }
        }
    } else if let Some(secret) = s.some("nodePublishSecretRef") {
        let name = secret.get("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
        } else {
            // the original leaves the reference out of this path
            for m in names::dns1123_subdomain(name.str()) {
                errs.push(Error::invalid(&s.path.child("name"), name.str(), m));
            }
        }
    }
}

fn secret_reference(secret: &At, errs: &mut Errors) {
    for key in ["name", "namespace"] {
        let part = secret.get(key);
        if part.str().is_empty() {
            errs.push(part.required(""));
        } else {
            let wrong = match key {
                "name" => names::dns1123_subdomain(part.str()),
                _ => names::dns1123_label(part.str()),
            };
            part.push(wrong, errs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::{Value, json};

    fn wrong(key: &str, source: Value, holder: Holder) -> Vec<String> {
        let mut errs = Errors::new();
        check(key, &At::new(&source, "s"), holder, &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sources_of_pods_that_are_refused() {
        let cases: &[(&str, Value, &[&str])] = &[
            (
                "nfs",
                json!({}),
                &[
                    "s.server: Required value",
                    "s.path: Required value",
                    "s.path: Invalid value: \"\": must be an absolute path",
                ],
            ),
            (
                "gcePersistentDisk",
                json!({"pdName": "d", "partition": 256}),
                &["s.partition: Invalid value: 256: must be between 1 and 255, inclusive"],
            ),
            (
                "gitRepo",
                json!({"directory": "../x"}),
                &[
                    "s.repository: Required value",
                    "s.directory: Invalid value: \"../x\": must not contain '..'",
                ],
            ),
            (
                "flocker",
                json!({"datasetName": "a/b", "datasetUUID": "u"}),
                &[
                    "s: Invalid value: \"resource\": datasetName and datasetUUID can not be specified simultaneously",
                    "s.datasetName: Invalid value: \"a/b\": must not contain '/'",
                ],
            ),
            (
                "quobyte",
                json!({"registry": "a:1,b", "volume": "v"}),
                &[
                    "s.registry: Invalid value: \"a:1,b\": must be a host:port pair or multiple pairs separated by commas",
                ],
            ),
            (
                "azureDisk",
                json!({"diskName": "d", "diskURI": "u", "cachingMode": "Odd", "kind": "Managed"}),
                &[
                    "s.cachingMode: Unsupported value: \"Odd\": supported values: \"None\", \"ReadOnly\", \"ReadWrite\"",
                    "s.diskURI: Unsupported value: \"u\": supported values: \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
                ],
            ),
            (
                "flexVolume",
                json!({"driver": "d", "options": {"x.k8s.io/y": "1"}}),
                &[
                    "s.options[x.k8s.io/y]: Invalid value: \"x.k8s.io/y\": kubernetes.io and k8s.io namespaces are reserved",
                ],
            ),
            (
                "fc",
                json!({"targetWWNs": ["a"], "lun": 300}),
                &["s.lun: Invalid value: 300: must be between 0 and 255, inclusive"],
            ),
            (
                "cinder",
                json!({"volumeID": "v", "secretRef": {}}),
                &["s.secretRef.name: Required value"],
            ),
        ];
        for (key, source, want) in cases {
            assert_eq!(wrong(key, source.clone(), Holder::Pod), *want, "{key}");
        }
    }

    #[test]
    fn a_volume_says_where_its_secrets_are() {
        let holder = Holder::Volume("pv");
        assert_eq!(
            wrong(
                "cinder",
                json!({"volumeID": "v", "secretRef": {"name": "s"}}),
                holder
            ),
            ["s.secretRef.namespace: Required value"]
        );
        assert_eq!(
            wrong(
                "csi",
                json!({"driver": "d.io", "nodeExpandSecretRef": {"name": "a"}}),
                holder
            ),
            [
                "s.volumeHandle: Required value",
                "s.nodeExpandSecretRef.namespace: Required value"
            ]
        );
        assert_eq!(
            wrong(
                "azureFile",
                json!({"secretName": "s", "shareName": "h", "secretNamespace": ""}),
                holder
            ),
            ["s.secretNamespace: Required value"]
        );
        assert!(is_host_and_port("[::1]:80") && !is_host_and_port("::1:80"));
    }
}
