//! The rules, a file each, in the order in which they are asked.

pub mod balanced;
pub mod image_locality;
pub mod node_affinity;
pub mod node_name;
pub mod pod_affinity;
pub mod ports;
pub mod resources_fit;
pub mod spread;
pub mod taints;
pub mod unschedulable;

use crate::framework::Plugin;

/// All rules. The cheap ones that turn down most come first; the order changes nothing else.
pub fn all() -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(unschedulable::NodeUnschedulable),
        Box::new(node_name::NodeName),
        Box::new(taints::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(ports::NodePorts),
        Box::new(resources_fit::NodeResourcesFit),
        Box::new(spread::PodTopologySpread),
        Box::new(pod_affinity::InterPodAffinity),
        Box::new(balanced::BalancedAllocation),
        Box::new(image_locality::ImageLocality),
    ]
}
