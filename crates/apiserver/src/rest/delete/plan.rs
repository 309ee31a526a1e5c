//! What a delete does to an object: whether it goes at once, after its grace, or when its finalizers are gone. Pure.

use jiff::{SignedDuration, Timestamp};
use knarr_json::Value;

use super::{
    super::{Target, meta},
    DeleteOptions,
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a delete does to an object. Pure.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Nothing: it is being deleted already, and this request does not hasten it.
    Leave,
    /// Write this; the object stays for a while.
    Mark(Value),
    /// Remove it; this is its last state.
    Remove(Value),
}

pub(super) fn plan(target: &Target, options: &DeleteOptions, old: &Value, now: Timestamp) -> Plan {
    let resource = &target.resource;
    if resource.group.is_empty() && resource.kind == "Namespace" {
        return plan_namespace(target, options, old, now);
    }
    if resource.group == "apiextensions.k8s.io" && !meta::is_deleting(old) {
        return Plan::Mark(crate::custom::marked_for_deletion(old, now));
    }
    let asked = options
        .grace_period_seconds
        .map(|s| if s < 0 { 1 } else { s });
    let mut object = old.clone();
    let graceful = match resource.strategy.grace_period(old, asked) {
        None => Grace::None,
        Some(seconds) => mark_graceful(&mut object, asked, seconds, now),
    };
    if graceful == Grace::Pending {
        return Plan::Leave;
    }
    let finalizers = wanted_finalizers(target, options, old);
    let held = !finalizers.is_empty();
    if finalizers != meta::finalizers(old) {
        meta::set_finalizers(&mut object, finalizers);
    }
    match graceful {
        Grace::Set(seconds) if held || seconds > 0 => Plan::Mark(object),
        Grace::Set(_) => Plan::Remove(object),
        Grace::None | Grace::Pending if held => {
            mark_now(&mut object, now);
            Plan::Mark(object)
        }
        Grace::None | Grace::Pending => Plan::Remove(object),
    }
}

/// A namespace goes through two deletes: the first one ends its life, the last one, without finalizers, removes it.
fn plan_namespace(target: &Target, options: &DeleteOptions, old: &Value, now: Timestamp) -> Plan {
    let emptied = old["spec"]["finalizers"].items().is_empty();
    let mut object = old.clone();
    if !meta::is_deleting(old) {
        meta::of(&mut object).insert("deletionTimestamp", meta::time(now).into());
        object["status"]["phase"] = "Terminating".into();
        return Plan::Mark(object);
    }
    let finalizers = wanted_finalizers(target, options, old);
    match (emptied, finalizers.is_empty()) {
        (true, true) => Plan::Remove(object),
        (true, false) if finalizers != meta::finalizers(old) => {
            meta::set_finalizers(&mut object, finalizers);
            Plan::Mark(object)
        }
        _ => Plan::Leave,
    }
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Grace {
    /// This delete is not graceful.
    None,
    /// A graceful deletion runs already and is not shortened.
    Pending,
    /// Set to so many seconds from now.
    Set(i64),
}

fn mark_graceful(object: &mut Value, asked: Option<i64>, seconds: i64, now: Timestamp) -> Grace {
    let running = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let started = object["metadata"]["deletionTimestamp"]
        .as_str()
        .and_then(|t| t.parse::<Timestamp>().ok());
    let at = |t: Timestamp, seconds: i64| {
        let end = t.checked_add(SignedDuration::from_secs(seconds));
        meta::time(end.unwrap_or(Timestamp::MAX))
    };
    match (started, running, asked) {
        (Some(_), None, _) => Grace::None,
        (Some(end), Some(running), Some(asked)) if asked < running => {
            let map = meta::of(object);
            map.insert(
                "deletionTimestamp",
                at(end, asked.saturating_sub(running)).into(),
            );
            map.insert("deletionGracePeriodSeconds", asked.into());
            Grace::Set(asked)
        }
        (Some(_), Some(_), _) => Grace::Pending,
        (None, ..) => {
            count(object);
            let map = meta::of(object);
            map.insert("deletionTimestamp", at(now, seconds).into());
            map.insert("deletionGracePeriodSeconds", seconds.into());
            Grace::Set(seconds)
        }
    }
}

/// Marks an object that knows no grace but has finalizers.
fn mark_now(object: &mut Value, now: Timestamp) {
    if object["metadata"]["deletionGracePeriodSeconds"].is_null() {
        count(object);
    }
    let started = object["metadata"]["deletionTimestamp"]
        .as_str()
        .and_then(|t| t.parse::<Timestamp>().ok());
    let map = meta::of(object);
    if started.is_none_or(|t| t > now) {
        map.insert("deletionTimestamp", meta::time(now).into());
    }
    map.insert("deletionGracePeriodSeconds", 0.into());
}

/// The start of a deletion counts as a change of what is wanted.
fn count(object: &mut Value) {
    let generation = meta::generation(object);
    if generation > 0 {
        meta::of(object).insert("generation", generation.wrapping_add(1).into());
    }
}

/// The object's finalizers with those that the propagation policy puts in or takes out.
fn wanted_finalizers(target: &Target, options: &DeleteOptions, object: &Value) -> Vec<String> {
    let current = meta::finalizers(object);
    let has = |name: &str| current.iter().any(|f| f == name);
    let policy = options.propagation_policy.as_deref();
    let (orphan, foreground) = match (options.orphan_dependents, policy) {
        (Some(orphan), _) => (orphan, false),
        (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
        (None, None) if has(ORPHAN) || has(FOREGROUND) => {
            let first = current.iter().find(|f| *f == ORPHAN || *f == FOREGROUND);
            (
                first.is_some_and(|f| f == ORPHAN),
                first.is_some_and(|f| f == FOREGROUND),
            )
        }
        (None, None) => (target.resource.strategy.orphan_by_default(), false),
    };
    let mut wanted: Vec<String> = current
        .iter()
        .filter(|f| *f != ORPHAN && *f != FOREGROUND)
        .cloned()
        .collect();
    if orphan {
        wanted.push(ORPHAN.into());
    }
    if foreground {
        wanted.push(FOREGROUND.into());
    }
    let same = wanted.len() == current.len() && wanted.iter().all(|f| current.contains(f));
    if same { current } else { wanted }
}
