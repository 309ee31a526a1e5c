//! What a pod may say. One file per part of the spec; errors come in the order in which the original finds them.

mod annotations;
mod container;
mod env;
mod health;
mod iscsi;
mod mounts;
mod network;
mod probe;
mod projected;
mod requirements;
mod resize;
mod scheduling;
mod security;
mod sources;
mod status;
mod update;
mod volume;

use std::collections::HashMap;

use knarr_json::Value;

pub use requirements::{container_name as container_resource, overhead};
pub use resize::resize;
pub use scheduling::node_selector;
pub use sources::{Holder, check as volume_source, driver_name};
pub use status::status;
pub use update::{ephemeral_containers, update};
pub use volume::{ONE_SOURCE, path_of, shown_as};

use crate::{
    field::{Error, Errors},
    names,
    validation::{At, go, labels, list, meta, one_of, taints, text},
};

/// What containers need to know of the pod around them.
pub(super) struct Pod<'a> {
    /// Volumes that are fine, by their names.
    volumes: HashMap<&'a str, &'a Value>,
    /// Names of resource claims.
    claims: Vec<&'a str>,
    /// Seconds; none when it is not a sensible number.
    grace_period: Option<i64>,
    restart_policy: &'a str,
    host_users: bool,
    os: &'a str,
}

impl<'a> Pod<'a> {
    fn volume(&self, name: &str) -> Option<&'a Value> {
        self.volumes.get(name).copied()
    }
}

/// Checks a new pod.
pub fn create(object: &Value, errs: &mut Errors) {
    metadata_and_spec(object, errs);
    let spec = At::root(object, "spec");
    if !list(&spec.v["ephemeralContainers"]).is_empty() {
        errs.push(
            spec.get("ephemeralContainers")
                .forbidden("cannot be set on create"),
        );
    }
    if !list(&spec.v["schedulingGates"]).is_empty() && !spec.text("nodeName").is_empty() {
        errs.push(
            spec.get("nodeName")
                .forbidden("cannot be set until all schedulingGates have been cleared"),
        );
    }
    annotations::agree(&object["metadata"], &spec, errs);
}

/// What is checked of new and of changed pods.
fn metadata_and_spec(object: &Value, errs: &mut Errors) {
    meta::create(object, true, meta::subdomain, errs);
    annotations::check(object, errs);
    let spec_at = At::root(object, "spec");
    let owner = volume::Owner {
        pod: text(&object["metadata"], "name"),
        is_pod: true,
    };
    spec(&spec_at, owner, errs);
    if spec_at.text("serviceAccountName").is_empty() {
        for token in volume::token_sources(&spec_at.get("volumes")) {
            errs.push(token.forbidden("must not be specified when serviceAccountName is not set"));
        }
    }
    for c in spec_at
        .items("containers")
        .chain(spec_at.items("initContainers"))
    {
        container::trimmed_image(&c, errs);
    }
}

/// Checks the template of a workload.
pub fn template(template: &At, _old: Option<&Value>, errs: &mut Errors) {
    let meta = template.get("metadata");
    // the original leaves `metadata` out of these paths
    labels::labels(
        &At {
            v: &meta.v["labels"],
            path: template.path.child("labels"),
        },
        errs,
    );
    labels::annotations(
        &At {
            v: &meta.v["annotations"],
            path: template.path.child("annotations"),
        },
        errs,
    );
    annotations::check_template(template, errs);
    let owner = volume::Owner {
        pod: "",
        is_pod: false,
    };
    spec(&template.get("spec"), owner, errs);
    annotations::agree(meta.v, &template.get("spec"), errs);
    let ephemeral = template.get("spec").get("ephemeralContainers");
    if !list(ephemeral.v).is_empty() {
        errs.push(ephemeral.forbidden("ephemeral containers not allowed in pod template"));
    }
}

