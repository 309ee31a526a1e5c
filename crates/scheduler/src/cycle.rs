//! One attempt at one pod: filter, score, choose. Pure but for chance among equals.

use std::fmt::Write;

use rand::Rng;

use crate::{
    cluster::{Cluster, NodeInfo},
    framework::{Events, Filter, Plugin, Reason, Rejection},
    pod_info::PodInfo,
};

/// With fewer nodes than this all are looked at.
const ALL_OF: usize = 100;

/// Why no node does.
#[derive(Debug, Default)]
pub struct Diagnosis {
    pub nodes: usize,
    /// How many nodes were turned down for each reason.
    pub reasons: Vec<(Reason, usize)>,
    /// What may change that.
    pub wakes: Events,
    /// Indices of nodes that could do if pods on them went away.
    pub candidates: Vec<usize>,
    /// What preemption came to.
    pub preemption: Option<String>,
}

impl Diagnosis {
    fn count(&mut self, reason: Reason) {
        match self.reasons.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, n)) => *n += 1,
            None => self.reasons.push((reason, 1)),
        }
    }

    /// As `kubectl describe` shows it.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut parts: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, n)| format!("{n} {reason}"))
            .collect();
        parts.sort();
        let mut out = format!(
            "0/{} nodes are available: {}.",
            self.nodes,
            parts.join(", ")
        );
        if let Some(preemption) = &self.preemption {
            // Writing to a string cannot fail.
            let _ = write!(out, " preemption: {preemption}");
        }
        out
    }
}

/// The rules and where the last attempt left off.
pub struct Pipeline {
    pub plugins: Vec<Box<dyn Plugin>>,
    /// Where to begin to look, so that each node gets its turn.
    start: usize,
    totals: Vec<i64>,
    scores: Vec<i64>,
    feasible: Vec<usize>,
}

/// Of many nodes only a share is looked for: the best of many is hardly better than the best of all.
fn enough(nodes: usize) -> usize {
    if nodes < ALL_OF {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(ALL_OF)
}

impl Pipeline {
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Pipeline {
            plugins,
            start: 0,
            totals: Vec::new(),
            scores: Vec::new(),
            feasible: Vec::new(),
        }
    }

    /// The filters that have something to say about this pod, with the plugins that they are of.
    pub fn filters<'a>(
        &self,
        pod: &'a PodInfo,
        cluster: &'a Cluster,
    ) -> Vec<(usize, Box<dyn Filter + 'a>)> {
        let all = self.plugins.iter().enumerate();
        all.filter_map(|(i, p)| Some((i, p.filter(pod, cluster)?)))
            .collect()
    }

    /// The index of the best node.
    ///
    /// # Errors
    /// Why none does.
    pub fn schedule(&mut self, pod: &PodInfo, cluster: &Cluster) -> Result<usize, Diagnosis> {
        self.find(pod, cluster)?;
        Ok(match self.feasible.as_slice() {
            [only] => *only,
            _ => self.best(pod, cluster),
        })
    }

    /// Fills `feasible`.
    fn find(&mut self, pod: &PodInfo, cluster: &Cluster) -> Result<(), Diagnosis> {
        let nodes = cluster.nodes();
        let mut diagnosis = Diagnosis {
            nodes: nodes.len(),
            wakes: Events::NODE_ADDED,
            ..Diagnosis::default()
        };
        self.feasible.clear();
        let filters = self.filters(pod, cluster);
        let named = pod.node_demand.only_names();
        let wanted = if named.is_some() {
            nodes.len()
        } else {
            enough(nodes.len())
        };
        // A pod that names its nodes (as those of DaemonSets do) need not look at others.
        let order: Box<dyn Iterator<Item = usize>> = match &named {
            Some(names) => Box::new(names.iter().filter_map(|n| cluster.index(n))),
            None => Box::new((0..nodes.len()).map(|i| (self.start + i) % nodes.len())),
        };
        let mut looked = 0;
        for i in order {
            looked += 1;
            match first_refusal(&filters, pod, cluster, &nodes[i]) {
                None => {
                    self.feasible.push(i);
                    if self.feasible.len() >= wanted {
                        break;
                    }
                }
                Some((plugin, rejection)) => {
                    diagnosis.wakes = diagnosis.wakes.and(self.plugins[plugin].wakes());
                    if rejection.resolvable {
                        diagnosis.candidates.push(i);
                    }
                    rejection
                        .reasons
                        .into_iter()
                        .for_each(|r| diagnosis.count(r));
                }
            }
        }
        if named.is_none() && !nodes.is_empty() {
            self.start = (self.start + looked) % nodes.len();
        }
        if !self.feasible.is_empty() {
            return Ok(());
        }
        // Nodes that were not looked at, since the pod names others, are turned down like those.
        for _ in looked..nodes.len() {
            diagnosis.wakes = diagnosis.wakes.and(Events::NODE_LABELS);
            diagnosis.count(Reason::Text(
                "node(s) didn't match Pod's node affinity/selector",
            ));
        }
        Err(diagnosis)
    }

    fn best(&mut self, pod: &PodInfo, cluster: &Cluster) -> usize {
        let Pipeline {
            plugins,
            totals,
            scores,
            feasible,
            ..
        } = self;
        totals.clear();
        totals.resize(feasible.len(), 0);
        for plugin in plugins.iter() {
            let Some(score) = plugin.score(pod, cluster, feasible) else {
                continue;
            };
            scores.clear();
            scores.extend(feasible.iter().map(|i| score.score(&cluster.nodes()[*i])));
            score.normalize(cluster, feasible, scores);
            for (total, score) in totals.iter_mut().zip(scores.iter()) {
                *total += score * plugin.weight();
            }
        }
        feasible[highest(totals)]
    }
}

