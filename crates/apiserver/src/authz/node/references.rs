//! What pods and volumes refer to. Pure.

use knarr_json::Value;

/// Kinds of objects that nodes have to do with through pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Pod,
    Secret,
    ConfigMap,
    Claim,
    Volume,
    ResourceClaim,
    Account,
    Attachment,
    Slice,
    CertificateRequest,
}

impl Kind {
    /// Where such an object is stored; only for those that name their node themselves.
    pub fn key(self, namespace: &str, name: &str) -> String {
        match self {
            Kind::Attachment => format!("/registry/volumeattachments/{name}"),
            Kind::Slice => format!("/registry/resourceslices/{name}"),
            _ => format!("/registry/podcertificaterequests/{namespace}/{name}"),
        }
    }
}

/// Whether a pod refers to an object of its namespace. Mirror pods refer to nothing: nodes make them themselves.
pub fn refers(pod: &Value, kind: Kind, name: &str) -> bool {
    let annotations = &pod["metadata"]["annotations"];
    if !annotations["kubernetes.io/config.mirror"].is_null() {
        return false;
    }
    let spec = &pod["spec"];
    match kind {
        Kind::Account => spec["serviceAccountName"] == name,
        Kind::Secret => {
            list(&spec["imagePullSecrets"]).any(|s| s["name"] == name)
                || containers(spec).any(|c| in_container(c, "secret", name))
                || list(&spec["volumes"]).any(|v| secret_in_volume(v, name))
        }
        Kind::ConfigMap => {
            containers(spec).any(|c| in_container(c, "configMap", name))
                || list(&spec["volumes"]).any(|v| {
                    v["configMap"]["name"] == name
                        || list(&v["projected"]["sources"]).any(|s| s["configMap"]["name"] == name)
                })
        }
        Kind::Claim => {
            let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
            list(&spec["volumes"]).any(|v| {
                let own = || format!("{pod_name}-{}", v["name"].as_str().unwrap_or_default());
                v["persistentVolumeClaim"]["claimName"] == name
                    || (v["ephemeral"].is_object() && own() == name)
            })
        }
        Kind::ResourceClaim => {
            let status = &pod["status"];
            list(&spec["resourceClaims"]).any(|c| c["resourceClaimName"] == name)
                || list(&status["resourceClaimStatuses"]).any(|c| c["resourceClaimName"] == name)
                || status["extendedResourceClaimStatus"]["resourceClaimName"] == name
        }
        _ => false,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|key| list(&spec[key]))
}

/// `what` is `secret` or `configMap`, as `envFrom[].secretRef` and `env[].valueFrom.secretKeyRef` begin.
fn in_container(container: &Value, what: &str, name: &str) -> bool {
    let (whole, key) = (format!("{what}Ref"), format!("{what}KeyRef"));
    list(&container["envFrom"]).any(|e| e[&whole]["name"] == name)
        || list(&container["env"]).any(|e| e["valueFrom"][&key]["name"] == name)
}

fn secret_in_volume(volume: &Value, name: &str) -> bool {
    let by_reference = [
        "cephfs",
        "flexVolume",
        "iscsi",
        "rbd",
        "scaleIO",
        "storageos",
    ];
    volume["secret"]["secretName"] == name
        || volume["azureFile"]["secretName"] == name
        || volume["csi"]["nodePublishSecretRef"]["name"] == name
        || by_reference
            .iter()
            .any(|kind| volume[*kind]["secretRef"]["name"] == name)
        || list(&volume["projected"]["sources"]).any(|s| s["secret"]["name"] == name)
}

/// Namespace and name of the claim that a PersistentVolume is bound to.
pub fn claim(volume: &Value) -> Option<(&str, &str)> {
    let claim = &volume["spec"]["claimRef"];
    Some((claim["namespace"].as_str()?, claim["name"].as_str()?))
}

/// Namespace and name of the Secrets that a node needs for mounting a PersistentVolume.
pub fn volume_secrets(volume: &Value) -> Vec<(String, String)> {
    let spec = &volume["spec"];
    let own = claim(volume).map_or("", |(namespace, _)| namespace);
    let mut out = Vec::new();
    let mut add = |namespace: &Value, name: &Value| {
        if let Some(name) = name.as_str().filter(|n| !n.is_empty()) {
            let namespace = namespace.as_str().filter(|n| !n.is_empty()).unwrap_or(own);
            out.push((namespace.to_owned(), name.to_owned()));
        }
    };
    add(
        &spec["azureFile"]["secretNamespace"],
        &spec["azureFile"]["secretName"],
    );
    for kind in [
        "cephfs",
        "flexVolume",
        "rbd",
        "scaleIO",
        "iscsi",
        "storageos",
    ] {
        let reference = &spec[kind]["secretRef"];
        add(&reference["namespace"], &reference["name"]);
    }
    for key in [
        "nodePublishSecretRef",
        "nodeStageSecretRef",
        "nodeExpandSecretRef",
    ] {
        let reference = &spec["csi"][key];
        add(&reference["namespace"], &reference["name"]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn pods_refer_to_what_they_use() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "serviceAccountName": "sa",
                "initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "cm1"}}}]}],
                "containers": [{"envFrom": [{"secretRef": {"name": "s1"}}, {"configMapRef": {"name": "cm2"}}],
                    "env": [{"valueFrom": {"secretKeyRef": {"name": "s2"}}}]}],
                "volumes": [
                    {"name": "a", "secret": {"secretName": "s3"}}, {"name": "b", "ephemeral": {}},
                    {"name": "c", "projected": {"sources": [{"secret": {"name": "s4"}}, {"configMap": {"name": "cm3"}}]}},
                    {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}}
                ],
                "resourceClaims": [{"name": "r", "resourceClaimName": "rc1"}]
            },
            "status": {"resourceClaimStatuses": [{"name": "x", "resourceClaimName": "rc2"}]}
        });
        let table = [
            (Kind::Secret, "s1 s2 s3 s4", "cm1 sa"),
            (Kind::ConfigMap, "cm1 cm2 cm3", "s1"),
            (Kind::Claim, "claim p-b", "p-a b"),
            (Kind::ResourceClaim, "rc1 rc2", "r"),
            (Kind::Account, "sa", "default"),
        ];
        for (kind, yes, no) in table {
            for name in yes.split(' ') {
                assert!(refers(&pod, kind, name), "{kind:?} {name}");
            }
            for name in no.split(' ') {
                assert!(!refers(&pod, kind, name), "{kind:?} {name}");
            }
        }
        let mut mirror = pod;
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        assert!(!refers(&mirror, Kind::Secret, "s1"));
    }
}
