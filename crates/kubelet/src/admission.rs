//! Whether this node takes a pod that was bound to it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration,
};

use crate::{
    container::config::port_mappings,
    pod::wanted::Wanted,
    resources::{Amounts, amount, pod_requests},
};

/// Why a pod is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    pub message: String,
}

impl Refusal {
    fn new(reason: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Refusal {
            reason: reason.into(),
            message: format!("Pod was rejected: {message}"),
        }
    }

    fn predicate(name: &str, what: &str) -> Self {
        Refusal::new(name, format!("Predicate {name} failed: {what}"))
    }
}

/// Checks a pod against the node and the pods that it has taken already.
///
/// # Errors
/// The first reason against it.
pub fn admit(
    pod: &Pod,
    node: Option<&Node>,
    others: &[std::sync::Arc<Pod>],
) -> Result<(), Refusal> {
    if let Some(node) = node {
        fits_resources(pod, node, others)?;
        matches_selectors(pod, node)?;
    }
    ports_are_free(pod, others)?;
    match node {
        Some(node) => tolerates(pod, node),
        None => Ok(()),
    }
}

fn fits_resources(pod: &Pod, node: &Node, others: &[std::sync::Arc<Pod>]) -> Result<(), Refusal> {
    let empty = BTreeMap::new();
    let allocatable = node
        .status
        .as_ref()
        .and_then(|s| s.allocatable.as_ref())
        .unwrap_or(&empty);
    if allocatable.is_empty() {
        return Ok(());
    }
    let mut used = Amounts::new();
    for other in others {
        for (name, v) in pod_requests(other) {
            *used.entry(name).or_default() += v;
        }
        *used.entry("pods".to_owned()).or_default() += 1;
    }
    let mut wanted = pod_requests(pod);
    wanted.insert("pods".to_owned(), 1);
    for (name, requested) in wanted.into_iter().filter(|(_, v)| *v > 0) {
        let capacity = allocatable.get(&name).map_or(0, |q| amount(&name, q));
        let used = used.get(&name).copied().unwrap_or(0);
        if used.saturating_add(requested) > capacity {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            return Err(Refusal::new(format!("OutOf{name}"), message));
        }
    }
    Ok(())
}

fn matches_selectors(pod: &Pod, node: &Node) -> Result<(), Refusal> {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let spec = pod.spec.as_ref();
    let simple = spec
        .and_then(|s| s.node_selector.as_ref())
        .is_none_or(|s| s.iter().all(|(k, v)| labels.get(k) == Some(v)));
    let required = spec
        .and_then(|s| s.affinity.as_ref())
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let affine = required.is_none_or(|r| {
        r.node_selector_terms
            .iter()
            .any(|t| term_matches(t, labels, name))
    });
    if simple && affine {
        Ok(())
    } else {
        Err(Refusal::predicate(
            "NodeAffinity",
            "node(s) didn't match Pod's node affinity/selector",
        ))
    }
}

/// Whether a node with these labels and that name is what a term asks for. An empty term asks for nothing.
fn term_matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let (expressions, fields) = (
        term.match_expressions.as_deref().unwrap_or(&[]),
        term.match_fields.as_deref().unwrap_or(&[]),
    );
    let field = |r: &NodeSelectorRequirement| {
        r.key == "metadata.name" && requirement_matches(r, Some(name))
    };
    !(expressions.is_empty() && fields.is_empty())
        && expressions
            .iter()
            .all(|r| requirement_matches(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(field)
}

fn requirement_matches(r: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = r.values.as_deref().unwrap_or(&[]);
    let listed = value.is_some_and(|v| values.iter().any(|w| w == v));
    let compared = || {
        Some((
            value?.parse::<i64>().ok()?,
            values.first()?.parse::<i64>().ok()?,
        ))
    };
    match r.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(a, b)| a > b),
        "Lt" => compared().is_some_and(|(a, b)| a < b),
        _ => false,
    }
}

fn ports_are_free(pod: &Pod, others: &[std::sync::Arc<Pod>]) -> Result<(), Refusal> {
    let ports = |pod: &Pod| port_mappings(&Wanted::new(std::sync::Arc::new(pod.clone())));
    let wanted = ports(pod);
    if wanted.is_empty() {
        return Ok(());
    }
    let taken: Vec<_> = others.iter().flat_map(|p| ports(p)).collect();
    let clash = |a: &knarr_runtime::PortMapping, b: &knarr_runtime::PortMapping| {
        let same_address = a.host_ip.is_none() || b.host_ip.is_none() || a.host_ip == b.host_ip;
        a.host_port == b.host_port && a.protocol == b.protocol && same_address
    };
    if wanted.iter().any(|w| taken.iter().any(|t| clash(w, t))) {
        return Err(Refusal::predicate(
            "NodePorts",
            "node(s) didn't have free ports for the requested pod ports",
        ));
    }
    Ok(())
}

