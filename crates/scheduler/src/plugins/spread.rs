//! Spreads pods over zones, nodes or whatever nodes are labelled with: as a demand, or as a preference.

use std::{cell::Cell, collections::HashMap, sync::Arc};

use super::taints::may_come;
use crate::{
    cluster::{Cluster, NodeInfo, Topology},
    framework::{Events, Filter, MAX_SCORE, Plugin, Rejection, Score},
    labels::Selector,
    pod_info::{PodInfo, Spread},
};

pub struct PodTopologySpread;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// One constraint with what it counts.
struct Counted {
    spread: Spread,
    topology: Arc<Topology>,
    /// By class.
    mask: Vec<bool>,
    /// Matching pods by number of the topology's value; nothing for values that do not count.
    domains: Vec<Option<i64>>,
    /// Whether the pod itself is one of those that are counted.
    own: i64,
    /// What the least of the domains has, once it was asked for.
    least: Cell<Option<i64>>,
}

impl Counted {
    fn new(pod: &PodInfo, cluster: &Cluster, spread: Spread) -> Self {
        let meant = |c: &crate::cluster::Class| {
            !c.terminating && c.namespace == pod.key.namespace && spread.selector.matches(&c.labels)
        };
        let mask = cluster.class_mask(meant);
        let own = i64::from(spread.selector.matches(pod.labels()));
        let topology = cluster.topology(&spread.topology_key);
        Counted {
            spread,
            mask,
            domains: vec![None; topology.values],
            topology,
            own,
            least: Cell::new(None),
        }
    }

    fn on(&self, node: &NodeInfo) -> i64 {
        node.classes
            .iter()
            .filter(|(class, _)| self.mask[*class])
            .map(|(_, n)| n)
            .sum()
    }

    /// Whether pods on this node are counted at all.
    fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.spread.honor_affinity || pod.node_demand.matches(&node.name, node.labels()))
            && (!self.spread.honor_taints || may_come(pod.tolerations(), &node.taints))
    }

    /// How many domains count.
    fn size(&self) -> usize {
        self.domains.iter().flatten().count()
    }

    /// The node's domain, if it counts.
    fn domain(&mut self, node: &NodeInfo) -> Option<&mut i64> {
        self.domains.get_mut(self.topology.of(node)?)?.as_mut()
    }

    /// What the least of the domains has.
    fn least(&self) -> i64 {
        if let Some(known) = self.least.get() {
            return known;
        }
        let least = match (self.size() as i64) < self.spread.min_domains {
            true => 0,
            false => self.domains.iter().flatten().copied().min().unwrap_or(0),
        };
        self.least.set(Some(least));
        least
    }
}

fn has_all_keys(node: &NodeInfo, counted: &[Counted]) -> bool {
    counted.iter().all(|c| c.topology.of(node).is_some())
}

struct Hard<'a> {
    pod: &'a PodInfo,
    constraints: Vec<Counted>,
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn wakes(&self) -> Events {
        let nodes = Events::NODE_ADDED
            .and(Events::NODE_LABELS)
            .and(Events::NODE_TAINTS);
        nodes.and(Events::POD_GONE).and(Events::POD_PLACED)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, cluster: &'a Cluster) -> Option<Box<dyn Filter + 'a>> {
        let hard = pod.spread.iter().filter(|s| s.required).cloned();
        let mut constraints: Vec<Counted> = hard.map(|s| Counted::new(pod, cluster, s)).collect();
        if constraints.is_empty() {
            return None;
        }
        for node in cluster.nodes() {
            if !has_all_keys(node, &constraints) {
                continue;
            }
            for c in constraints.iter_mut().filter(|c| c.includes(pod, node)) {
                let count = c.on(node);
                if let Some(value) = c.topology.of(node) {
                    *c.domains[value].get_or_insert(0) += count;
                }
            }
        }
        Some(Box::new(Hard { pod, constraints }))
    }

    fn score<'a>(
        &self,
        pod: &'a PodInfo,
        cluster: &'a Cluster,
        feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let by_default = pod.spread.is_empty();
        let wanted = if by_default {
            default_spread(pod, cluster)
        } else {
            soft(pod)
        };
        if wanted.is_empty() {
            return None;
        }
        Some(Box::new(Soft::new(
            pod,
            cluster,
            feasible,
            wanted,
            !by_default,
        )))
    }

    fn weight(&self) -> i64 {
        2
    }
}

fn soft(pod: &PodInfo) -> Vec<Spread> {
    pod.spread.iter().filter(|s| !s.required).cloned().collect()
}

