//! What a Deployment says of its rollout: counts and conditions. Pure.

use k8s_openapi::{
    api::apps::v1::{
        Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::{
    revision::Sets,
    rollout::{self, Wanted},
};

pub const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";

/// Reasons of the Progressing condition.
pub const NEW_CREATED: &str = "NewReplicaSetCreated";
pub const NEW_FOUND: &str = "FoundNewReplicaSet";
pub const NEW_FAILED: &str = "ReplicaSetCreateError";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const UPDATED: &str = "ReplicaSetUpdated";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

/// Seconds that a rollout may stand still; `None` when it may for ever.
pub fn deadline(deployment: &Deployment) -> Option<i32> {
    deployment
        .spec
        .as_ref()?
        .progress_deadline_seconds
        .filter(|s| *s != i32::MAX)
}

pub fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

/// Sets a condition. One with the same status and reason stays as it is; one with the same status keeps its transition time.
pub fn set_condition(
    status: &mut DeploymentStatus,
    kind: &str,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let current = condition(status, kind);
    if current.is_some_and(|c| c.status == value && c.reason.as_deref() == Some(reason)) {
        return;
    }
    let same = current
        .filter(|c| c.status == value)
        .and_then(|c| c.last_transition_time.clone());
    let fresh = DeploymentCondition {
        type_: kind.into(),
        status: value.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(Time(now)),
        last_transition_time: same.or(Some(Time(now))),
    };
    remove_condition(status, kind);
    status.conditions.get_or_insert_default().push(fresh);
}

fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    if let Some(all) = &mut status.conditions {
        all.retain(|c| c.type_ != kind);
        if all.is_empty() {
            status.conditions = None;
        }
    }
}

/// Counts and the Available condition, as its sets tell.
pub fn counted(deployment: &Deployment, sets: &Sets, now: Timestamp) -> DeploymentStatus {
    let wanted = Wanted::of(deployment);
    let before = deployment.status.clone().unwrap_or_default();
    let sum = |field: fn(&ReplicaSetStatus) -> i32| -> i32 {
        sets.all()
            .filter_map(|s| s.status.as_ref())
            .map(field)
            .sum()
    };
    let shown = |n: i32| (n != 0).then_some(n);
    let available = sum(|s| s.available_replicas.unwrap_or(0));
    let updated = sets
        .new
        .as_ref()
        .and_then(|s| s.status.as_ref())
        .map_or(0, |s| s.replicas);
    let terminating = sets
        .all()
        .map(|s| s.status.as_ref().and_then(|s| s.terminating_replicas))
        .sum::<Option<i32>>();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: shown(sum(|s| s.replicas)),
        updated_replicas: shown(updated),
        ready_replicas: shown(sum(|s| s.ready_replicas.unwrap_or(0))),
        available_replicas: shown(available),
        unavailable_replicas: shown((rollout::total(sets.all()) - available).max(0)),
        terminating_replicas: terminating,
        collision_count: before.collision_count,
        conditions: before.conditions,
    };
    if available >= wanted.replicas - wanted.max_unavailable {
        let words = "Deployment has minimum availability.";
        set_condition(
            &mut status,
            AVAILABLE,
            "True",
            "MinimumReplicasAvailable",
            words,
            now,
        );
    } else {
        let words = "Deployment does not have minimum availability.";
        set_condition(
            &mut status,
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            words,
            now,
        );
    }
    status
}

/// Whether all that the Deployment wants is there, updated and available, and nothing else.
pub fn complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = Some(Wanted::of(deployment).replicas).filter(|n| *n != 0);
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

fn progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |field: Option<i32>| field.unwrap_or(0);
    let outdated = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || outdated(new) < outdated(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

fn timed_out(seconds: i32, status: &DeploymentStatus, now: Timestamp) -> bool {
    let Some(current) = condition(status, PROGRESSING) else {
        return false;
    };
    match current.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => left(seconds, current, now).is_some_and(|left| left < SignedDuration::ZERO),
    }
}

fn left(seconds: i32, current: &DeploymentCondition, now: Timestamp) -> Option<SignedDuration> {
    let since = current.last_update_time.as_ref()?.0;
    Some(SignedDuration::from_secs(i64::from(seconds)) - now.duration_since(since))
}

/// The status after a step of the rollout.
pub fn rolled(deployment: &Deployment, sets: &Sets, now: Timestamp) -> DeploymentStatus {
    let mut status = counted(deployment, sets, now);
    let before = deployment.status.clone().unwrap_or_default();
    match deadline(deployment) {
        None => remove_condition(&mut status, PROGRESSING),
        Some(seconds) => tell_progress(deployment, sets, &before, &mut status, seconds, now),
    }
    match replica_failure(sets) {
        Some((value, reason, message)) => {
            remove_condition(&mut status, FAILURE);
            set_condition(&mut status, FAILURE, &value, &reason, &message, now);
            keep_unchanged(&before, &mut status, FAILURE);
        }
        None => remove_condition(&mut status, FAILURE),
    }
    status
}

