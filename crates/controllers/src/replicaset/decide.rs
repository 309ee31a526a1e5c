//! How many pods to make or which to delete, and what to say about it: pure.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use crate::pod::{self, Availability, Candidate};

/// Most pods made or deleted in one go.
const BURST: usize = 500;

/// What to do about the number of pods.
#[derive(Debug)]
pub enum Step {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

/// `active` are the set's own pods, `related` those of all sets with the same controller (its own among them).
pub fn step(wanted: i32, active: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> Step {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active.len() < wanted {
        return Step::Create((wanted - active.len()).min(BURST));
    }
    let surplus = (active.len() - wanted).min(BURST);
    if surplus == 0 {
        return Step::Nothing;
    }
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for other in related.iter().filter(|p| pod::active(p)) {
        *on_node.entry(pod::node(other)).or_default() += 1;
    }
    let neighbours = |p: &Pod| on_node.get(pod::node(p)).copied().unwrap_or(0);
    let mut order: Vec<&Arc<Pod>> = active.iter().collect();
    if surplus < order.len() {
        order.sort_by(|a, b| {
            let (a, b) = (
                Candidate {
                    pod: a,
                    neighbours: neighbours(a),
                },
                Candidate {
                    pod: b,
                    neighbours: neighbours(b),
                },
            );
            pod::deletion_order(&a, &b, now)
        });
    }
    Step::Delete(order.into_iter().take(surplus).cloned().collect())
}

/// Why the number of pods could not be brought to the wanted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    pub message: String,
}

/// The status that follows from the set's pods, and after how long a pod becomes available by waiting alone.
pub fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<SignedDuration>) {
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|s| s.min_ready_seconds).unwrap_or(0);
    let labels = spec.and_then(|s| s.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let fully_labeled = |p: &&Arc<Pod>| {
        let own = p.metadata.labels.as_ref();
        labels
            .into_iter()
            .flatten()
            .all(|(k, v)| own.and_then(|l| l.get(k)) == Some(v))
    };
    let (mut ready, mut available, mut next) = (0, 0, None::<SignedDuration>);
    for p in active {
        ready += i32::from(pod::ready(p));
        match pod::availability(p, min_ready, now) {
            Availability::Yes => available += 1,
            Availability::After(left) => next = Some(next.map_or(left, |n| n.min(left))),
            Availability::No => {}
        }
    }
    let shown = |n: i32| (n != 0).then_some(n);
    let status = ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: shown(count(active.iter().filter(fully_labeled).count())),
        ready_replicas: shown(ready),
        available_replicas: shown(available),
        terminating_replicas: Some(count(terminating)),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
    };
    (status, next)
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn conditions(
    set: &ReplicaSet,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut all = set
        .status
        .as_ref()
        .and_then(|s| s.conditions.clone())
        .unwrap_or_default();
    let known = all.iter().any(|c| c.type_ == "ReplicaFailure");
    match failure {
        None => all.retain(|c| c.type_ != "ReplicaFailure"),
        Some(failure) if !known => all.push(ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some(failure.reason.into()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::tests::running;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn pods(count: usize) -> Vec<Arc<Pod>> {
        (0..count)
            .map(|i| Arc::new(running(&format!("p{i}"), "n", Some(10))))
            .collect()
    }

    fn set() -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "rs", "generation": 3},
            "spec": {"replicas": 2, "minReadySeconds": 30, "selector": {}, "template": {"metadata": {"labels": {"app": "a"}}}},
        }))
        .unwrap()
    }

    #[test]
    fn steps() {
        let words = |wanted, have| match step(wanted, &pods(have), &pods(have), at(100)) {
            Step::Nothing => "nothing".to_owned(),
            Step::Create(n) => format!("create {n}"),
            Step::Delete(list) => format!("delete {}", list.len()),
        };
        assert_eq!(words(3, 3), "nothing");
        assert_eq!(words(3, 1), "create 2");
        assert_eq!(words(1000, 0), "create 500");
        assert_eq!(words(0, 4), "delete 4");
        assert_eq!(words(-1, 1), "delete 1");
    }

    #[test]
    fn pods_on_crowded_nodes_go_first() {
        let own = vec![
            Arc::new(running("alone", "n1", Some(10))),
            Arc::new(running("crowded", "n2", Some(10))),
        ];
        let mut related = own.clone();
        related.push(Arc::new(running("sibling", "n2", Some(10))));
        let Step::Delete(gone) = step(1, &own, &related, at(100)) else {
            panic!("deletes")
        };
        assert_eq!(gone[0].metadata.name.as_deref(), Some("crowded"));
    }

    #[test]
    fn status_counts() {
        let mut labelled = running("a", "n", Some(100));
        labelled.metadata.labels = Some([("app".to_owned(), "a".to_owned())].into());
        let active = [
            Arc::new(labelled),
            Arc::new(running("b", "n", Some(80))),
            Arc::new(running("c", "n", None)),
        ];
        let (status, next) = status(&set(), &active, 1, None, at(115));
        assert_eq!(
            (
                status.replicas,
                status.ready_replicas,
                status.available_replicas
            ),
            (3, Some(2), Some(1))
        );
        assert_eq!(
            (status.fully_labeled_replicas, status.terminating_replicas),
            (Some(1), Some(1))
        );
        assert_eq!(
            (status.observed_generation, status.conditions),
            (Some(3), None)
        );
        assert_eq!(next, Some(SignedDuration::from_secs(15)));
    }

    #[test]
    fn a_failure_is_said_once_and_taken_back() {
        let failure = Failure {
            reason: "FailedCreate",
            message: "quota".into(),
        };
        let mut set = set();
        let (said, _) = status(&set, &[], 0, Some(&failure), at(1));
        assert_eq!(
            said.conditions.as_ref().unwrap()[0].reason.as_deref(),
            Some("FailedCreate")
        );
        set.status = Some(said.clone());
        let again = Failure {
            message: "other words".into(),
            ..failure
        };
        assert_eq!(status(&set, &[], 0, Some(&again), at(2)).0, said);
        assert_eq!(status(&set, &[], 0, None, at(3)).0.conditions, None);
    }
}
