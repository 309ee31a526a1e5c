//! A pod that names its node goes nowhere else.

use crate::{
    cluster::{Cluster, NodeInfo},
    framework::{Events, Filter, Plugin, Rejection},
    pod_info::PodInfo,
};

pub struct NodeName;

struct Check<'a>(&'a str);

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn wakes(&self) -> Events {
        Events::NODE_ADDED
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _: &'a Cluster) -> Option<Box<dyn Filter + 'a>> {
        let name = Some(pod.node()).filter(|n| !n.is_empty())?;
        Some(Box::new(Check(name)))
    }
}

impl Filter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if node.name == self.0 {
            Ok(())
        } else {
            Err(Rejection::always(
                "node(s) didn't match the requested node name",
            ))
        }
    }
}