/// Pods of one Service or workload are spread without being asked to.
fn default_spread(pod: &PodInfo, cluster: &Cluster) -> Vec<Spread> {
    let owners = pod.pod.metadata.owner_references.iter().flatten();
    let owner = owners
        .filter(|o| o.controller == Some(true))
        .find_map(|o| cluster.workloads.get(&o.uid));
    let services = cluster.services.get(&pod.key.namespace);
    let serving = services
        .into_iter()
        .flat_map(HashMap::values)
        .filter(|s| s.matches(pod.labels()));
    let mut selector: Option<Selector> = None;
    for part in serving.chain(owner.map(|w| &w.selector)) {
        match &mut selector {
            None => selector = Some(part.clone()),
            Some(all) => all.narrow(part.clone()),
        }
    }
    let Some(selector) = selector.filter(|s| !s.is_empty()) else {
        return Vec::new();
    };
    let over = |topology_key: &str, max_skew| Spread {
        max_skew,
        min_domains: 1,
        topology_key: topology_key.to_owned(),
        required: false,
        selector: selector.clone(),
        honor_affinity: true,
        honor_taints: false,
    };
    vec![over(ZONE, 3), over(HOSTNAME, 5)]
}

impl Filter for Hard<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        for c in &self.constraints {
            let Some(value) = c.topology.of(node) else {
                let words =
                    "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Rejection::always(words));
            };
            let count = c.domains[value].unwrap_or(0);
            if count + c.own - c.least() > c.spread.max_skew {
                return Err(Rejection::now(
                    "node(s) didn't match pod topology spread constraints",
                ));
            }
        }
        Ok(())
    }

    fn without(&mut self, other: &PodInfo, node: &NodeInfo) {
        self.suppose(other, node, -1);
    }

    fn with(&mut self, other: &PodInfo, node: &NodeInfo) {
        self.suppose(other, node, 1);
    }
}

impl Hard<'_> {
    fn suppose(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        if other.key.namespace != self.pod.key.namespace
            || other.terminating()
            || !has_all_keys(node, &self.constraints)
        {
            return;
        }
        let pod = self.pod;
        for c in self
            .constraints
            .iter_mut()
            .filter(|c| c.spread.selector.matches(other.labels()))
        {
            if c.includes(pod, node)
                && let Some(count) = c.domain(node)
            {
                *count += by;
                c.least.set(None);
            }
        }
    }
}

/// A score that no node has, for nodes that the constraints do not speak of.
const IGNORED: i64 = i64::MIN;

struct Soft {
    constraints: Vec<(Counted, f64)>,
    /// Whether nodes without all topology keys are left out.
    need_keys: bool,
}

impl Soft {
    fn new(
        pod: &PodInfo,
        cluster: &Cluster,
        feasible: &[usize],
        wanted: Vec<Spread>,
        need_keys: bool,
    ) -> Self {
        let mut counted: Vec<Counted> = wanted
            .into_iter()
            .map(|s| Counted::new(pod, cluster, s))
            .collect();
        let usable = |n: &NodeInfo, counted: &[Counted]| !need_keys || has_all_keys(n, counted);
        let mut hosts = 0;
        for &i in feasible {
            let node = &cluster.nodes()[i];
            if !usable(node, &counted) {
                continue;
            }
            hosts += 1;
            for c in counted
                .iter_mut()
                .filter(|c| c.spread.topology_key != HOSTNAME)
            {
                if let Some(value) = c.topology.of(node) {
                    c.domains[value].get_or_insert(0);
                }
            }
        }
        for node in cluster.nodes() {
            if !usable(node, &counted) {
                continue;
            }
            for c in counted.iter_mut().filter(|c| c.includes(pod, node)) {
                let count = c.on(node);
                if let Some(sum) = c.domain(node) {
                    *sum += count;
                }
            }
        }
        // The more domains there are, the less one pod more in one of them weighs.
        let weigh = |c: Counted| {
            let size = if c.spread.topology_key == HOSTNAME {
                hosts
            } else {
                c.size()
            };
            (c, (size as f64 + 2.0).ln())
        };
        Soft {
            constraints: counted.into_iter().map(weigh).collect(),
            need_keys,
        }
    }
}

impl Score for Soft {
    fn score(&self, node: &NodeInfo) -> i64 {
        let mut sum = 0.0;
        for (c, weight) in &self.constraints {
            let Some(value) = c.topology.of(node) else {
                if self.need_keys {
                    return IGNORED;
                }
                continue;
            };
            let count = if c.spread.topology_key == HOSTNAME {
                c.on(node)
            } else {
                c.domains[value].unwrap_or(0)
            };
            sum += count as f64 * weight + (c.spread.max_skew - 1) as f64;
        }
        sum.round() as i64
    }

