//! A pod as the scheduler sees it: everything parsed once, when the pod comes or changes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Pod, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use knarr_client::informer::Key;

use crate::{
    labels::{Labels, NodeTerm, Selector, get},
    resources::{Requests, requests},
};

/// A port of the node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Empty for all addresses.
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

/// What a pod demands of its node's name and labels.
#[derive(Debug, Default)]
pub struct NodeDemand {
    pub selector: Option<Selector>,
    /// One of these must match; with none in the list nothing does.
    pub terms: Option<Vec<NodeTerm>>,
}

impl NodeDemand {
    pub fn is_empty(&self) -> bool {
        self.selector.is_none() && self.terms.is_none()
    }

    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.selector.as_ref().is_none_or(|s| s.matches(labels))
            && self
                .terms
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|t| t.matches(name, labels)))
    }

    /// The only nodes that can match, if each term names one.
    pub fn only_names(&self) -> Option<Vec<&str>> {
        self.terms
            .as_ref()?
            .iter()
            .map(NodeTerm::only_name)
            .collect()
    }
}

/// A term of affinity to, or anti-affinity against, other pods.
#[derive(Debug)]
pub struct Term {
    pub selector: Selector,
    pub namespaces: Vec<String>,
    /// Namespaces by label; what it picks depends on the namespaces there are.
    pub namespace_selector: Selector,
    pub topology_key: String,
}

impl Term {
    /// Whether a pod with these labels, in this namespace with those labels, is meant.
    pub fn matches(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        (self.namespaces.iter().any(|n| n == namespace)
            || self.namespace_selector.matches(namespace_labels))
            && self.selector.matches(labels)
    }
}

/// Affinity to other pods. Empty for most.
#[derive(Debug, Default)]
pub struct Affinities {
    pub required: Vec<Term>,
    pub required_anti: Vec<Term>,
    pub preferred: Vec<(i64, Term)>,
    pub preferred_anti: Vec<(i64, Term)>,
}

impl Affinities {
    pub fn is_empty(&self) -> bool {
        self.required.is_empty()
            && self.required_anti.is_empty()
            && self.preferred.is_empty()
            && self.preferred_anti.is_empty()
    }
}

/// How evenly pods must, or should, be spread over a topology.
#[derive(Debug, Clone)]
pub struct Spread {
    pub max_skew: i64,
    pub min_domains: i64,
    pub topology_key: String,
    /// Else it is only preferred.
    pub required: bool,
    pub selector: Selector,
    /// Count only nodes that the pod's node affinity allows.
    pub honor_affinity: bool,
    /// Count only nodes whose taints the pod tolerates.
    pub honor_taints: bool,
}

/// A pod with what the scheduler needs of it.
#[derive(Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub key: Key,
    pub uid: String,
    pub priority: i32,
    pub requests: Requests,
    pub ports: Vec<HostPort>,
    pub node_demand: NodeDemand,
    /// Weighted.
    pub node_wishes: Vec<(i64, NodeTerm)>,
    pub affinities: Box<Affinities>,
    pub spread: Vec<Spread>,
    pub images: Vec<String>,
}

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> Self {
        let default = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&default);
        let node_affinity = spec
            .affinity
            .as_ref()
            .and_then(|a| a.node_affinity.as_ref());
        let required = node_affinity.and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let wishes = node_affinity.and_then(|a| {
            a.preferred_during_scheduling_ignored_during_execution
                .as_ref()
        });
        PodInfo {
            key: Key::of(&*pod),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            requests: requests(&pod),
            ports: host_ports(spec),
            node_demand: NodeDemand {
                selector: spec
                    .node_selector
                    .as_ref()
                    .filter(|s| !s.is_empty())
                    .map(Selector::equal),
                terms: required.map(|r| {
                    r.node_selector_terms
                        .iter()
                        .filter_map(NodeTerm::parse)
                        .collect()
                }),
            },
            node_wishes: wishes
                .into_iter()
                .flatten()
                .filter_map(|w| Some((i64::from(w.weight), NodeTerm::parse(&w.preference)?)))
                .collect(),
            affinities: Box::new(affinities(&pod, spec)),
            spread: spec
                .topology_spread_constraints
                .iter()
                .flatten()
                .map(|c| spread(&pod, c))
                .collect(),
            images: spec
                .containers
                .iter()
                .filter_map(|c| c.image.as_deref())
                .map(full_image)
                .collect(),
            pod,
        }
    }

    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    pub fn labels(&self) -> &Labels {
        &self.pod.metadata.labels
    }

    pub fn tolerations(&self) -> &[Toleration] {
        self.spec()
            .and_then(|s| s.tolerations.as_deref())
            .unwrap_or_default()
    }

    /// The node it is bound to; empty before.
    pub fn node(&self) -> &str {
        self.spec()
            .and_then(|s| s.node_name.as_deref())
            .unwrap_or_default()
    }

    pub fn terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Whether something must happen before it may be scheduled at all.
    pub fn gated(&self) -> bool {
        self.spec()
            .and_then(|s| s.scheduling_gates.as_ref())
            .is_some_and(|g| !g.is_empty())
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let all = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten());
    let taken = all.filter_map(|p| {
        let port = p.host_port.filter(|p| *p > 0)?;
        let ip = p
            .host_ip
            .clone()
            .filter(|ip| ip != "0.0.0.0" && ip != "::")
            .unwrap_or_default();
        Some(HostPort {
            ip,
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            port,
        })
    });
    taken.collect()
}

