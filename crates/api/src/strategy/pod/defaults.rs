//! Defaults of pods and of the pod templates inside workloads.

use knarr_json::{Value, json};

use super::image;
use crate::strategy::{
    common::clear,
    defaults::{at, each, ensure, set, set_text, set_zero},
};

/// Lists of containers in a pod spec.
const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Defaults of a Pod: those of its spec, and some that a template does not get.
pub fn pod(pod: &mut Value) {
    let spec = ensure(pod, "spec");
    requests_from_limits(spec);
    super::resources::default_pod_level(spec);
    set(spec, "enableServiceLinks", true);
    pod_spec(spec);
    if spec["hostNetwork"] == true {
        for list in ["containers", "initContainers"] {
            for container in each(spec, list) {
                for port in each(container, "ports") {
                    let number = port["containerPort"].as_i64().unwrap_or(0);
                    set_zero(port, "hostPort", number);
                }
            }
        }
    }
}

/// `podIP` and the first of `podIPs` are the same; the old field wins where they differ.
pub fn pod_ips(pod: &mut Value) {
    let Some(status) = at(pod, "status") else {
        return;
    };
    let one = status["podIP"].as_str().unwrap_or_default().to_owned();
    let first = status["podIPs"][0]["ip"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if !one.is_empty() && one != first {
        status["podIPs"] = json!([{ "ip": one }]);
    } else if one.is_empty() && !first.is_empty() {
        status["podIP"] = first.into();
    }
    if status["podIPs"].is_null() {
        crate::strategy::common::clear(status, "podIPs");
    }
}

/// A container that has a limit and no request for a resource requests the limit.
fn requests_from_limits(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            let Some(resources) = at(container, "resources") else {
                continue;
            };
            let limits = resources["limits"].as_object().cloned().unwrap_or_default();
            if limits.is_empty() {
                continue;
            }
            let requests = ensure(resources, "requests");
            for (name, quantity) in limits {
                set(requests, &name, quantity);
            }
        }
    }
}

/// Defaults of a pod template, found in `template` of a workload's spec.
pub fn template(spec: &mut Value) {
    if let Some(template) = at(spec, "template") {
        pod_spec(ensure(template, "spec"));
    }
}

/// Defaults of any pod spec.
pub fn pod_spec(spec: &mut Value) {
    drop_disabled(spec);
    set_text(spec, "dnsPolicy", "ClusterFirst");
    set_text(spec, "restartPolicy", "Always");
    set_text(spec, "schedulerName", "default-scheduler");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "securityContext", json!({}));
    service_account(spec);
    for list in CONTAINER_LISTS {
        for c in each(spec, list) {
            container(c);
        }
    }
    for v in each(spec, "volumes") {
        volume(v);
    }
}

