//! NodeRestriction: a kubelet changes its own node and what runs there, and nothing else.

mod audience;
mod pods;

use knarr_api::Status;
use knarr_json::{Text, Value};

use super::{Attributes, Operation, certificates::Subject};
use crate::{Outcome, rest::meta};

const PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";
const LEASES: &str = "kube-node-lease";
const RESERVED: &str = "node-restriction.kubernetes.io";
/// Labels of Kubernetes that a kubelet may set; all others of its domains it may not.
const OWN_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "node.kubernetes.io/windows-build",
];
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// # Errors
/// 403 for what is not the node's own, 404 for what it names and is not there.
pub fn admit(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let user = &a.call.user;
    if !user.in_group(GROUP) || a.operation == Operation::Connect {
        return Ok(());
    }
    let Some(node) = user.name.strip_prefix(PREFIX) else {
        return Ok(());
    };
    let refused = |why: String| a.forbidden(object, &why);
    if node.is_empty() {
        return Err(refused(format!(
            "could not determine node from user {:?}",
            user.name
        )));
    }
    match (a.group(), a.resource()) {
        ("", "pods") => pods::admit(a, node, object),
        ("", "nodes") => nodes(a, node, object).map_err(refused),
        ("", "persistentvolumeclaims") => claims(a, node, object).map_err(refused),
        ("", "serviceaccounts") => tokens(a, node, object),
        ("coordination.k8s.io", "leases") => leases(a, node, object).map_err(refused),
        ("storage.k8s.io", "csinodes") if object_name(a, object) != node => Err(refused(
            "can only access CSINode with the same name as the requesting node".into(),
        )),
        ("resource.k8s.io", "resourceslices") => slices(a, node, object).map_err(refused),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificates(a, node, object).map_err(refused)
        }
        _ => Ok(()),
    }
}

/// A create has its name in the object only.
fn object_name<'a>(a: &Attributes<'a>, object: &'a Value) -> &'a str {
    match a.operation {
        Operation::Create => meta::text(object, "name"),
        _ => a.name(),
    }
}

fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

/// A pod as it is stored.
///
/// # Errors
/// 404.
fn pod(a: &Attributes<'_>, name: &str) -> Outcome<Value> {
    let key = format!("/registry/pods/{}/{name}", a.namespace());
    let stored = a.call.shared.store.get(&key);
    let stored = stored.ok_or_else(|| Box::new(Status::not_found("", "pods", name)))?;
    crate::rest::parse(&stored.json)
}

fn labels(object: &Value) -> Vec<(&Text, &Value)> {
    let labels = object["metadata"]["labels"].as_object();
    labels.into_iter().flatten().collect()
}

fn nodes(a: &Attributes<'_>, node: &str, object: &Value) -> Result<(), String> {
    let asked = object_name(a, object);
    if asked != node {
        return Err(format!(
            "node {node:?} is not allowed to modify node {asked:?}"
        ));
    }
    match (a.operation, a.old) {
        (Operation::Create, _) => {
            let forbidden = forbidden_labels(&Value::Null, object);
            if object["spec"]["configSource"].is_object() {
                return Err(format!(
                    "node {node:?} is not allowed to create pods with a non-nil configSource"
                ));
            }
            if forbidden.is_empty() {
                return Ok(());
            }
            Err(format!(
                "node {node:?} is not allowed to set the following labels: {}",
                forbidden.join(", ")
            ))
        }
        (Operation::Update, Some(old)) => node_update(node, old, object),
        _ => Ok(()),
    }
}

