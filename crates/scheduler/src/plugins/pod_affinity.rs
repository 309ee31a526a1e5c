//! Brings pods near to others or keeps them apart, as either side asks.

use std::collections::HashMap;

use crate::{
    cluster::{Class, Cluster, NodeInfo},
    framework::{Events, Filter, MAX_SCORE, Plugin, Rejection, Score},
    pod_info::{PodInfo, Term},
};

pub struct InterPodAffinity;

/// Counts of places: by topology key, of which there are few, then by value, of which there may be one a node.
#[derive(Default)]
struct Places<'a>(Vec<(&'a str, HashMap<&'a str, i64>)>);

impl<'a> Places<'a> {
    fn add(&mut self, node: &'a NodeInfo, key: &'a str, by: i64) {
        let Some(value) = node.label(key).filter(|_| by != 0) else {
            return;
        };
        let i = match self.0.iter().position(|(k, _)| *k == key) {
            Some(i) => i,
            None => {
                self.0.push((key, HashMap::new()));
                self.0.len() - 1
            }
        };
        *self.0[i].1.entry(value).or_default() += by;
    }

    /// The count of the node's place in one topology.
    fn at(&self, node: &NodeInfo, key: &str) -> i64 {
        let Some((_, counts)) = self.0.iter().find(|(k, _)| *k == key) else {
            return 0;
        };
        node.label(key)
            .and_then(|v| counts.get(v))
            .copied()
            .unwrap_or(0)
    }

    /// The counts of the node's places in all topologies.
    fn all_at(&self, node: &NodeInfo) -> impl Iterator<Item = i64> {
        self.0
            .iter()
            .filter_map(|(key, counts)| counts.get(node.label(key)?).copied())
    }

    /// Changes a count; only of a place that is counted already.
    fn change(&mut self, node: &NodeInfo, key: &str, by: i64) {
        let counts = self
            .0
            .iter_mut()
            .find(|(k, _)| *k == key)
            .map(|(_, counts)| counts);
        if let (Some(counts), Some(value)) = (counts, node.label(key))
            && let Some(count) = counts.get_mut(value)
        {
            *count += by;
        }
    }

    fn none_counted(&self) -> bool {
        self.0
            .iter()
            .all(|(_, counts)| counts.values().all(|n| *n == 0))
    }
}

fn meant(term: &Term, cluster: &Cluster, class: &Class) -> bool {
    term.matches(
        &class.namespace,
        cluster.namespace_labels(&class.namespace),
        &class.labels,
    )
}

fn meant_pod(term: &Term, cluster: &Cluster, pod: &PodInfo) -> bool {
    term.matches(
        &pod.key.namespace,
        cluster.namespace_labels(&pod.key.namespace),
        pod.labels(),
    )
}

fn count_on(node: &NodeInfo, mask: &[bool]) -> i64 {
    node.classes
        .iter()
        .filter(|(class, _)| mask[*class])
        .map(|(_, n)| n)
        .sum()
}

struct Rules<'a> {
    pod: &'a PodInfo,
    cluster: &'a Cluster,
    /// Pods that all required terms mean.
    wanted: Places<'a>,
    /// Pods that a required anti-affinity term means.
    shunned: Places<'a>,
    /// Pods whose anti-affinity means this pod.
    shunning: Places<'a>,
    /// Whether the pod is of those that its own affinity asks for: the first of them may go anywhere.
    own: bool,
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn wakes(&self) -> Events {
        let pods = Events::POD_GONE
            .and(Events::POD_PLACED)
            .and(Events::NAMESPACE);
        pods.and(Events::NODE_ADDED).and(Events::NODE_LABELS)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, cluster: &'a Cluster) -> Option<Box<dyn Filter + 'a>> {
        let own = &pod.affinities;
        if own.required.is_empty()
            && own.required_anti.is_empty()
            && cluster.with_anti_affinity == 0
        {
            return None;
        }
        let mut rules = Rules {
            pod,
            cluster,
            wanted: Places::default(),
            shunned: Places::default(),
            shunning: Places::default(),
            own: own.required.iter().all(|t| meant_pod(t, cluster, pod)),
        };
        rules.count_own();
        rules.count_others();
        Some(Box::new(rules))
    }

    fn score<'a>(
        &self,
        pod: &'a PodInfo,
        cluster: &'a Cluster,
        _: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let own = &pod.affinities;
        if own.preferred.is_empty() && own.preferred_anti.is_empty() && cluster.with_affinity == 0 {
            return None;
        }
        let mut places = Places::default();
        for (terms, sign) in [(&own.preferred, 1), (&own.preferred_anti, -1)] {
            for (weight, term) in terms {
                let mask = cluster.class_mask(|c| meant(term, cluster, c));
                for node in cluster.nodes() {
                    places.add(
                        node,
                        &term.topology_key,
                        sign * weight * count_on(node, &mask),
                    );
                }
            }
        }
        for node in cluster.nodes().iter().filter(|n| n.with_affinity > 0) {
            for other in node.pods.iter().filter(|p| !p.affinities.is_empty()) {
                wishes_of(other, pod, cluster, node, &mut places);
            }
        }
        (!places.0.is_empty()).then(|| Box::new(Near(places)) as Box<dyn Score>)
    }

    fn weight(&self) -> i64 {
        2
    }
}