/// Checks a pod spec.
fn spec(spec: &At, owner: volume::Owner, errs: &mut Errors) {
    let volumes = volume::volumes(&spec.get("volumes"), owner, errs);
    let pod = Pod {
        volumes,
        claims: list(&spec.v["resourceClaims"])
            .iter()
            .map(|c| text(c, "name"))
            .filter(|n| !n.is_empty())
            .collect(),
        grace_period: spec
            .int("terminationGracePeriodSeconds")
            .filter(|s| *s >= 0),
        restart_policy: spec.text("restartPolicy"),
        host_users: spec.v["hostUsers"] != false,
        os: text(&spec.v["os"], "name"),
    };
    resource_claims(&spec.get("resourceClaims"), errs);
    let (ordinary, init) = (spec.get("containers"), spec.get("initContainers"));
    container::ordinary(&ordinary, &pod, errs);
    container::init(&init, &ordinary, &pod, errs);
    container::ephemeral(
        &spec.get("ephemeralContainers"),
        [&ordinary, &init],
        &pod,
        errs,
    );
    requirements::pod(spec, &pod, errs);
    network::host_network(spec, owner.is_pod, errs);
    one_of(
        spec,
        "restartPolicy",
        &["Always", "OnFailure", "Never"],
        errs,
    );
    network::dns_policy(&spec.get("dnsPolicy"), errs);
    labels::labels(&spec.get("nodeSelector"), errs);
    security::pod(spec, errs);
    scheduling::affinity(&spec.get("affinity"), errs);
    network::dns_config(spec, errs);
    for gate in spec.items("readinessGates") {
        let kind = gate.get("conditionType");
        kind.push(names::qualified_name(kind.str()), errs);
    }
    scheduling::gates(&spec.get("schedulingGates"), errs);
    scheduling::spread(&spec.get("topologySpreadConstraints"), errs);
    security::host_process(spec, errs);
    security::host_users(spec, errs);
    references(spec, errs);
    network::host_names(spec, errs);
    taints::tolerations(&spec.get("tolerations"), errs);
    network::host_aliases(&spec.get("hostAliases"), errs);
    priority(spec, errs);
    security::os(spec, errs);
    env::file_volumes(spec, errs);
}

/// Names of other objects, and the deadline that stands between them.
fn references(spec: &At, errs: &mut Errors) {
    for key in ["serviceAccountName", "nodeName"] {
        let name = spec.get(key);
        if !name.str().is_empty() {
            name.push(names::dns1123_subdomain(name.str()), errs);
        }
    }
    if spec
        .int("activeDeadlineSeconds")
        .is_some_and(|s| !(1..=i64::from(i32::MAX)).contains(&s))
    {
        errs.push(
            spec.get("activeDeadlineSeconds")
                .invalid("must be between 1 and 2147483647, inclusive"),
        );
    }
}

fn priority(spec: &At, errs: &mut Errors) {
    for key in ["priorityClassName", "runtimeClassName"] {
        let name = spec.get(key);
        if !name.str().is_empty() {
            name.push(names::dns1123_subdomain(name.str()), errs);
        }
    }
    let policy = spec.get("preemptionPolicy");
    match policy.str() {
        _ if policy.v.is_null() => {}
        "PreemptLowerPriority" | "Never" => {}
        "" => errs.push(policy.required("")),
        _ => errs.push(policy.not_supported(&["PreemptLowerPriority", "Never"])),
    }
    requirements::overhead(&spec.get("overhead"), errs);
}