fn node_update(node: &str, old: &Value, new: &Value) -> Result<(), String> {
    let source = &new["spec"]["configSource"];
    if source.is_object() && *source != old["spec"]["configSource"] {
        return Err(format!(
            "node {node:?} is not allowed to update configSource to a new non-nil configSource"
        ));
    }
    let list =
        |node: &Value, at: &str, key: &str| node[at][key].as_array().cloned().unwrap_or_default();
    if list(old, "spec", "taints") != list(new, "spec", "taints") {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    if list(old, "metadata", "ownerReferences") != list(new, "metadata", "ownerReferences") {
        return Err(format!(
            "node {node:?} is not allowed to modify ownerReferences"
        ));
    }
    let forbidden = forbidden_labels(old, new);
    if forbidden.is_empty() {
        return Ok(());
    }
    Err(format!(
        "is not allowed to modify labels: {}",
        forbidden.join(", ")
    ))
}

/// Labels that changed and are not the kubelet's to change, sorted.
fn forbidden_labels<'a>(old: &'a Value, new: &'a Value) -> Vec<&'a str> {
    let (before, now) = (&old["metadata"]["labels"], &new["metadata"]["labels"]);
    let both = labels(old).into_iter().chain(labels(new));
    let changed = both
        .map(|(key, _)| key.as_str())
        .filter(|key| before.get(key) != now.get(key));
    let mut forbidden: Vec<&str> = changed.filter(|key| is_forbidden(key)).collect();
    forbidden.sort_unstable();
    forbidden.dedup();
    forbidden
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |wanted: &str| {
        domain == wanted
            || domain
                .strip_suffix(wanted)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if within(RESERVED) {
        return true;
    }
    let own = OWN_LABELS.contains(&label) || OWN_DOMAINS.iter().any(|d| within(d));
    (within("kubernetes.io") || within("k8s.io")) && !own
}

/// Of a claim a kubelet tells how large it has become, and nothing more.
fn claims(a: &Attributes<'_>, node: &str, object: &Value) -> Result<(), String> {
    if a.subresource != "status" {
        return Err("may only update PVC status".into());
    }
    let Some(old) = a.old.filter(|_| a.operation == Operation::Update) else {
        return Err(format!("unexpected operation {:?}", a.operation.name()));
    };
    let kept = |claim: &Value| {
        let mut claim = claim.clone();
        for (at, keys) in [
            ("metadata", &["resourceVersion", "managedFields"][..]),
            (
                "status",
                &[
                    "capacity",
                    "conditions",
                    "allocatedResources",
                    "allocatedResourceStatuses",
                ][..],
            ),
        ] {
            if let Some(map) = claim[at].as_object_mut() {
                map.retain(|key, _| !keys.contains(&key));
            }
        }
        claim
    };
    if kept(old) == kept(object) {
        return Ok(());
    }
    Err(format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
    ))
}

/// Tokens are for pods of the node.
fn tokens(a: &Attributes<'_>, node: &str, request: &Value) -> Outcome<()> {
    if a.subresource != "token" || a.operation != Operation::Create {
        return Ok(());
    }
    let refuse = |why: &str| Err(a.forbidden(request, why));
    let bound = &request["spec"]["boundObjectRef"];
    let text = |key: &str| bound[key].as_str().unwrap_or_default();
    let named = bound["apiVersion"] == "v1" && bound["kind"] == "Pod" && !text("name").is_empty();
    if !named {
        return refuse("node requested token not bound to a pod");
    }
    let uid = text("uid");
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pod = pod(a, text("name"))?;
    if meta::text(&pod, "uid") != uid {
        return refuse(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if node_of(&pod) != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    audience::check(a, &pod, request).or_else(|why| refuse(&why))
}

fn leases(a: &Attributes<'_>, node: &str, object: &Value) -> Result<(), String> {
    if a.namespace() != LEASES {
        return Err(format!(
            "can only access leases in the {LEASES:?} system namespace"
        ));
    }
    if object_name(a, object) != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

fn slices(a: &Attributes<'_>, node: &str, object: &Value) -> Result<(), String> {
    let (slice, verb) = match a.operation {
        Operation::Create => (object, "create"),
        Operation::Delete => (a.old.unwrap_or(&Value::Null), "delete"),
        _ => return Ok(()),
    };
    if node_of(slice) == node {
        return Ok(());
    }
    Err(format!(
        "can only {verb} ResourceSlice with the same NodeName as the requesting node"
    ))
}

fn certificates(a: &Attributes<'_>, node: &str, object: &Value) -> Result<(), String> {
    let signer = object["spec"]["signerName"].as_str().unwrap_or_default();
    let for_kubelets = [
        "kubernetes.io/kubelet-serving",
        "kubernetes.io/kube-apiserver-client-kubelet",
    ];
    if a.operation != Operation::Create || !for_kubelets.contains(&signer) {
        return Ok(());
    }
    if Subject::of(object)?.name == format!("{PREFIX}{node}") {
        return Ok(());
    }
    Err(format!("can only create a node CSR with CN={PREFIX}{node}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn some_labels_are_not_a_kubelets() {
        for (label, wanted) in [
            ("kubernetes.io/hostname", false),
            ("example.com/x", false),
            ("x", false),
            ("node.kubernetes.io/anything", false),
            ("a.kubelet.kubernetes.io/anything", false),
            ("node-role.kubernetes.io/control-plane", true),
            ("node-restriction.kubernetes.io/x", true),
            ("a.node-restriction.kubernetes.io/x", true),
            ("foo.k8s.io/x", true),
            ("mykubernetes.io/x", false),
        ] {
            assert_eq!(is_forbidden(label), wanted, "{label}");
        }
    }

    #[test]
    fn a_node_updates_only_itself() {
        let old = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"taints": [{"key": "t"}]}});
        let with = |path: &str, value: Value| {
            let mut new = old.clone();
            *new.pointer_mut(path).unwrap() = value;
            node_update("n", &old, &new)
        };
        assert_eq!(node_update("n", &old, &old), Ok(()));
        assert_eq!(with("/metadata/labels", json!({"b": "1"})), Ok(()));
        assert_eq!(
            with("/spec/taints", json!([])),
            Err("node \"n\" is not allowed to modify taints".into())
        );
        assert_eq!(
            with("/metadata/labels", json!({"a": "1", "k8s.io/x": "y"})),
            Err("is not allowed to modify labels: k8s.io/x".into())
        );
    }
}
