//! A port of the node goes to one pod only.

use crate::{
    cluster::{Cluster, NodeInfo},
    framework::{Events, Filter, Plugin, Rejection},
    pod_info::{HostPort, PodInfo},
};

pub struct NodePorts;

struct Check<'a>(&'a [HostPort]);

fn clash(a: &HostPort, b: &HostPort) -> bool {
    let same_address = a.ip.is_empty() || b.ip.is_empty() || a.ip == b.ip;
    a.port == b.port && a.protocol == b.protocol && same_address
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn wakes(&self) -> Events {
        Events::NODE_ADDED.and(Events::POD_GONE)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _: &'a Cluster) -> Option<Box<dyn Filter + 'a>> {
        (!pod.ports.is_empty()).then(|| Box::new(Check(&pod.ports)) as Box<dyn Filter>)
    }
}

impl Filter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if self
            .0
            .iter()
            .any(|mine| node.ports.iter().any(|taken| clash(mine, taken)))
        {
            return Err(Rejection::now(
                "node(s) didn't have free ports for the requested pod ports",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clashes() {
        let port = |ip: &str, protocol: &str, port| HostPort {
            ip: ip.into(),
            protocol: protocol.into(),
            port,
        };
        let taken = port("10.0.0.1", "TCP", 80);
        assert!(clash(&port("", "TCP", 80), &taken) && clash(&taken, &port("", "TCP", 80)));
        assert!(!clash(&port("10.0.0.2", "TCP", 80), &taken));
        assert!(!clash(&port("10.0.0.1", "UDP", 80), &taken));
        assert!(!clash(&port("10.0.0.1", "TCP", 81), &taken));
    }
}
