//! What pods are to those who count them: active, ready, available, and which of them to lose first.

use std::cmp::Ordering;

use k8s_openapi::{
    api::core::v1::{Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

/// `Pending` until the kubelet says otherwise.
pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or("Pending")
}

/// Ended for good: `Succeeded` or `Failed`.
pub fn ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Runs, or will, and is not being deleted.
pub fn active(pod: &Pod) -> bool {
    !ended(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Being deleted, but not ended yet.
pub fn terminating(pod: &Pod) -> bool {
    !ended(pod) && pod.metadata.deletion_timestamp.is_some()
}

/// The condition of this type.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|c| c.type_ == kind)
}

/// Whether the Ready condition is true.
pub fn ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")
        .filter(|c| c.status == "True")?
        .last_transition_time
        .as_ref()
        .map(|t| t.0)
}

/// The node that the pod is bound to; empty before.
pub fn node(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .unwrap_or_default()
}

/// Whether a pod counts as available.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Availability {
    Yes,
    No,
    /// If it stays ready for this long.
    After(SignedDuration),
}

/// A pod is available once it has been ready for `min_ready_seconds`.
pub fn availability(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Availability {
    if !ready(pod) {
        return Availability::No;
    }
    if min_ready_seconds <= 0 {
        return Availability::Yes;
    }
    let Some(since) = ready_since(pod) else {
        return Availability::No;
    };
    let left = SignedDuration::from_secs(i64::from(min_ready_seconds)) - now.duration_since(since);
    if left <= SignedDuration::ZERO {
        Availability::Yes
    } else {
        Availability::After(left)
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"));
    cost.and_then(|c| c.parse().ok()).unwrap_or(0)
}

/// Restarts of the container that restarted most.
fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let containers = status.and_then(|s| s.container_statuses.as_ref());
    containers
        .into_iter()
        .flatten()
        .map(|c| c.restart_count)
        .max()
        .unwrap_or(0)
}

/// Ages compare by their power of two, so that of pods of about one age not always the youngest goes.
fn age_class(at: &Option<Time>, now: Timestamp) -> i64 {
    match at {
        // Unknown times count as newest.
        None => -1,
        Some(at) => {
            let nanos = now.duration_since(at.0).as_nanos();
            if nanos <= 0 {
                0
            } else {
                i64::from(nanos.ilog2())
            }
        }
    }
}

/// A pod that may be deleted to come down to the wanted number.
pub struct Candidate<'a> {
    pub pod: &'a Pod,
    /// Pods of the same workload on its node.
    pub neighbours: usize,
}

/// Orders pods so that those whose loss hurts least come first.
pub fn deletion_order(a: &Candidate, b: &Candidate, now: Timestamp) -> Ordering {
    let phase_rank = |pod: &Pod| match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let (pa, pb) = (a.pod, b.pod);
    let ready_time = |pod: &Pod| ready_since(pod).map(Time);
    let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
    let by_age = |ta: &Option<Time>, tb: &Option<Time>| {
        if ta == tb {
            return Ordering::Equal;
        }
        age_class(ta, now)
            .cmp(&age_class(tb, now))
            .then_with(|| uid(pa).cmp(&uid(pb)))
    };
    (!node(pa).is_empty())
        .cmp(&!node(pb).is_empty())
        .then_with(|| phase_rank(pa).cmp(&phase_rank(pb)))
        .then_with(|| ready(pa).cmp(&ready(pb)))
        .then_with(|| deletion_cost(pa).cmp(&deletion_cost(pb)))
        .then_with(|| b.neighbours.cmp(&a.neighbours))
        .then_with(|| {
            if ready(pa) && ready(pb) {
                by_age(&ready_time(pa), &ready_time(pb))
            } else {
                Ordering::Equal
            }
        })
        .then_with(|| restarts(pb).cmp(&restarts(pa)))
        .then_with(|| {
            by_age(
                &pa.metadata.creation_timestamp,
                &pb.metadata.creation_timestamp,
            )
        })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A pod out of JSON.
    pub fn pod(value: Value) -> Pod {
        serde_json::from_value(value).expect("a pod")
    }

    /// A running pod on `node`, ready since `ready` seconds after the epoch.
    pub fn running(name: &str, node: &str, ready: Option<i64>) -> Pod {
        let since = Timestamp::from_second(ready.unwrap_or(0)).unwrap();
        let status = if ready.is_some() { "True" } else { "False" };
        pod(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "creationTimestamp": Time(Timestamp::UNIX_EPOCH)},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": Time(since)}]},
        }))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn availability_waits_for_min_ready_seconds() {
        let pod = running("a", "n", Some(100));
        assert_eq!(availability(&pod, 0, at(100)), Availability::Yes);
        assert_eq!(
            availability(&pod, 10, at(103)),
            Availability::After(SignedDuration::from_secs(7))
        );
        assert_eq!(availability(&pod, 10, at(110)), Availability::Yes);
        assert_eq!(
            availability(&running("a", "n", None), 0, at(100)),
            Availability::No
        );
    }

    #[test]
    fn the_least_missed_goes_first() {
        let mut costly = running("costly", "n", Some(10));
        costly.metadata.annotations = Some(
            [(
                "controller.kubernetes.io/pod-deletion-cost".to_owned(),
                "10".to_owned(),
            )]
            .into(),
        );
        let mut pending = running("pending", "n", None);
        pending.status.as_mut().unwrap().phase = Some("Pending".into());
        let rows = [
            (running("unassigned", "", None), 1),
            (pending, 1),
            (running("unready", "n", None), 1),
            (running("crowded", "n", Some(10)), 3),
            (running("young", "n", Some(9_000)), 1),
            (running("old", "n", Some(10)), 1),
            (costly, 3),
        ];
        let mut order: Vec<Candidate> = rows
            .iter()
            .rev()
            .map(|(pod, neighbours)| Candidate {
                pod,
                neighbours: *neighbours,
            })
            .collect();
        order.sort_by(|a, b| deletion_order(a, b, at(10_000)));
        let names: Vec<_> = order
            .iter()
            .map(|c| c.pod.metadata.name.as_deref().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "unassigned",
                "pending",
                "unready",
                "crowded",
                "young",
                "old",
                "costly"
            ]
        );
    }
}