fn resource_claims(all: &At, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for claim in all.each() {
        let name = claim.get("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
        } else if seen.contains(&name.str()) {
            errs.push(name.duplicate());
        } else {
            name.push(names::dns1123_label(name.str()), errs);
            seen.push(name.str());
        }
        let given = ["resourceClaimName", "resourceClaimTemplateName"]
            .into_iter()
            .filter(|k| claim.has(k))
            .count();
        let mut refuse = |words: &str| {
            let shown = go::dump(
                claim.v,
                "Name'' ResourceClaimName. ResourceClaimTemplateName.",
            );
            errs.push(claim.invalid(words).showing(shown));
        };
        match given {
            0 => refuse("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            1 => {}
            _ => refuse(
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
        }
        for key in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim.some(key) {
                name.push(names::dns1123_subdomain(name.str()), errs);
            }
        }
    }
}

/// `field is immutable` for a string.
fn immutable_text(new: &At, old: &str, errs: &mut Errors) {
    if new.str() != old {
        errs.push(Error::invalid(&new.path, new.str(), "field is immutable"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn wrong(pod_spec: Value) -> Vec<String> {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": pod_spec});
        crate::strategy::pod::defaults::pod(&mut pod);
        let mut errs = Errors::new();
        create(&pod, &mut errs);
        errs.iter()
            .map(|e| {
                format!(
                    "{} {}",
                    e.field,
                    e.kind.reason().trim_start_matches("FieldValue")
                )
            })
            .collect()
    }

    fn with(container: Value) -> Value {
        let mut c = json!({"name": "c", "image": "i"});
        for (key, value) in container.as_object().unwrap() {
            c[key] = value.clone();
        }
        json!({"containers": [c]})
    }

    fn beside(more: Value) -> Value {
        let mut spec = with(json!({}));
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    }

    #[test]
    fn containers_that_are_refused() {
        for (spec, want) in [
            (json!({}), "spec.containers Required"),
            (
                with(json!({"name": "A"})),
                "spec.containers[0].name Invalid",
            ),
            (
                with(json!({"image": ""})),
                "spec.containers[0].image Required",
            ),
            (
                with(json!({"image": " i"})),
                "spec.containers[0].image Invalid",
            ),
            (
                with(json!({"ports": [{"containerPort": 70000}]})),
                "spec.containers[0].ports[0].containerPort Invalid",
            ),
            (
                with(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
                "spec.containers[0].volumeMounts[0].name NotFound",
            ),
            (
                with(json!({"livenessProbe": {}})),
                "spec.containers[0].livenessProbe Required",
            ),
            (
                with(json!({"livenessProbe": {"exec": {"command": ["a"]}, "successThreshold": 2}})),
                "spec.containers[0].livenessProbe.successThreshold Invalid",
            ),
            (
                with(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}})),
                "spec.containers[0].lifecycle.preStop.sleep Invalid",
            ),
            (
                with(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
                "spec.containers[0].resources.requests Invalid",
            ),
            (
                with(json!({"resources": {"limits": {"gpu": "1"}}, "stdin": true})),
                "spec.containers[0].resources.limits[gpu] Invalid",
            ),
            (
                with(json!({"securityContext": {"runAsUser": -1}})),
                "spec.containers[0].securityContext.runAsUser Invalid",
            ),
        ] {
            let errs = wrong(spec.clone());
            assert_eq!(errs.first().map(String::as_str), Some(want), "{spec}");
        }
        assert_eq!(wrong(with(json!({}))), Vec::<String>::new());
    }

    #[test]
    fn pods_that_are_refused() {
        for (spec, want) in [
            (
                json!({"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]}),
                "spec.volumes[0].hostPath.path Invalid",
            ),
            (
                json!({"volumes": [{"name": "v", "secret": {}}]}),
                "spec.volumes[0].secret.secretName Required",
            ),
            (
                json!({"restartPolicy": "Maybe"}),
                "spec.restartPolicy NotSupported",
            ),
            (json!({"dnsPolicy": "None"}), "spec.dnsConfig Required"),
            (json!({"hostname": "a.b"}), "spec.hostname Invalid"),
            (
                json!({"hostPID": true, "hostUsers": false}),
                "spec.HostPID Forbidden",
            ),
            (json!({"os": {"name": "plan9"}}), "spec.os NotSupported"),
            (
                json!({"topologySpreadConstraints": [{"topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}),
                "spec.topologySpreadConstraints[0].maxSkew Invalid",
            ),
            (
                json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}),
                "spec.ephemeralContainers Forbidden",
            ),
            (
                json!({"initContainers": [{"name": "c", "image": "i"}]}),
                "spec.initContainers[0].name Duplicate",
            ),
            (
                json!({"nodeName": "n", "schedulingGates": [{"name": "a.io/g"}]}),
                "spec.nodeName Forbidden",
            ),
        ] {
            assert_eq!(wrong(beside(spec.clone())), [want], "{spec}");
        }
    }
}
