//! Plugins about where pods go: PodNodeSelector, LimitPodHardAntiAffinityTopology, PodTopologyLabels.

use knarr_json::{Map, Value};

use super::{Attributes, Operation};
use crate::{Outcome, rest::meta};

const SELECTOR: &str = "scheduler.alpha.kubernetes.io/node-selector";
const HOSTNAME: &str = "kubernetes.io/hostname";
const TOPOLOGY: [&str; 2] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// The node selector that the namespace has in its annotation: `a=b,c=d`.
fn of_namespace(a: &Attributes<'_>) -> Vec<(String, String)> {
    let stored = a
        .call
        .shared
        .store
        .get(&format!("/registry/namespaces/{}", a.namespace()));
    let namespace: Value = stored
        .and_then(|s| serde_json::from_slice(&s.json).ok())
        .unwrap_or_default();
    let text = namespace["metadata"]["annotations"][SELECTOR].as_str();
    parse(text.unwrap_or_default())
}

fn parse(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(k, v)| {
            (
                k.trim().to_owned(),
                v.trim_start_matches('=').trim().to_owned(),
            )
        })
        .filter(|(k, _)| !k.is_empty())
        .collect()
}

/// PodNodeSelector: pods go to the nodes of their namespace.
///
/// # Errors
/// 403 for a pod that wants to go elsewhere.
pub fn select_nodes(a: &Attributes<'_>, pod: &mut Value) -> Outcome<()> {
    if !pod["spec"].is_object() {
        return Ok(());
    }
    for (key, wanted) in of_namespace(a) {
        let selector = &mut pod["spec"]["nodeSelector"];
        if !selector.is_object() {
            *selector = Value::Object(Map::new());
        }
        let given = &mut selector[key.as_str()];
        if given.is_string() && *given != wanted.as_str() {
            let why = "pod node label selector conflicts with its namespace node label selector";
            return Err(a.forbidden(pod, why));
        }
        *given = wanted.into();
    }
    Ok(())
}

/// LimitPodHardAntiAffinityTopology: pods keep apart by node only, as more would keep others from whole zones.
///
/// # Errors
/// 403 for another topology.
pub fn limit_anti_affinity(a: &Attributes<'_>, pod: &Value) -> Outcome<()> {
    let terms = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let keys = terms.as_array().into_iter().flatten();
    let mut keys = keys.map(|term| term["topologyKey"].as_str().unwrap_or_default());
    match keys.find(|key| *key != HOSTNAME) {
        Some(key) => {
            let why = format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
            );
            Err(a.forbidden(pod, &why))
        }
        None => Ok(()),
    }
}

/// PodTopologyLabels: a pod that is put on a node is told where that is, by labels of the Binding that become the pod's.
pub fn topology_labels(a: &Attributes<'_>, object: &mut Value) {
    let node = match a.subresource {
        _ if a.operation != Operation::Create => return,
        "binding" if object["target"]["kind"] == "Node" => object["target"]["name"].as_str(),
        "" => object["spec"]["nodeName"].as_str(),
        _ => return,
    };
    let Some(node) = node.filter(|n| !n.is_empty()) else {
        return;
    };
    let stored = a
        .call
        .shared
        .store
        .get(&format!("/registry/minions/{node}"));
    let Some(stored) = stored else {
        return;
    };
    for key in TOPOLOGY {
        let Some(value) = stored.head.label(key) else {
            continue;
        };
        let labels = meta::of(object)
            .entry("labels")
            .or_insert_with(|| Value::Object(Map::new()));
        if !labels.is_object() {
            *labels = Value::Object(Map::new());
        }
        labels[key] = value.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(parse("a=b, c = d"), [pair("a", "b"), pair("c", "d")]);
        assert!(parse("").is_empty());
    }
}