fn affinities(pod: &Pod, spec: &PodSpec) -> Affinities {
    let affinity = spec.affinity.as_ref();
    let to = affinity.and_then(|a| a.pod_affinity.as_ref());
    let against = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    let terms = |list: Option<&Vec<PodAffinityTerm>>| {
        list.into_iter().flatten().map(|t| term(pod, t)).collect()
    };
    let wishes = |list: Option<&Vec<WeightedPodAffinityTerm>>| {
        let weighted =
            |w: &WeightedPodAffinityTerm| (i64::from(w.weight), term(pod, &w.pod_affinity_term));
        list.into_iter().flatten().map(weighted).collect()
    };
    Affinities {
        required: terms(to.and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        })),
        required_anti: terms(against.and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        })),
        preferred: wishes(to.and_then(|a| {
            a.preferred_during_scheduling_ignored_during_execution
                .as_ref()
        })),
        preferred_anti: wishes(against.and_then(|a| {
            a.preferred_during_scheduling_ignored_during_execution
                .as_ref()
        })),
    }
}

fn term(pod: &Pod, term: &PodAffinityTerm) -> Term {
    let mut selector = Selector::parse(term.label_selector.as_ref());
    let own = |key: &str| get(&pod.metadata.labels, key);
    for key in term.match_label_keys.iter().flatten() {
        if let Some(value) = own(key) {
            selector.require(key, value, true);
        }
    }
    for key in term.mismatch_label_keys.iter().flatten() {
        if let Some(value) = own(key) {
            selector.require(key, value, false);
        }
    }
    let mut namespaces = term.namespaces.clone().unwrap_or_default();
    // Neither list nor selector: the pod's own namespace.
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces.extend(pod.metadata.namespace.clone());
    }
    Term {
        selector,
        namespaces,
        namespace_selector: Selector::parse(term.namespace_selector.as_ref()),
        topology_key: term.topology_key.clone(),
    }
}

fn spread(pod: &Pod, constraint: &TopologySpreadConstraint) -> Spread {
    let mut selector = Selector::parse(constraint.label_selector.as_ref());
    for key in constraint.match_label_keys.iter().flatten() {
        if let Some(value) = get(&pod.metadata.labels, key) {
            selector.require(key, value, true);
        }
    }
    Spread {
        max_skew: i64::from(constraint.max_skew),
        min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
        topology_key: constraint.topology_key.clone(),
        required: constraint.when_unsatisfiable == "DoNotSchedule",
        selector,
        honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

/// An image's name as nodes report it: with a tag.
fn full_image(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || last.contains('@') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A pod named `name` (also its uid) out of its labels and spec.
    pub fn pod(name: &str, labels: Value, mut spec: Value) -> Arc<PodInfo> {
        spec["containers"] = match spec["containers"].take() {
            Value::Null => json!([{"name": "c"}]),
            given => given,
        };
        let meta = json!({"name": name, "namespace": "default", "uid": name, "labels": labels});
        let pod = serde_json::from_value(json!({"metadata": meta, "spec": spec})).expect("a pod");
        Arc::new(PodInfo::new(Arc::new(pod)))
    }

    #[test]
    fn what_is_read_of_a_pod() {
        let p = pod(
            "a",
            json!({"app": "web", "v": "1"}),
            json!({
                "priority": 7,
                "schedulingGates": [{"name": "g"}],
                "nodeSelector": {"disk": "ssd"},
                "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app": "web"}}, "matchLabelKeys": ["v"]}],
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "web"}}}]}},
                "containers": [{"name": "c", "image": "reg:5000/nginx", "ports": [
                    {"containerPort": 80, "hostPort": 8080, "hostIP": "0.0.0.0"}, {"containerPort": 81}]}],
            }),
        );
        assert_eq!(
            (p.priority, p.gated(), p.images.as_slice()),
            (7, true, ["reg:5000/nginx:latest".to_owned()].as_slice())
        );
        assert_eq!(
            p.ports,
            [HostPort {
                ip: String::new(),
                protocol: "TCP".into(),
                port: 8080
            }]
        );
        assert!(p.spread[0].required && p.spread[0].selector.matches(p.labels()));
        let other = pod("b", json!({"app": "web", "v": "2"}), json!({}));
        assert!(!p.spread[0].selector.matches(other.labels()));
        assert!(p.affinities.required_anti[0].matches("default", &None, other.labels()));
        assert!(!p.affinities.required_anti[0].matches("elsewhere", &None, other.labels()));
        assert!(
            p.node_demand
                .matches("n", &Some([("disk".to_owned(), "ssd".to_owned())].into()))
        );
        assert!(!p.node_demand.matches("n", &None));
    }

    #[test]
    fn an_affinity_without_a_term_that_makes_sense_matches_nothing() {
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}});
        assert!(
            !pod("a", json!({}), json!({"affinity": affinity}))
                .node_demand
                .matches("n", &None)
        );
    }
}
