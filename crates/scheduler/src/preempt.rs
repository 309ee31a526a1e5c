//! Which pods would have to go so that a more important one finds room. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::jiff::Timestamp;

use crate::{
    cluster::{Cluster, NodeInfo},
    cycle::{Diagnosis, Pipeline},
    framework::Filter,
    pod_info::PodInfo,
};

/// Pods to delete, the most important first, and the node that they are on.
#[derive(Debug)]
pub struct Preemption {
    pub node: String,
    pub victims: Vec<Arc<PodInfo>>,
}

/// Finds the node where the least is lost.
///
/// # Errors
/// Why there is none, as part of the message to the user.
pub fn find(
    pipeline: &Pipeline,
    pod: &PodInfo,
    cluster: &Cluster,
    diagnosis: &Diagnosis,
) -> Result<Preemption, String> {
    if pod.spec().and_then(|s| s.preemption_policy.as_deref()) == Some("Never") {
        return Err("not eligible due to preemptionPolicy=Never.".into());
    }
    let nominated = pod
        .pod
        .status
        .as_ref()
        .and_then(|s| s.nominated_node_name.as_deref());
    if let Some(node) = nominated.and_then(|n| cluster.node(n))
        && node
            .pods
            .iter()
            .any(|p| p.priority < pod.priority && p.terminating())
    {
        return Err("not eligible due to a terminating pod on the nominated node.".into());
    }
    let mut filters: Vec<Box<dyn Filter>> = Vec::new();
    let mut best: Option<(Loss, Preemption)> = None;
    for node in diagnosis.candidates.iter().map(|i| &cluster.nodes()[*i]) {
        if !node.pods.iter().any(|p| p.priority < pod.priority) {
            continue;
        }
        if filters.is_empty() {
            filters = pipeline
                .filters(pod, cluster)
                .into_iter()
                .map(|(_, f)| f)
                .collect();
        }
        let Some(victims) = victims(pod, node, &mut filters) else {
            continue;
        };
        let loss = loss(&victims);
        if best.as_ref().is_none_or(|(least, _)| loss < *least) {
            best = Some((
                loss,
                Preemption {
                    node: node.name.clone(),
                    victims,
                },
            ));
        }
    }
    best.map(|(_, preemption)| preemption)
        .ok_or_else(|| hopeless(diagnosis))
}

fn hopeless(diagnosis: &Diagnosis) -> String {
    let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
    let candidates = diagnosis.candidates.len();
    parts.insert("No preemption victims found for incoming pod", candidates);
    parts.insert(
        "Preemption is not helpful for scheduling",
        diagnosis.nodes - candidates,
    );
    let mut parts: Vec<String> = parts
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(why, n)| format!("{n} {why}"))
        .collect();
    parts.sort();
    format!(
        "0/{} nodes are available: {}.",
        diagnosis.nodes,
        parts.join(", ")
    )
}

fn started(pod: &PodInfo) -> Option<Timestamp> {
    pod.pod.status.as_ref()?.start_time.as_ref().map(|t| t.0)
}