/// The first filter's refusal, with the plugin that it is of.
fn first_refusal(
    filters: &[(usize, Box<dyn Filter + '_>)],
    pod: &PodInfo,
    cluster: &Cluster,
    node: &NodeInfo,
) -> Option<(usize, Rejection)> {
    let refusal = |node: &NodeInfo| {
        filters
            .iter()
            .find_map(|(plugin, f)| Some((*plugin, f.check(node).err()?)))
    };
    refusal(node).or_else(|| refusal(&cluster.with_nominated(node, pod)?))
}

/// The index of the highest; of several one by chance, so that equals share the load.
fn highest(totals: &[i64]) -> usize {
    let mut rng = rand::rng();
    let (mut best, mut equals) = (0, 1u32);
    for (i, total) in totals.iter().enumerate().skip(1) {
        if *total > totals[best] {
            (best, equals) = (i, 1);
        } else if *total == totals[best] {
            equals += 1;
            if rng.random_range(0..equals) == 0 {
                best = i;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::tests::node, plugins, pod_info::tests::pod};
    use serde_json::json;

    fn pipeline() -> Pipeline {
        Pipeline::new(plugins::all())
    }

    #[test]
    fn why_no_node_does() {
        let mut cluster = Cluster::default();
        let big = pod(
            "big",
            json!({}),
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "3", "memory": "9Gi"}}}]}),
        );
        let told = |cluster: &Cluster, p: &PodInfo| pipeline().schedule(p, cluster).unwrap_err();
        assert_eq!(
            told(&cluster, &big).message(),
            "no nodes available to schedule pods"
        );
        cluster.set_node(node("a", json!({}), json!({})));
        cluster.set_node(node(
            "b",
            json!({}),
            json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}),
        ));
        cluster.set_node(node("c", json!({}), json!({"unschedulable": true})));
        cluster.place(
            pod(
                "x",
                json!({}),
                json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}),
            ),
            "a",
        );
        let mut why = told(&cluster, &big);
        let words = "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.";
        assert_eq!(why.message(), words);
        assert!(why.candidates.is_empty());
        why.preemption =
            Some("0/3 nodes are available: 3 Preemption is not helpful for scheduling.".into());
        assert!(why.message().ends_with("schedulable. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."));

        let named = json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]});
        let daemon = pod(
            "d",
            json!({}),
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": named}}}),
        );
        let words = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match Pod's node affinity/selector.";
        assert_eq!(told(&cluster, &daemon).message(), words);
    }

    #[test]
    fn pods_go_where_there_is_most_room() {
        let mut cluster = Cluster::default();
        for name in ["a", "b", "c"] {
            cluster.set_node(node(name, json!({}), json!({})));
        }
        let mut pipeline = pipeline();
        for i in 0..12 {
            let p = pod(
                &format!("p{i}"),
                json!({}),
                json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}),
            );
            let at = pipeline.schedule(&p, &cluster).unwrap();
            let name = cluster.nodes()[at].name.clone();
            cluster.place(p, &name);
        }
        assert!(cluster.nodes().iter().all(|n| n.pods.len() == 4));
        let one_more = pod(
            "one",
            json!({}),
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}),
        );
        let why = pipeline.schedule(&one_more, &cluster).unwrap_err();
        assert_eq!(
            (why.message().as_str(), why.candidates.len()),
            ("0/3 nodes are available: 3 Insufficient cpu.", 3)
        );
        assert!(why.wakes.meets(Events::POD_GONE) && !why.wakes.meets(Events::NODE_TAINTS));
    }

    #[test]
    fn room_made_for_the_more_important_is_left_to_them() {
        let mut cluster = Cluster::default();
        cluster.set_node(node("a", json!({}), json!({})));
        let asking = |name: &str, priority: i32| {
            let containers = json!([{"name": "c", "resources": {"requests": {"cpu": "3"}}}]);
            pod(
                name,
                json!({}),
                json!({"priority": priority, "containers": containers}),
            )
        };
        cluster.nominate(asking("waits", 10), "a");
        let fits = |cluster: &Cluster, p: &PodInfo| pipeline().schedule(p, cluster).is_ok();
        assert!(!fits(&cluster, &asking("low", 5)));
        assert!(fits(&cluster, &asking("high", 20)));
        assert!(fits(&cluster, &asking("waits", 10)));
        cluster.denominate("waits");
        assert!(fits(&cluster, &asking("low", 5)));
    }

    #[test]
    fn of_many_nodes_a_share() {
        assert_eq!(
            [50, 99, 100, 1000, 5000, 100_000].map(enough),
            [50, 99, 100, 420, 500, 5000]
        );
    }

    #[test]
    fn the_highest_wins_and_equals_share() {
        assert_eq!(highest(&[1, 5, 3]), 1);
        let mut seen = [0; 3];
        (0..300).for_each(|_| seen[highest(&[7, 1, 7])] += 1);
        assert!(seen[0] > 50 && seen[1] == 0 && seen[2] > 50);
    }
}
