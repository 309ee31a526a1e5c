//! Prefers nodes that have the pod's images already, but not so much that all pods end up there.

use crate::{
    cluster::{Cluster, NodeInfo},
    framework::{MAX_SCORE, Plugin, Score},
    pod_info::PodInfo,
};

pub struct ImageLocality;

/// Images smaller than this, in bytes, make no difference.
const LEAST: i64 = 23 << 20;
/// Larger ones, for each container, make no more difference.
const MOST: i64 = 1000 << 20;

struct Of<'a> {
    pod: &'a PodInfo,
    cluster: &'a Cluster,
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn score<'a>(
        &self,
        pod: &'a PodInfo,
        cluster: &'a Cluster,
        _: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let known = pod
            .images
            .iter()
            .any(|i| cluster.image_nodes.contains_key(i));
        known.then(|| Box::new(Of { pod, cluster }) as Box<dyn Score>)
    }
}

impl Score for Of<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let total = self.cluster.nodes().len() as f64;
        let worth = |image: &String| -> Option<i64> {
            let size = node.images.get(image)?;
            let spread = *self.cluster.image_nodes.get(image)? as f64 / total;
            Some((*size as f64 * spread) as i64)
        };
        let sum: i64 = self.pod.images.iter().filter_map(worth).sum();
        let most = MOST * self.pod.images.len() as i64;
        MAX_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
    }
}
