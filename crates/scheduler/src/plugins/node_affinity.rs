//! Node selectors and node affinity.

use crate::{
    cluster::{Cluster, NodeInfo},
    framework::{Events, Filter, Plugin, Rejection, Score, scale},
    pod_info::PodInfo,
};

pub struct NodeAffinity;

struct Of<'a>(&'a PodInfo);

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn wakes(&self) -> Events {
        Events::NODE_ADDED.and(Events::NODE_LABELS)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _: &'a Cluster) -> Option<Box<dyn Filter + 'a>> {
        (!pod.node_demand.is_empty()).then(|| Box::new(Of(pod)) as Box<dyn Filter>)
    }

    fn score<'a>(
        &self,
        pod: &'a PodInfo,
        _: &'a Cluster,
        _: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        (!pod.node_wishes.is_empty()).then(|| Box::new(Of(pod)) as Box<dyn Score>)
    }

    fn weight(&self) -> i64 {
        2
    }
}

impl Filter for Of<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if self.0.node_demand.matches(&node.name, node.labels()) {
            return Ok(());
        }
        Err(Rejection::always(
            "node(s) didn't match Pod's node affinity/selector",
        ))
    }
}

impl Score for Of<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let met = self
            .0
            .node_wishes
            .iter()
            .filter(|(_, term)| term.matches(&node.name, node.labels()));
        met.map(|(weight, _)| weight).sum()
    }

    fn normalize(&self, _: &Cluster, _: &[usize], scores: &mut [i64]) {
        scale(scores, false);
    }
}