fn tell_progress(
    deployment: &Deployment,
    sets: &Sets,
    before: &DeploymentStatus,
    status: &mut DeploymentStatus,
    seconds: i32,
    now: Timestamp,
) {
    let current = condition(before, PROGRESSING).cloned();
    let done_before = current
        .as_ref()
        .is_some_and(|c| c.reason.as_deref() == Some(NEW_AVAILABLE));
    if done_before && status.replicas == status.updated_replicas {
        return;
    }
    let subject = match &sets.new {
        Some(new) => format!(
            "ReplicaSet {:?}",
            new.metadata.name.as_deref().unwrap_or_default()
        ),
        None => format!(
            "Deployment {:?}",
            deployment.metadata.name.as_deref().unwrap_or_default()
        ),
    };
    if complete(deployment, status) {
        let words = format!("{subject} has successfully progressed.");
        set_condition(status, PROGRESSING, "True", NEW_AVAILABLE, &words, now);
    } else if progressing(before, status) {
        // Progress restarts the deadline even when neither status nor reason changes.
        let since = current
            .filter(|c| c.status == "True")
            .and_then(|c| c.last_transition_time);
        remove_condition(status, PROGRESSING);
        set_condition(
            status,
            PROGRESSING,
            "True",
            UPDATED,
            &format!("{subject} is progressing."),
            now,
        );
        let fresh = status
            .conditions
            .iter_mut()
            .flatten()
            .find(|c| c.type_ == PROGRESSING);
        if let (Some(fresh), Some(since)) = (fresh, since) {
            fresh.last_transition_time = Some(since);
        }
    } else if timed_out(seconds, status, now) {
        let words = format!("{subject} has timed out progressing.");
        set_condition(status, PROGRESSING, "False", TIMED_OUT, &words, now);
    }
}

/// What the new set failed at; without one, what an old set did.
fn replica_failure(sets: &Sets) -> Option<(String, String, String)> {
    let of = |set: &ReplicaSet| {
        let all = set.status.as_ref()?.conditions.as_ref()?;
        let c = all.iter().find(|c| c.type_ == FAILURE)?;
        Some((
            c.status.clone(),
            c.reason.clone().unwrap_or_default(),
            c.message.clone().unwrap_or_default(),
        ))
    };
    sets.new
        .as_ref()
        .and_then(of)
        .or_else(|| sets.old.iter().find_map(of))
}

/// A condition that says what it said before also keeps its times.
fn keep_unchanged(before: &DeploymentStatus, status: &mut DeploymentStatus, kind: &str) {
    let Some(old) = condition(before, kind) else {
        return;
    };
    for c in status
        .conditions
        .iter_mut()
        .flatten()
        .filter(|c| c.type_ == kind)
    {
        if c.status == old.status && c.reason == old.reason && c.message == old.message {
            *c = old.clone();
        }
    }
}

/// The status with what pausing or resuming changes in it; `None` when that is nothing.
pub fn paused(deployment: &Deployment, now: Timestamp) -> Option<DeploymentStatus> {
    deadline(deployment)?;
    let mut status = deployment.status.clone().unwrap_or_default();
    let reason = condition(&status, PROGRESSING).and_then(|c| c.reason.clone());
    if reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    let was_paused = reason.as_deref() == Some(PAUSED);
    let is_paused = deployment
        .spec
        .as_ref()
        .and_then(|s| s.paused)
        .unwrap_or(false);
    let (reason, words) = match (was_paused, is_paused) {
        (false, true) => (PAUSED, "Deployment is paused"),
        (true, false) => (RESUMED, "Deployment is resumed"),
        _ => return None,
    };
    set_condition(&mut status, PROGRESSING, "Unknown", reason, words, now);
    Some(status)
}