/// What the pods that are there think of the one that comes.
fn wishes_of<'a>(
    other: &'a PodInfo,
    pod: &PodInfo,
    cluster: &Cluster,
    node: &'a NodeInfo,
    places: &mut Places<'a>,
) {
    let theirs = &other.affinities;
    for term in theirs
        .required
        .iter()
        .filter(|t| meant_pod(t, cluster, pod))
    {
        places.add(node, &term.topology_key, 1);
    }
    for (terms, sign) in [(&theirs.preferred, 1), (&theirs.preferred_anti, -1)] {
        for (weight, term) in terms.iter().filter(|(_, t)| meant_pod(t, cluster, pod)) {
            places.add(node, &term.topology_key, sign * weight);
        }
    }
}

impl<'a> Rules<'a> {
    fn count_own(&mut self) {
        let (cluster, own) = (self.cluster, &self.pod.affinities);
        if !own.required.is_empty() {
            let mask = cluster.class_mask(|c| own.required.iter().all(|t| meant(t, cluster, c)));
            for node in cluster.nodes() {
                let count = count_on(node, &mask);
                for term in &own.required {
                    self.wanted.add(node, &term.topology_key, count);
                }
            }
        }
        for term in &own.required_anti {
            let mask = cluster.class_mask(|c| meant(term, cluster, c));
            for node in cluster.nodes() {
                self.shunned
                    .add(node, &term.topology_key, count_on(node, &mask));
            }
        }
    }

    fn count_others(&mut self) {
        if self.cluster.with_anti_affinity == 0 {
            return;
        }
        for node in self
            .cluster
            .nodes()
            .iter()
            .filter(|n| n.with_anti_affinity > 0)
        {
            for other in &node.pods {
                for term in other
                    .affinities
                    .required_anti
                    .iter()
                    .filter(|t| meant_pod(t, self.cluster, self.pod))
                {
                    self.shunning.add(node, &term.topology_key, 1);
                }
            }
        }
    }

    fn suppose(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        let (cluster, own) = (self.cluster, &self.pod.affinities);
        if own.required.iter().all(|t| meant_pod(t, cluster, other)) {
            own.required
                .iter()
                .for_each(|t| self.wanted.change(node, &t.topology_key, by));
        }
        for term in own
            .required_anti
            .iter()
            .filter(|t| meant_pod(t, cluster, other))
        {
            self.shunned.change(node, &term.topology_key, by);
        }
        for term in other
            .affinities
            .required_anti
            .iter()
            .filter(|t| meant_pod(t, cluster, self.pod))
        {
            self.shunning.change(node, &term.topology_key, by);
        }
    }
}

impl Filter for Rules<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let own = &self.pod.affinities;
        let keyed = own
            .required
            .iter()
            .all(|t| node.label(&t.topology_key).is_some());
        let near = || {
            own.required
                .iter()
                .all(|t| self.wanted.at(node, &t.topology_key) > 0)
        };
        let first = || self.own && self.wanted.none_counted();
        if !own.required.is_empty() && !(keyed && (near() || first())) {
            return Err(Rejection::always("node(s) didn't match pod affinity rules"));
        }
        if own
            .required_anti
            .iter()
            .any(|t| self.shunned.at(node, &t.topology_key) > 0)
        {
            return Err(Rejection::now(
                "node(s) didn't match pod anti-affinity rules",
            ));
        }
        if self.shunning.all_at(node).any(|n| n > 0) {
            return Err(Rejection::now(
                "node(s) didn't satisfy existing pods anti-affinity rules",
            ));
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

struct Near<'a>(Places<'a>);

