//! A node must have what a pod asks for; of those that do, the one with most left is best.

use smallvec::SmallVec;

use crate::{
    cluster::{Cluster, NodeInfo},
    framework::{Events, Filter, MAX_SCORE, Plugin, Reason, Rejection, Score},
    pod_info::PodInfo,
    resources::{Requests, Resources},
};

pub struct NodeResourcesFit;

struct Fit<'a>(&'a Requests);

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn wakes(&self) -> Events {
        Events::NODE_ADDED
            .and(Events::NODE_RESOURCES)
            .and(Events::POD_GONE)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _: &'a Cluster) -> Option<Box<dyn Filter + 'a>> {
        Some(Box::new(Fit(&pod.requests)))
    }

    fn score<'a>(
        &self,
        pod: &'a PodInfo,
        _: &'a Cluster,
        _: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        Some(Box::new(Fit(&pod.requests)))
    }
}

impl Filter for Fit<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        let (asked, used, all) = (&self.0.exact, &node.requested, &node.allocatable);
        let fits = |asked: i64, used: i64, all: i64| asked == 0 || asked <= all - used;
        let room = (node.pods.len() as i64) < node.max_pods;
        if room
            && fits(asked.cpu, used.cpu, all.cpu)
            && fits(asked.memory, used.memory, all.memory)
            && fits(asked.ephemeral, used.ephemeral, all.ephemeral)
            && asked
                .others
                .iter()
                .all(|(n, a)| fits(*a, used.other(n), all.other(n)))
        {
            return Ok(());
        }
        Err(refusal(room, asked, used, all))
    }
}

fn refusal(room: bool, asked: &Resources, used: &Resources, all: &Resources) -> Rejection {
    let mut reasons = SmallVec::new();
    // More than the node has at all: nobody leaving would help.
    let mut resolvable = true;
    let mut check = |name: &str, asked: i64, used: i64, all: i64| {
        if asked != 0 && asked > all - used {
            reasons.push(Reason::Insufficient(name.into()));
            resolvable &= asked <= all;
        }
    };
    check("cpu", asked.cpu, used.cpu, all.cpu);
    check("memory", asked.memory, used.memory, all.memory);
    check(
        "ephemeral-storage",
        asked.ephemeral,
        used.ephemeral,
        all.ephemeral,
    );
    for (name, amount) in &asked.others {
        check(name, *amount, used.other(name), all.other(name));
    }
    if !room {
        reasons.insert(0, Reason::Text("Too many pods"));
    }
    Rejection {
        reasons,
        resolvable,
    }
}

impl Score for Fit<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let free = |asked: i64, used: i64, all: i64| match all {
            0 => None,
            all if asked + used > all => Some(0),
            all => Some((all - asked - used) * MAX_SCORE / all),
        };
        let cpu = free(self.0.floored.0, node.floored.0, node.allocatable.cpu);
        let memory = free(self.0.floored.1, node.floored.1, node.allocatable.memory);
        let both = [cpu, memory];
        let count = both.iter().flatten().count() as i64;
        if count == 0 {
            0
        } else {
            both.iter().flatten().sum::<i64>() / count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::tests::node, pod_info::tests::pod};
    use serde_json::{Value, json};

    fn asking(name: &str, requests: Value) -> std::sync::Arc<PodInfo> {
        pod(
            name,
            json!({}),
            json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}),
        )
    }

    fn told(cluster: &Cluster, p: &PodInfo) -> String {
        let filter = NodeResourcesFit.filter(p, cluster).unwrap();
        match filter.check(&cluster.nodes()[0]) {
            Ok(()) => "fits".into(),
            Err(r) => {
                let words: Vec<String> = r.reasons.iter().map(ToString::to_string).collect();
                format!(
                    "{} {}",
                    words.join(", "),
                    if r.resolvable { "now" } else { "always" }
                )
            }
        }
    }

    #[test]
    fn fitting() {
        let mut cluster = Cluster::default();
        cluster.set_node(node("n", json!({}), json!({})));
        cluster.place(asking("big", json!({"cpu": "3", "memory": "1Gi"})), "n");
        let table = [
            (json!({"cpu": "1"}), "fits"),
            (json!({"cpu": "1001m"}), "Insufficient cpu now"),
            (json!({"cpu": "5"}), "Insufficient cpu always"),
            (
                json!({"cpu": "2", "memory": "8Gi"}),
                "Insufficient cpu, Insufficient memory now",
            ),
            (
                json!({"ephemeral-storage": "11Gi"}),
                "Insufficient ephemeral-storage always",
            ),
            (
                json!({"example.com/gpu": "1"}),
                "Insufficient example.com/gpu always",
            ),
            (json!({}), "fits"),
        ];
        for (requests, want) in table {
            assert_eq!(
                told(&cluster, &asking("p", requests.clone())),
                want,
                "{requests}"
            );
        }
        for i in 0..109 {
            cluster.place(asking(&format!("p{i}"), json!({})), "n");
        }
        assert_eq!(told(&cluster, &asking("p", json!({}))), "Too many pods now");
    }

    #[test]
    fn the_emptier_node_scores_higher() {
        let mut cluster = Cluster::default();
        cluster.set_node(node("a", json!({}), json!({})));
        cluster.set_node(node("b", json!({}), json!({})));
        cluster.place(asking("x", json!({"cpu": "2", "memory": "4Gi"})), "a");
        let p = asking("p", json!({"cpu": "1", "memory": "1Gi"}));
        let score = NodeResourcesFit.score(&p, &cluster, &[]).unwrap();
        let scores: Vec<i64> = cluster.nodes().iter().map(|n| score.score(n)).collect();
        assert_eq!(scores, [(25 + 37) / 2, (75 + 87) / 2]);
    }
}