/// After how long to look whether a rollout that stands still has run out of time.
pub fn next_look(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<SignedDuration> {
    let seconds = deadline(deployment)?;
    let current = condition(status, PROGRESSING)?;
    let over = matches!(current.reason.as_deref(), Some(TIMED_OUT | NEW_AVAILABLE));
    if over || complete(deployment, status) {
        return None;
    }
    left(seconds, current, now)
        .map(|left| left.max(SignedDuration::ZERO) + SignedDuration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn deployment(replicas: i32, status: Option<DeploymentStatus>) -> Deployment {
        let mut d: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 1},
            "spec": {"replicas": replicas, "progressDeadlineSeconds": 60, "selector": {}, "template": {}},
        }))
        .unwrap();
        d.status = status;
        d
    }

    fn set(size: i32, status: Value) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1"}, "spec": {"replicas": size, "selector": {}}, "status": status,
        }))
        .unwrap()
    }

    fn sets(size: i32, ready: i32) -> Sets {
        let status = json!({"replicas": size, "readyReplicas": ready, "availableReplicas": ready, "terminatingReplicas": 0});
        Sets {
            new: Some(set(size, status)),
            old: Vec::new(),
        }
    }

    fn said(status: &DeploymentStatus, kind: &str) -> String {
        condition(status, kind)
            .map(|c| format!("{} {}", c.status, c.reason.as_deref().unwrap()))
            .unwrap_or_default()
    }

    #[test]
    fn a_rollout_from_start_to_end() {
        let first = rolled(&deployment(4, None), &sets(4, 0), at(0));
        assert_eq!(said(&first, AVAILABLE), "False MinimumReplicasUnavailable");
        assert_eq!(said(&first, PROGRESSING), "True ReplicaSetUpdated");
        assert_eq!(first.unavailable_replicas, Some(4));

        let second = rolled(&deployment(4, Some(first)), &sets(4, 3), at(50));
        assert_eq!(said(&second, AVAILABLE), "True MinimumReplicasAvailable");
        let progress = condition(&second, PROGRESSING).unwrap();
        assert_eq!(progress.last_update_time, Some(Time(at(50))));
        assert_eq!(progress.last_transition_time, Some(Time(at(0))));
        assert_eq!(
            next_look(&deployment(4, None), &second, at(60)),
            Some(SignedDuration::from_secs(51))
        );

        let third = rolled(&deployment(4, Some(second)), &sets(4, 4), at(55));
        assert_eq!(said(&third, PROGRESSING), "True NewReplicaSetAvailable");
        assert_eq!(
            condition(&third, PROGRESSING).unwrap().message.as_deref(),
            Some("ReplicaSet \"web-1\" has successfully progressed.")
        );
        assert_eq!(
            (
                third.unavailable_replicas,
                next_look(&deployment(4, None), &third, at(60))
            ),
            (None, None)
        );

        // A pod lost later is no new rollout.
        let later = rolled(&deployment(4, Some(third)), &sets(4, 3), at(5000));
        assert_eq!(said(&later, PROGRESSING), "True NewReplicaSetAvailable");
    }

    #[test]
    fn standing_still_runs_out_of_time() {
        let first = rolled(&deployment(4, None), &sets(4, 0), at(0));
        let still = rolled(&deployment(4, Some(first.clone())), &sets(4, 0), at(60));
        assert_eq!(still, first);
        let late = rolled(&deployment(4, Some(first)), &sets(4, 0), at(61));
        assert_eq!(said(&late, PROGRESSING), "False ProgressDeadlineExceeded");
        let saved = rolled(&deployment(4, Some(late)), &sets(4, 1), at(100));
        assert_eq!(said(&saved, PROGRESSING), "True ReplicaSetUpdated");
    }

    #[test]
    fn pausing_and_resuming() {
        let mut d = deployment(4, Some(rolled(&deployment(4, None), &sets(4, 0), at(0))));
        assert!(paused(&d, at(1)).is_none());
        d.spec.as_mut().unwrap().paused = Some(true);
        let status = paused(&d, at(1)).unwrap();
        assert_eq!(said(&status, PROGRESSING), "Unknown DeploymentPaused");
        d.status = Some(status);
        assert!(paused(&d, at(2)).is_none());
        d.spec.as_mut().unwrap().paused = Some(false);
        assert_eq!(
            said(&paused(&d, at(3)).unwrap(), PROGRESSING),
            "Unknown DeploymentResumed"
        );
    }

    #[test]
    fn a_failure_of_a_set_is_passed_on_and_stays_as_said() {
        let failing = json!({"replicas": 0, "conditions": [
            {"type": FAILURE, "status": "True", "reason": "FailedCreate", "message": "quota"}]});
        let sets = Sets {
            new: Some(set(4, failing)),
            old: Vec::new(),
        };
        let first = rolled(&deployment(4, None), &sets, at(0));
        assert_eq!(said(&first, FAILURE), "True FailedCreate");
        let again = rolled(&deployment(4, Some(first.clone())), &sets, at(9));
        assert_eq!(condition(&again, FAILURE), condition(&first, FAILURE));
    }

    #[test]
    fn scaled_to_zero_is_complete() {
        let status = rolled(&deployment(0, None), &sets(0, 0), at(0));
        assert_eq!(said(&status, PROGRESSING), "True NewReplicaSetAvailable");
        assert_eq!(
            (status.replicas, status.terminating_replicas),
            (None, Some(0))
        );
    }
}