impl Score for Near<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.0.all_at(node).sum()
    }

    fn normalize(&self, _: &Cluster, _: &[usize], scores: &mut [i64]) {
        let (min, max) = (
            scores.iter().copied().min().unwrap_or(0),
            scores.iter().copied().max().unwrap_or(0),
        );
        for score in scores {
            *score = if max > min {
                MAX_SCORE * (*score - min) / (max - min)
            } else {
                0
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::tests::node, pod_info::tests::pod};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
            cluster.set_node(node(name, json!({"zone": zone, "host": name}), json!({})));
        }
        cluster
    }

    fn term(app: &str, key: &str) -> Value {
        json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
    }

    fn affine(name: &str, app: &str, kind: &str, when: &str, terms: Value) -> Arc<PodInfo> {
        pod(
            name,
            json!({"app": app}),
            json!({"affinity": {kind: {when: terms}}}),
        )
    }

    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

    fn passing(cluster: &Cluster, p: &PodInfo) -> Vec<String> {
        let Some(filter) = InterPodAffinity.filter(p, cluster) else {
            return vec!["all".into()];
        };
        cluster
            .nodes()
            .iter()
            .filter(|n| filter.check(n).is_ok())
            .map(|n| n.name.clone())
            .collect()
    }

    #[test]
    fn required_affinity() {
        let mut c = cluster();
        let near_db = affine(
            "p",
            "web",
            "podAffinity",
            REQUIRED,
            json!([term("db", "zone")]),
        );
        assert!(passing(&c, &near_db).is_empty());
        c.place(pod("db", json!({"app": "db"}), json!({})), "a1");
        assert_eq!(passing(&c, &near_db), ["a1", "a2"]);
        // The first of a group that wants to be together may go anywhere.
        let first = affine(
            "p",
            "web",
            "podAffinity",
            REQUIRED,
            json!([term("web", "zone")]),
        );
        assert_eq!(passing(&c, &first), ["a1", "a2", "b1"]);
        let nowhere = affine(
            "p",
            "web",
            "podAffinity",
            REQUIRED,
            json!([term("web", "rack")]),
        );
        assert!(passing(&c, &nowhere).is_empty());
    }

    #[test]
    fn required_anti_affinity_holds_both_ways() {
        let mut c = cluster();
        let alone = affine(
            "p",
            "web",
            "podAntiAffinity",
            REQUIRED,
            json!([term("web", "host")]),
        );
        let plain = pod("q", json!({"app": "web"}), json!({}));
        assert_eq!(passing(&c, &plain), ["all"]);
        c.place(alone.clone(), "a1");
        assert_eq!(passing(&c, &plain), ["a2", "b1"]);
        let other = affine(
            "r",
            "web",
            "podAntiAffinity",
            REQUIRED,
            json!([term("web", "host")]),
        );
        assert_eq!(passing(&c, &other), ["a2", "b1"]);
        assert_eq!(
            passing(&c, &pod("s", json!({"app": "db"}), json!({}))),
            ["a1", "a2", "b1"]
        );

        let mut filter = InterPodAffinity.filter(&plain, &c).unwrap();
        filter.without(&alone, &c.nodes()[0]);
        assert!(filter.check(&c.nodes()[0]).is_ok());
    }

    #[test]
    fn preferences() {
        let mut c = cluster();
        c.place(pod("db", json!({"app": "db"}), json!({})), "b1");
        let wish = json!([{"weight": 10, "podAffinityTerm": term("db", "zone")}]);
        let p = affine("p", "web", "podAffinity", PREFERRED, wish);
        let scores = |c: &Cluster, p: &PodInfo| {
            let score = InterPodAffinity.score(p, c, &[0, 1, 2]).unwrap();
            let mut all: Vec<i64> = c.nodes().iter().map(|n| score.score(n)).collect();
            score.normalize(c, &[0, 1, 2], &mut all);
            all
        };
        assert_eq!(scores(&c, &p), [0, 0, 100]);
        // What those that are there wish for counts as well.
        c.place(p, "a1");
        assert_eq!(
            scores(&c, &pod("new", json!({"app": "db"}), json!({}))),
            [100, 100, 0]
        );
    }
}