fn tolerates(pod: &Pod, node: &Node) -> Result<(), Refusal> {
    let taints = node
        .spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or(&[]);
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|s| s.tolerations.as_deref())
        .unwrap_or(&[]);
    let is_static = pod
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|a| a.contains_key("kubernetes.io/config.source"));
    let tolerated = |taint: &Taint| tolerations.iter().any(|t| covers(t, taint));
    // What must not be scheduled may still have been bound by hand; what must not run may not.
    let bad = taints
        .iter()
        .filter(|t| t.effect == "NoExecute")
        .find(|t| !tolerated(t));
    match bad {
        Some(_) if !is_static => Err(Refusal::predicate(
            "TaintToleration",
            "node(s) had taints that the pod didn't tolerate",
        )),
        _ => Ok(()),
    }
}

fn covers(t: &Toleration, taint: &Taint) -> bool {
    let effect = t
        .effect
        .as_deref()
        .filter(|e| !e.is_empty())
        .is_none_or(|e| e == taint.effect);
    let key = t.key.as_deref().unwrap_or_default();
    let exists = t.operator.as_deref() == Some("Exists");
    let value = exists
        || t.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    effect && value && (key == taint.key || (key.is_empty() && exists))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn from<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
        serde_json::from_value(json).expect("an object")
    }

    fn pod(spec: serde_json::Value) -> Pod {
        let mut spec = spec;
        if spec["containers"].is_null() {
            spec["containers"] = serde_json::json!([]);
        }
        from(serde_json::json!({"metadata": {"name": "p"}, "spec": spec}))
    }

    fn cpu(amount: &str) -> serde_json::Value {
        serde_json::json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]})
    }

    #[test]
    fn refusals() {
        let node: Node = from(
            serde_json::json!({"metadata": {"name": "n", "labels": {"disk": "ssd", "n": "5"}},
            "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]},
            "status": {"allocatable": {"cpu": "2", "pods": "2"}}}),
        );
        let tolerations = serde_json::json!([{"operator": "Exists"}]);
        let with = |mut spec: serde_json::Value| {
            spec["tolerations"] = tolerations.clone();
            pod(spec)
        };
        let port = |n: u16, ip: &str| serde_json::json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": n, "hostIP": ip}]}]});
        let affinity = |operator: &str, values: &[&str]| {
            serde_json::json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                [{"matchExpressions": [{"key": "n", "operator": operator, "values": values}]}]}}}})
        };
        let one = [Arc::new(pod(cpu("1500m")))];
        let ports = [Arc::new(pod(port(8080, "127.0.0.1")))];
        type Case<'a> = (Pod, &'a [Arc<Pod>], Option<&'a str>);
        let cases: Vec<Case<'_>> = vec![
            (with(cpu("500m")), &one, None),
            (with(cpu("501m")), &one, Some("OutOfcpu")),
            (
                with(serde_json::json!({"nodeSelector": {"disk": "hdd"}})),
                &[],
                Some("NodeAffinity"),
            ),
            (
                with(serde_json::json!({"nodeSelector": {"disk": "ssd"}})),
                &[],
                None,
            ),
            (with(affinity("Gt", &["4"])), &[], None),
            (with(affinity("NotIn", &["5"])), &[], Some("NodeAffinity")),
            (with(port(8080, "")), &ports, Some("NodePorts")),
            (with(port(8080, "127.0.0.2")), &ports, None),
            (pod(serde_json::json!({})), &[], Some("TaintToleration")),
        ];
        for (pod, others, want) in cases {
            let got = admit(&pod, Some(&node), others).err().map(|r| r.reason);
            assert_eq!(got.as_deref(), want, "{:?}", pod.spec);
        }
    }

    #[test]
    fn too_many_pods() {
        let node: Node = from(
            serde_json::json!({"metadata": {"name": "n"}, "status": {"allocatable": {"pods": "1"}}}),
        );
        let other = [Arc::new(pod(serde_json::json!({})))];
        let refusal = admit(&pod(serde_json::json!({})), Some(&node), &other).expect_err("full");
        assert_eq!(
            refusal.message,
            "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 1, capacity: 1"
        );
    }
}