/// The fewest pods of lower priority without which the pod fits on the node. The filters come back as they were.
fn victims(
    pod: &PodInfo,
    node: &NodeInfo,
    filters: &mut [Box<dyn Filter + '_>],
) -> Option<Vec<Arc<PodInfo>>> {
    let mut without = node.clone();
    let mut lower: Vec<Arc<PodInfo>> = node
        .pods
        .iter()
        .filter(|p| p.priority < pod.priority)
        .cloned()
        .collect();
    // The most important first: who is older matters more.
    lower.sort_by(|a, b| {
        b.priority
            .cmp(&a.priority)
            .then_with(|| started(a).cmp(&started(b)))
    });
    for p in &lower {
        without.take(&p.uid);
        filters.iter_mut().for_each(|f| f.without(p, node));
    }
    let fits = |filters: &[Box<dyn Filter + '_>], node: &NodeInfo| {
        filters.iter().all(|f| f.check(node).is_ok())
    };
    let helps = fits(filters, &without);
    let mut out = Vec::new();
    for p in lower {
        filters.iter_mut().for_each(|f| f.with(&p, node));
        without.put(p.clone());
        if helps && !fits(filters, &without) {
            without.take(&p.uid);
            filters.iter_mut().for_each(|f| f.without(&p, node));
            out.push(p);
        }
    }
    for p in &out {
        filters.iter_mut().for_each(|f| f.with(p, node));
    }
    (helps && !out.is_empty()).then_some(out)
}

/// Smaller is better: the highest priority lost, all priorities lost, how many pods, and for how long the most important
/// of them has run.
type Loss = (i64, i64, usize, std::cmp::Reverse<Option<Timestamp>>);

fn loss(victims: &[Arc<PodInfo>]) -> Loss {
    let highest = victims.iter().map(|p| p.priority).max().unwrap_or(i32::MIN);
    // Shifted so that more pods always weigh more, even of negative priority.
    let sum = victims
        .iter()
        .map(|p| i64::from(p.priority) - i64::from(i32::MIN))
        .sum();
    let oldest = victims
        .iter()
        .filter(|p| p.priority == highest)
        .filter_map(|p| started(p))
        .min();
    (
        i64::from(highest),
        sum,
        victims.len(),
        std::cmp::Reverse(oldest),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::tests::node, plugins, pod_info::tests::pod};
    use serde_json::{Value, json};

    fn asking(name: &str, priority: i32, cpu: &str, extra: Value) -> Arc<PodInfo> {
        let mut spec = json!({"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
        spec.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        pod(name, json!({"app": "x"}), spec)
    }

    /// (node, pod, priority, cpu) → what preempting for `p` comes to.
    fn preempting(placed: &[(&str, &str, i32, &str)], p: &PodInfo) -> String {
        let mut cluster = Cluster::default();
        for name in ["a", "b"] {
            cluster.set_node(node(name, json!({"host": name}), json!({})));
        }
        for (node, name, priority, cpu) in placed {
            cluster.place(asking(name, *priority, cpu, json!({})), node);
        }
        let mut pipeline = Pipeline::new(plugins::all());
        let diagnosis = pipeline.schedule(p, &cluster).unwrap_err();
        match find(&pipeline, p, &cluster, &diagnosis) {
            Ok(found) => {
                let names: Vec<&str> = found.victims.iter().map(|v| v.uid.as_str()).collect();
                format!("{}: {}", found.node, names.join(","))
            }
            Err(words) => words,
        }
    }

    #[test]
    fn the_least_is_lost() {
        let none = json!({});
        let p = |cpu| asking("p", 100, cpu, none.clone());
        // As few as needed, the least important of them.
        let row = [
            ("a", "1", 10, "1"),
            ("a", "2", 20, "1"),
            ("a", "3", 30, "2"),
            ("b", "4", 100, "4"),
        ];
        assert_eq!(preempting(&row, &p("1")), "a: 1");
        assert_eq!(preempting(&row, &p("2")), "a: 2,1");
        // The node whose most important loss is the least.
        assert_eq!(
            preempting(
                &[
                    ("a", "1", 50, "4"),
                    ("b", "2", 10, "2"),
                    ("b", "3", 10, "2")
                ],
                &p("4")
            ),
            "b: 2,3"
        );
    }

    #[test]
    fn why_nothing_helps() {
        let equals = [("a", "1", 100, "4"), ("b", "2", 100, "4")];
        let words = "0/2 nodes are available: 2 No preemption victims found for incoming pod.";
        assert_eq!(
            preempting(&equals, &asking("p", 100, "1", json!({}))),
            words
        );
        let words = "0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
        assert_eq!(
            preempting(&equals, &asking("p", 200, "9", json!({}))),
            words
        );
        let never = asking("p", 200, "1", json!({"preemptionPolicy": "Never"}));
        assert_eq!(
            preempting(&equals, &never),
            "not eligible due to preemptionPolicy=Never."
        );
    }

    #[test]
    fn who_shuns_the_pod_can_be_preempted() {
        let term = json!([{"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "x"}}}]);
        let anti = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
        let p = asking("p", 100, "1", anti);
        assert_eq!(
            preempting(&[("a", "1", 10, "1"), ("b", "2", 100, "1")], &p),
            "a: 1"
        );
    }
}
