//! Pods that a kubelet may write: mirrors of those that it was given as files, and the status of what runs on its node.

use knarr_api::Status;
use knarr_json::Value;

use super::{
    super::{Attributes, Operation},
    labels, node_of, pod,
};
use crate::Outcome;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// # Errors
/// 403 for a pod that is not the node's, or that is more than a mirror.
pub fn admit(a: &Attributes<'_>, node: &str, object: &Value) -> Outcome<()> {
    let refuse = |why: String| Err(a.forbidden(object, &why));
    match (a.subresource, a.operation) {
        ("", Operation::Create) => {
            let uid = a
                .call
                .shared
                .store
                .get(&format!("/registry/minions/{node}"))
                .map(|stored| stored.head.uid.clone());
            let checked = mirror(node, object).and_then(|()| owner(node, object, uid.as_deref()));
            match checked.and_then(|()| unlinked(node, object)) {
                Ok(()) => Ok(()),
                Err(Bad::NoNode) => Err(Status::not_found("", "nodes", node).into()),
                Err(Bad::Why(why)) => refuse(why),
            }
        }
        ("", Operation::Delete) if a.old.map_or("", node_of) != node => refuse(format!(
            "node {node:?} can only delete pods with spec.nodeName set to itself"
        )),
        ("", Operation::Delete) => Ok(()),
        ("", operation) => refuse(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            operation.name()
        )),
        ("status", Operation::Update) => {
            pod_status(node, a.old.unwrap_or(&Value::Null), object).or_else(refuse)
        }
        ("eviction", Operation::Create) => {
            if node_of(&pod(a, a.name())?) != node {
                return refuse(format!(
                    "node {node} can only evict pods with spec.nodeName set to itself"
                ));
            }
            Ok(())
        }
        ("status" | "eviction", operation) => {
            refuse(format!("unexpected operation {:?}", operation.name()))
        }
        (other, _) => refuse(format!(
            "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
        )),
    }
}

/// Why a mirror pod may not be.
#[derive(Debug, PartialEq, Eq)]
enum Bad {
    NoNode,
    Why(String),
}

fn mirror(node: &str, pod: &Value) -> Result<(), Bad> {
    if !pod["metadata"]["annotations"][MIRROR].is_string() {
        return Err(Bad::Why(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        )));
    }
    if node_of(pod) != node {
        return Err(Bad::Why(format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        )));
    }
    Ok(())
}

fn owner(node: &str, pod: &Value, uid: Option<&str>) -> Result<(), Bad> {
    let why = |what: &str| Err(Bad::Why(format!("node {node:?} {what}")));
    let owner = match pod["metadata"]["ownerReferences"].items() {
        [owner] => owner,
        [] => return why("can only create pods with an owner reference set to itself"),
        _ => return why("can only create pods with a single owner reference set to itself"),
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return why("can only create pods with an owner reference set to itself");
    }
    if owner["controller"] != true {
        return why("can only create pods with a controller owner reference set to itself");
    }
    if owner["blockOwnerDeletion"] == true {
        return why("must not set blockOwnerDeletion on an owner reference");
    }
    let given = owner["uid"].as_str().unwrap_or_default();
    match uid {
        None => Err(Bad::NoNode),
        Some(uid) if uid != given => Err(Bad::Why(format!(
            "node {node} UID mismatch: expected {given} got {uid}"
        ))),
        Some(_) => Ok(()),
    }
}

/// A mirror pod refers to nothing that its node could then read.
fn unlinked(node: &str, pod: &Value) -> Result<(), Bad> {
    let spec = &pod["spec"];
    let refers = |what: &str| {
        Err(Bad::Why(format!(
            "node {node:?} can not create pods that reference {what}"
        )))
    };
    if spec["serviceAccountName"]
        .as_str()
        .is_some_and(|n| !n.is_empty())
    {
        return refers("a service account");
    }
    let pulls = spec["imagePullSecrets"]
        .as_array()
        .is_some_and(|s| !s.is_empty());
    if pulls
        || holds(
            spec,
            &[
                "secretRef",
                "secretKeyRef",
                "secret",
                "nodePublishSecretRef",
            ],
        )
    {
        return refers("secrets");
    }
    if holds(spec, &["configMapRef", "configMapKeyRef", "configMap"]) {
        return refers("configmaps");
    }
    if holds(spec, &["clusterTrustBundle"]) {
        return refers("clustertrustbundles");
    }
    if holds(spec, &["persistentVolumeClaim"]) {
        return refers("persistentvolumeclaims");
    }
    let claims = spec["resourceClaims"].as_array();
    if claims.is_some_and(|c| !c.is_empty()) {
        return refers("resourceclaims");
    }
    Ok(())
}

/// Whether one of these fields is anywhere inside.
fn holds(value: &Value, keys: &[&str]) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(k, v)| (keys.contains(&k.as_str()) && v.is_object()) || holds(v, keys)),
        Value::Array(list) => list.iter().any(|v| holds(v, keys)),
        _ => false,
    }
}

fn pod_status(node: &str, old: &Value, new: &Value) -> Result<(), String> {
    if node_of(old) != node {
        return Err(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if labels(old) != labels(new) {
        return Err(format!(
            "node {node:?} cannot update labels through pod status"
        ));
    }
    let claims = |pod: &Value| pod["status"]["resourceClaimStatuses"].clone();
    if claims(old) != claims(new) {
        return Err(format!(
            "node {node:?} cannot update resource claim statues"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn mirror_pods_are_their_nodes() {
        let good = json!({
            "metadata": {"annotations": {MIRROR: "x"}, "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]},
            "spec": {"nodeName": "n", "volumes": [{"hostPath": {"path": "/"}}], "resourceClaims": []},
        });
        let check = |pod: &Value| {
            mirror("n", pod)
                .and_then(|()| owner("n", pod, Some("u")))
                .and_then(|()| unlinked("n", pod))
        };
        assert_eq!(check(&good), Ok(()));
        assert_eq!(owner("n", &good, None), Err(Bad::NoNode));
        for (path, value) in [
            ("/metadata/annotations", json!({})),
            ("/metadata/ownerReferences", json!([])),
            ("/spec/nodeName", json!("m")),
            ("/spec/volumes", json!([{"secret": {"secretName": "s"}}])),
            (
                "/spec/volumes",
                json!([{"projected": {"sources": [{"configMap": {"name": "c"}}]}}]),
            ),
            (
                "/spec/resourceClaims",
                json!([{"name": "r", "resourceClaimName": "c"}]),
            ),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(path).unwrap() = value;
            assert!(check(&bad).is_err(), "{path}");
        }
    }
}
