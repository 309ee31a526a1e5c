//! Keeps pods off nodes that were cordoned, but for those that tolerate it.

use k8s_openapi::api::core::v1::Taint;

use super::taints::tolerates;
use crate::{
    cluster::{Cluster, NodeInfo},
    framework::{Events, Filter, Plugin, Rejection},
    pod_info::PodInfo,
};

pub struct NodeUnschedulable;

struct Check {
    tolerated: bool,
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn wakes(&self) -> Events {
        Events::NODE_ADDED.and(Events::NODE_TAINTS)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _: &'a Cluster) -> Option<Box<dyn Filter + 'a>> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        let tolerated = pod.tolerations().iter().any(|t| tolerates(t, &taint));
        (!tolerated).then(|| Box::new(Check { tolerated }) as Box<dyn Filter>)
    }
}

impl Filter for Check {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if node.unschedulable && !self.tolerated {
            return Err(Rejection::always("node(s) were unschedulable"));
        }
        Ok(())
    }
}
