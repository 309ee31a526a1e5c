//! Taints keep pods off a node that do not tolerate them, or make it a worse choice.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::{
    cluster::{Cluster, NodeInfo},
    framework::{Events, Filter, Plugin, Rejection, Score, scale},
    pod_info::PodInfo,
};

pub struct TaintToleration;

/// Whether the toleration covers the taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let same = |mine: &Option<String>, theirs: &str| {
        mine.as_deref().is_none_or(|m| m.is_empty() || m == theirs)
    };
    if !same(&toleration.effect, &taint.effect) || !same(&toleration.key, &taint.key) {
        return false;
    }
    let mine = toleration.value.as_deref().unwrap_or_default();
    let theirs = taint.value.as_deref().unwrap_or_default();
    let numbers = || Some((mine.parse::<i64>().ok()?, theirs.parse::<i64>().ok()?));
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "" | "Equal" => mine == theirs && toleration.key.as_deref().is_some_and(|k| !k.is_empty()),
        "Lt" => numbers().is_some_and(|(mine, theirs)| theirs < mine),
        "Gt" => numbers().is_some_and(|(mine, theirs)| theirs > mine),
        _ => false,
    }
}

/// Whether the pod may come to a node with these taints.
pub fn may_come(tolerations: &[Toleration], taints: &[Taint]) -> bool {
    let hard = taints
        .iter()
        .filter(|t| t.effect == "NoSchedule" || t.effect == "NoExecute");
    hard.into_iter()
        .all(|taint| tolerations.iter().any(|t| tolerates(t, taint)))
}

struct Check<'a>(&'a [Toleration]);

struct Soft<'a>(Vec<&'a Toleration>);

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn wakes(&self) -> Events {
        Events::NODE_ADDED.and(Events::NODE_TAINTS)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _: &'a Cluster) -> Option<Box<dyn Filter + 'a>> {
        Some(Box::new(Check(pod.tolerations())))
    }

    fn score<'a>(
        &self,
        pod: &'a PodInfo,
        cluster: &'a Cluster,
        feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let soft = |i: &usize| {
            cluster.nodes()[*i]
                .taints
                .iter()
                .any(|t| t.effect == "PreferNoSchedule")
        };
        if !feasible.iter().any(soft) {
            return None;
        }
        let for_soft =
            |t: &&Toleration| matches!(t.effect.as_deref(), None | Some("" | "PreferNoSchedule"));
        Some(Box::new(Soft(
            pod.tolerations().iter().filter(for_soft).collect(),
        )))
    }

    fn weight(&self) -> i64 {
        3
    }
}

impl Filter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection> {
        if may_come(self.0, &node.taints) {
            Ok(())
        } else {
            Err(Rejection::always("node(s) had untolerated taint(s)"))
        }
    }
}

impl Score for Soft<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let soft = node
            .taints
            .iter()
            .filter(|t| t.effect == "PreferNoSchedule");
        soft.filter(|taint| !self.0.iter().any(|t| tolerates(t, taint)))
            .count() as i64
    }

    fn normalize(&self, _: &Cluster, _: &[usize], scores: &mut [i64]) {
        scale(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn tolerations() {
        let taint: Taint =
            serde_json::from_value(json!({"key": "k", "value": "5", "effect": "NoSchedule"}))
                .unwrap();
        let table: [(Value, bool); 10] = [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"key": "k", "value": "5"}), true),
            (
                json!({"key": "k", "operator": "Equal", "value": "6"}),
                false,
            ),
            (
                json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}),
                false,
            ),
            (json!({"key": "other", "operator": "Exists"}), false),
            (json!({"value": "5"}), false),
            (json!({"key": "k", "operator": "Lt", "value": "6"}), true),
            (json!({"key": "k", "operator": "Gt", "value": "6"}), false),
            (json!({"key": "k", "operator": "Gt", "value": "x"}), false),
        ];
        for (toleration, want) in table {
            assert_eq!(
                tolerates(&serde_json::from_value(toleration.clone()).unwrap(), &taint),
                want,
                "{toleration}"
            );
        }
        let soft = Taint {
            effect: "PreferNoSchedule".into(),
            ..taint.clone()
        };
        assert!(may_come(&[], &[soft]) && !may_come(&[], &[taint]));
    }
}