/// Fields of features that are off, as they are unless somebody asks for them.
fn drop_disabled(spec: &mut Value) {
    clear(spec, "schedulingGroup");
    for volume in each(spec, "volumes") {
        let Some(projected) = at(volume, "projected") else {
            continue;
        };
        for source in each(projected, "sources") {
            clear(source, "clusterTrustBundle");
            clear(source, "podCertificate");
        }
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; answers have both.
fn service_account(spec: &mut Value) {
    let new = spec["serviceAccountName"].as_str().unwrap_or_default();
    let old = spec["serviceAccount"].as_str().unwrap_or_default();
    let name = if new.is_empty() { old } else { new }.to_owned();
    let Some(map) = spec.as_object_mut() else {
        return;
    };
    for key in ["serviceAccountName", "serviceAccount"] {
        if name.is_empty() {
            map.remove(key);
        } else {
            map.insert(key.to_owned(), name.as_str().into());
        }
    }
}

fn container(c: &mut Value) {
    let policy = image::pull_policy(c["image"].as_str().unwrap_or_default());
    set_text(c, "imagePullPolicy", policy);
    set_text(c, "terminationMessagePath", "/dev/termination-log");
    set_text(c, "terminationMessagePolicy", "File");
    for port in each(c, "ports") {
        set_text(port, "protocol", "TCP");
    }
    for env in each(c, "env") {
        if let Some(from) = at(env, "valueFrom") {
            field_ref(from);
            if let Some(file) = at(from, "fileKeyRef") {
                set(file, "optional", false);
            }
        }
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(p) = at(c, key) {
            probe(p);
        }
    }
    if let Some(lifecycle) = at(c, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = at(lifecycle, hook) {
                http_get(hook);
            }
        }
    }
}

fn field_ref(holder: &mut Value) {
    if let Some(r) = at(holder, "fieldRef") {
        set_text(r, "apiVersion", "v1");
    }
}

fn probe(p: &mut Value) {
    set_zero(p, "timeoutSeconds", 1);
    set_zero(p, "periodSeconds", 10);
    set_zero(p, "successThreshold", 1);
    set_zero(p, "failureThreshold", 3);
    http_get(p);
    if let Some(grpc) = at(p, "grpc") {
        set(grpc, "service", "");
    }
}

fn http_get(handler: &mut Value) {
    if let Some(get) = at(handler, "httpGet") {
        set_text(get, "path", "/");
        set_text(get, "scheme", "HTTP");
    }
}

/// Defaults of one volume; one without a source is an emptyDir.
pub fn volume(v: &mut Value) {
    if v.as_object().is_some_and(|m| {
        !m.iter()
            .any(|(k, source)| k != "name" && source.is_object())
    }) {
        set(v, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(s) = at(v, source) {
            set(s, "defaultMode", 0o644);
            downward_items(s);
        }
    }
    if let Some(projected) = at(v, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = at(source, "serviceAccountToken") {
                set(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = at(source, "downwardAPI") {
                downward_items(downward);
            }
        }
    }
    if let Some(host) = at(v, "hostPath") {
        set(host, "type", "");
    }
    if let Some(image) = at(v, "image") {
        let policy = image::pull_policy(image["reference"].as_str().unwrap_or_default());
        set_text(image, "pullPolicy", policy);
    }
    if let Some(spec) = at(v, "ephemeral")
        .and_then(|e| at(e, "volumeClaimTemplate"))
        .and_then(|t| at(t, "spec"))
    {
        set(spec, "volumeMode", "Filesystem");
    }
    storage(v);
}

fn downward_items(source: &mut Value) {
    for item in each(source, "items") {
        field_ref(item);
    }
}

/// Defaults of sources that PersistentVolumes have as well.
pub fn storage(v: &mut Value) {
    let defaults: [(&str, &[(&str, Value)]); 4] = [
        ("iscsi", &[("iscsiInterface", json!("default"))]),
        (
            "rbd",
            &[
                ("pool", json!("rbd")),
                ("user", json!("admin")),
                ("keyring", json!("/etc/ceph/keyring")),
            ],
        ),
        (
            "azureDisk",
            &[
                ("cachingMode", json!("ReadWrite")),
                ("kind", json!("Shared")),
                ("fsType", json!("ext4")),
                ("readOnly", json!(false)),
            ],
        ),
        (
            "scaleIO",
            &[
                ("storageMode", json!("ThinProvisioned")),
                ("fsType", json!("xfs")),
            ],
        ),
    ];
    for (source, fields) in defaults {
        if let Some(s) = at(v, source) {
            for (key, value) in fields {
                set(s, key, value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_pod_becomes_a_whole_one() {
        let mut p = json!({"spec": {"hostNetwork": true, "serviceAccount": "sa", "volumes": [{"name": "v"}, {"name": "h", "hostPath": {"path": "/x"}}],
            "containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}},
                "livenessProbe": {"grpc": {"port": 1}}}]}});
        pod(&mut p);
        let spec = &p["spec"];
        assert_eq!(spec["serviceAccountName"], "sa");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["hostPath"]["type"], "");
        let c = &spec["containers"][0];
        assert_eq!(
            c["ports"][0],
            json!({"containerPort": 80, "hostPort": 80, "protocol": "TCP"})
        );
        assert_eq!(c["resources"]["requests"]["cpu"], "1");
        assert_eq!(c["livenessProbe"]["grpc"]["service"], "");
        assert_eq!(c["imagePullPolicy"], "Always");
        let once = p.clone();
        pod(&mut p);
        assert_eq!(p, once, "defaults of a whole pod change nothing");
    }
}
