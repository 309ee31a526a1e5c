//! Gives each node a range of addresses for its pods, out of the cluster's.

use std::{collections::HashSet, sync::Arc, time::Duration};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use knarr_client::{Informer, Informers, Queue, events::Recorder};
use kube::{Api, Client, ResourceExt, api::Patch};
use serde_json::json;

use crate::{feed, write};

/// Prefix length of a node's range.
fn node_prefix(cluster: &IpNet) -> u8 {
    match cluster {
        IpNet::V4(net) => net.prefix_len().max(24),
        IpNet::V6(net) => net.prefix_len().max(64),
    }
}

struct Controller {
    client: Client,
    nodes: Informer<Node>,
    queue: Queue<String>,
    cluster: Vec<IpNet>,
    recorder: Recorder,
}

/// Runs the controller for ever. `cluster` are the cluster's ranges, one of each family; with none it does nothing.
pub async fn run(informers: Informers, cluster: Vec<IpNet>) {
    if cluster.is_empty() {
        return;
    }
    let client = informers.client().clone();
    let controller = Arc::new(Controller {
        nodes: informers.of(),
        queue: Queue::new(),
        cluster,
        recorder: Recorder::new(client.clone(), "cidrAllocator", None),
        client,
    });
    let c = &controller;
    let work = async {
        c.nodes.synced().await;
        // One at a time: two must not be given the same.
        feed::work("nodeipam", 1, &c.queue, c, |c, name| async move {
            c.sync(name).await
        })
        .await;
    };
    tokio::join!(
        feed::each(&c.nodes, |n| c.queue.add(n.object().name_any())),
        work
    );
}

/// The ranges that a node has.
fn ranges(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else {
        return Vec::new();
    };
    let all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    all.filter_map(|r| r.parse().ok()).collect()
}

/// The first range of the cluster's that overlaps none of those taken.
fn free(cluster: &IpNet, taken: &HashSet<IpNet>) -> Option<IpNet> {
    let subnets = cluster.subnets(node_prefix(cluster)).ok()?;
    let overlaps = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    let odd: Vec<&IpNet> = taken
        .iter()
        .filter(|t| t.prefix_len() != node_prefix(cluster))
        .collect();
    subnets
        .into_iter()
        .find(|s| !taken.contains(s) && !odd.iter().any(|t| overlaps(s, t)))
}

impl Controller {
    async fn sync(&self, name: String) -> anyhow::Result<Option<Duration>> {
        let Some(node) = self.nodes.get("", &name) else {
            return Ok(None);
        };
        if node.metadata.deletion_timestamp.is_some() || !ranges(&node).is_empty() {
            return Ok(None);
        }
        let api: Api<Node> = Api::all(self.client.clone());
        // The cache may lag behind what this controller itself gave away a moment ago: ask.
        let all = api.list(&kube::api::ListParams::default()).await?;
        if all
            .iter()
            .any(|n| n.name_any() == name && !ranges(n).is_empty())
        {
            return Ok(None);
        }
        let taken: HashSet<IpNet> = all.iter().flat_map(ranges).collect();
        let given: Option<Vec<String>> = self
            .cluster
            .iter()
            .map(|c| free(c, &taken).map(|range| range.to_string()))
            .collect();
        let Some(given) = given else {
            let words = format!("Node {name} status is now: CIDRNotAvailable");
            self.recorder.normal(&*node, "CIDRNotAvailable", words);
            anyhow::bail!("no pod addresses left for node {name}");
        };
        let patch = json!({"metadata": {"uid": node.uid()}, "spec": {"podCIDR": given.first(), "podCIDRs": given}});
        match api
            .patch(&name, &write::patch(), &Patch::Merge(patch))
            .await
        {
            Err(error) if !write::gone(&error) => Err(error.into()),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_free_range() {
        let table = [
            ("10.244.0.0/16", vec![], Some("10.244.0.0/24")),
            (
                "10.244.0.0/16",
                vec!["10.244.0.0/24", "10.244.1.0/24"],
                Some("10.244.2.0/24"),
            ),
            (
                "10.244.0.0/16",
                vec!["10.244.0.0/23"],
                Some("10.244.2.0/24"),
            ),
            ("10.244.0.0/24", vec!["10.244.0.0/24"], None),
            ("10.244.0.0/26", vec![], Some("10.244.0.0/26")),
            ("fd00::/48", vec!["fd00::/64"], Some("fd00:0:0:1::/64")),
        ];
        for (cluster, taken, want) in table {
            let taken = taken.into_iter().map(net).collect();
            assert_eq!(free(&net(cluster), &taken), want.map(net), "{cluster}");
        }
    }
}
