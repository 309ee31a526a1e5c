//! Prefers nodes whose cpu and memory fill up alike.

use crate::{
    cluster::{Cluster, NodeInfo},
    framework::{MAX_SCORE, Plugin, Score},
    pod_info::PodInfo,
    resources::Resources,
};

pub struct BalancedAllocation;

struct Of<'a>(&'a Resources);

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score<'a>(
        &self,
        pod: &'a PodInfo,
        _: &'a Cluster,
        _: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let asked = &pod.requests.exact;
        // A pod that asks for nothing changes no balance.
        (asked.cpu > 0 || asked.memory > 0).then(|| Box::new(Of(asked)) as Box<dyn Score>)
    }
}

impl Score for Of<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let share = |asked: i64, used: i64, all: i64| {
            if all == 0 {
                0.0
            } else {
                ((asked + used) as f64 / all as f64).min(1.0)
            }
        };
        let cpu = share(self.0.cpu, node.requested.cpu, node.allocatable.cpu);
        let memory = share(
            self.0.memory,
            node.requested.memory,
            node.allocatable.memory,
        );
        // Of two values the standard deviation is half their distance.
        ((1.0 - (cpu - memory).abs() / 2.0) * MAX_SCORE as f64) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::tests::node, pod_info::tests::pod};
    use serde_json::json;

    #[test]
    fn balance() {
        let mut cluster = Cluster::default();
        cluster.set_node(node("n", json!({}), json!({})));
        let asking = |cpu: &str, memory: &str| {
            pod(
                "p",
                json!({}),
                json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}),
            )
        };
        let score = |cpu, memory| {
            let p = asking(cpu, memory);
            BalancedAllocation
                .score(&p, &cluster, &[])
                .map(|s| s.score(&cluster.nodes()[0]))
        };
        assert_eq!(score("2", "4Gi"), Some(100));
        assert_eq!(score("4", "0"), Some(50));
        assert_eq!(score("0", "0"), None);
    }
}