    fn normalize(&self, _: &Cluster, _: &[usize], scores: &mut [i64]) {
        let counted = || scores.iter().copied().filter(|s| *s != IGNORED);
        let (min, max) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
        for score in scores {
            *score = match (*score, max) {
                (IGNORED, _) => 0,
                (_, 0) => MAX_SCORE,
                (s, max) => MAX_SCORE * (max + min - s) / max,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Workload, tests::node},
        pod_info::tests::pod,
    };
    use serde_json::{Value, json};

    /// Nodes a1, a2 in zone a, b1 in zone b, x in none.
    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
            cluster.set_node(node(name, json!({ZONE: zone, HOSTNAME: name}), json!({})));
        }
        cluster.set_node(node("x", json!({HOSTNAME: "x"}), json!({})));
        cluster
    }

    fn constrained(constraint: Value) -> std::sync::Arc<PodInfo> {
        let mut full = json!({"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        full.as_object_mut()
            .unwrap()
            .extend(constraint.as_object().unwrap().clone());
        pod(
            "p",
            json!({"app": "web"}),
            json!({"topologySpreadConstraints": [full]}),
        )
    }

    fn passing(cluster: &Cluster, p: &PodInfo) -> Vec<String> {
        let filter = PodTopologySpread.filter(p, cluster).unwrap();
        cluster
            .nodes()
            .iter()
            .filter(|n| filter.check(n).is_ok())
            .map(|n| n.name.clone())
            .collect()
    }

    fn scores(cluster: &Cluster, p: &PodInfo) -> Vec<i64> {
        let feasible: Vec<usize> = (0..cluster.nodes().len()).collect();
        let score = PodTopologySpread.score(p, cluster, &feasible).unwrap();
        let mut scores: Vec<i64> = cluster.nodes().iter().map(|n| score.score(n)).collect();
        score.normalize(cluster, &feasible, &mut scores);
        scores
    }

    #[test]
    fn skew() {
        let mut c = cluster();
        let web = |name| pod(name, json!({"app": "web"}), json!({}));
        assert_eq!(passing(&c, &constrained(json!({}))), ["a1", "a2", "b1"]);
        c.place(web("1"), "a1");
        assert_eq!(passing(&c, &constrained(json!({}))), ["b1"]);
        assert_eq!(
            passing(&c, &constrained(json!({"maxSkew": 2}))),
            ["a1", "a2", "b1"]
        );
        // Fewer domains than asked for: the least counts as nothing.
        c.place(web("2"), "b1");
        assert_eq!(
            passing(&c, &constrained(json!({"minDomains": 3}))),
            Vec::<String>::new()
        );
        // Others than those selected do not count.
        c.place(pod("3", json!({"app": "db"}), json!({})), "a2");
        assert_eq!(passing(&c, &constrained(json!({}))), ["a1", "a2", "b1"]);
    }

    #[test]
    fn supposing_a_pod_away() {
        let mut c = cluster();
        let one = pod("1", json!({"app": "web"}), json!({}));
        c.place(one.clone(), "a1");
        let p = constrained(json!({}));
        let mut filter = PodTopologySpread.filter(&p, &c).unwrap();
        let a1 = &c.nodes()[0];
        assert!(filter.check(a1).is_err());
        filter.without(&one, a1);
        assert!(filter.check(a1).is_ok());
        filter.with(&one, a1);
        assert!(filter.check(a1).is_err());
    }

    #[test]
    fn preferences_score_emptier_domains_higher() {
        let mut c = cluster();
        c.place(pod("1", json!({"app": "web"}), json!({})), "a1");
        let p = constrained(json!({"whenUnsatisfiable": "ScheduleAnyway"}));
        let s = scores(&c, &p);
        assert!(s[2] > s[0] && s[0] == s[1] && s[3] == 0, "{s:?}");
    }

    #[test]
    fn pods_of_one_workload_spread_by_default() {
        let mut c = cluster();
        let plain = pod("p", json!({"app": "web"}), json!({}));
        assert!(PodTopologySpread.score(&plain, &c, &[0, 1, 2, 3]).is_none());
        let selector = Selector::equal(plain.labels().iter().flatten());
        c.services.insert(
            "default".into(),
            [("svc".to_owned(), selector.clone())].into(),
        );
        c.place(pod("1", json!({"app": "web"}), json!({})), "a1");
        let s = scores(&c, &plain);
        assert!(s[2] > s[1] && s[1] > s[0], "{s:?}");
        c.services.clear();
        c.workloads.insert("rs".into(), Workload { selector });
        assert!(PodTopologySpread.score(&plain, &c, &[0, 1, 2, 3]).is_none());
    }
}
