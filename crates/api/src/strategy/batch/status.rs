//! What controllers may say of a Job: others than the built-in one may manage Jobs, so the server holds them to its rules.

use jiff::Timestamp;
use knarr_json::Value;

use super::indexes;
use crate::{
    field::{Error, Errors},
    validation::{At, go, is_empty, list, non_negative, text},
};

/// A list of pods as messages show it: see [`go::dump`].
const UNCOUNTED: &str = "Succeeded. Failed. ";

/// Whether a condition of the Job is true.
pub fn holds(job: &Value, kind: &str) -> bool {
    list(&job["status"]["conditions"])
        .iter()
        .any(|c| text(c, "type") == kind && text(c, "status") == "True")
}

fn finished(job: &Value) -> bool {
    holds(job, "Complete") || holds(job, "Failed")
}

/// A Job's status, its predecessor, and what changed between them: most rules are only for what changed, so that a status
/// that broke them before can still be written.
struct Change<'a> {
    new: &'a Value,
    old: &'a Value,
    status: At<'a>,
}

impl Change<'_> {
    fn field(&self, key: &str) -> bool {
        let (new, old) = (&self.new["status"][key], &self.old["status"][key]);
        new != old && !(is_empty(new) && is_empty(old))
    }

    fn count(&self, key: &str) -> bool {
        let n = |job: &Value| job["status"][key].as_i64().unwrap_or(0);
        n(self.new) != n(self.old)
    }

    fn condition(&self, kind: &str) -> bool {
        holds(self.new, kind) != holds(self.old, kind)
    }

    fn finished(&self) -> bool {
        finished(self.new) != finished(self.old)
    }

    fn conditions(&self, words: &str) -> Error {
        self.status.get("conditions").invalid(words).without_value()
    }

    fn completions(&self) -> Option<i64> {
        self.new["spec"]["completions"].as_i64()
    }

    fn is_indexed(&self) -> bool {
        self.new["spec"]["completionMode"] == "Indexed"
    }
}

/// Checks an update of the status.
pub fn update(new: &Value, old: &Value, errs: &mut Errors) {
    let change = Change {
        new,
        old,
        status: At::root(new, "status"),
    };
    for key in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(&change.status, key, errs);
    }
    uncounted(&change.status.get("uncountedTerminatedPods"), errs);
    completed(&change, errs);
    times(&change, errs);
    at_the_end(&change, errs);
    index_lists(&change, errs);
    pods(&change, errs);
    success(&change, errs);
    transitions(&change, errs);
}

fn uncounted(pods: &At, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for uid in pods.items("succeeded").chain(pods.items("failed")) {
        if uid.str().is_empty() {
            errs.push(uid.invalid("must not be empty"));
        } else if seen.contains(&uid.str()) {
            errs.push(uid.duplicate());
        } else {
            seen.push(uid.str());
        }
    }
}

fn completed(change: &Change, errs: &mut Errors) {
    let new = change.new;
    if !holds(new, "Complete") {
        return;
    }
    let changed = change.condition("Complete");
    if (changed || change.condition("Failed")) && holds(new, "Failed") {
        errs.push(change.conditions("cannot set Complete=True and Failed=true conditions"));
    }
    if (changed || change.condition("FailureTarget")) && holds(new, "FailureTarget") {
        errs.push(change.conditions("cannot set Complete=True and FailureTarget=true conditions"));
    }
}

fn times(change: &Change, errs: &mut Errors) {
    let (start, end) = (
        change.status.get("startTime"),
        change.status.get("completionTime"),
    );
    if change.condition("Complete") || change.field("completionTime") {
        match (holds(change.new, "Complete"), end.v.is_null()) {
            (false, false) => errs.push(
                end.invalid("cannot set completionTime when there is no Complete=True condition"),
            ),
            (true, true) => {
                errs.push(end.required("completionTime is required for Complete jobs"));
            }
            _ => {}
        }
    }
    let time = |at: &At| at.str().parse::<Timestamp>().ok();
    if (change.field("startTime") || change.field("completionTime"))
        && time(&start).zip(time(&end)).is_some_and(|(s, e)| e < s)
    {
        errs.push(end.invalid("completionTime cannot be set before startTime"));
    }
    let condition = |kind: &str, with: &str| {
        change.condition(kind) && holds(change.new, kind) && !holds(change.new, with)
    };
    if condition("Failed", "FailureTarget") {
        errs.push(change.conditions(
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ));
    }
    if condition("Complete", "SuccessCriteriaMet") {
        errs.push(change.conditions(
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ));
    }
}

/// What a finished Job has, and has no more.
fn at_the_end(change: &Change, errs: &mut Errors) {
    if !finished(change.new) {
        return;
    }
    let (status, just) = (&change.status, change.finished());
    let active = status.get("active");
    if (just || change.count("active")) && active.v.as_i64().unwrap_or(0) > 0 {
        errs.push(active.invalid("active>0 is invalid for finished job"));
    }
    let start = status.get("startTime");
    if (just || change.field("startTime")) && start.v.is_null() {
        errs.push(start.required("startTime is required for finished job"));
    }
    let pods = status.get("uncountedTerminatedPods");
    let some = !is_empty(&pods.v["succeeded"]) || !is_empty(&pods.v["failed"]);
    if (just || change.field("uncountedTerminatedPods")) && some {
        errs.push(
            pods.invalid("uncountedTerminatedPods needs to be empty for finished job")
                .showing(go::dump(pods.v, UNCOUNTED)),
        );
    }
}

fn index_lists(change: &Change, errs: &mut Errors) {
    let (done, failed) = (
        change.status.get("completedIndexes"),
        change.status.get("failedIndexes"),
    );
    let (done_changed, failed_changed) = (change.field("completedIndexes"), {
        let of = |job: &Value| job["status"].get("failedIndexes").cloned();
        of(change.new) != of(change.old)
    });
    let per_index = !change.new["spec"]["backoffLimitPerIndex"].is_null();
    if let Some(n) = change.completions() {
        if let Some(words) = parse(&done, done_changed, n) {
            errs.push(text_of(
                &done,
                format!("error parsing completedIndexes: {words}"),
            ));
        }
        if per_index && let Some(words) = parse(&failed, failed_changed, n) {
            errs.push(text_of(
                &failed,
                format!("error parsing failedIndexes: {words}"),
            ));
        }
    }
    if done_changed && !done.str().is_empty() && !change.is_indexed() {
        errs.push(
            done.invalid("cannot set non-empty completedIndexes when non-indexed completion mode"),
        );
    }
    if failed_changed && !per_index && !failed.v.is_null() {
        errs.push(
            failed.invalid("cannot set non-null failedIndexes when backoffLimitPerIndex is null"),
        );
    }
    if (done_changed || failed_changed)
        && let Some(n) = change.completions()
        && let Some(both) = indexes::shared(done.str(), failed.str(), n)
    {
        errs.push(failed.invalid(format!(
            "failedIndexes and completedIndexes overlap at index: {both}"
        )));
    }
}

fn parse(at: &At, changed: bool, completions: i64) -> Option<String> {
    indexes::count(at.str(), completions)
        .err()
        .filter(|_| changed)
}

fn text_of(at: &At, words: String) -> Error {
    Error::invalid(&at.path, at.str(), words)
}

fn pods(change: &Change, errs: &mut Errors) {
    let (terminating, ready) = (change.status.get("terminating"), change.status.get("ready"));
    let ends = change.finished() || change.count("terminating");
    if ends && finished(change.new) && terminating.v.as_i64().unwrap_or(0) > 0 {
        errs.push(terminating.invalid("terminating>0 is invalid for finished job"));
    }
    let active = change.status.int("active").unwrap_or(0);
    let changed = change.field("ready") || change.count("active");
    if changed && ready.v.as_i64().is_some_and(|n| n > active) {
        errs.push(ready.invalid("cannot set more ready pods than active"));
    }
}

fn success(change: &Change, errs: &mut Errors) {
    let new = change.new;
    let met = holds(new, "SuccessCriteriaMet");
    for (kind, words) in [
        (
            "Failed",
            "cannot set SuccessCriteriaMet=True and Failed=true conditions",
        ),
        (
            "FailureTarget",
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
    ] {
        if met && holds(new, kind) {
            errs.push(change.conditions(words));
        }
    }
    if !new["spec"]["successPolicy"].is_null() && !met && holds(new, "Complete") {
        errs.push(change.conditions(
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ));
    }
}

/// What is never taken back.
fn transitions(change: &Change, errs: &mut Errors) {
    let (new, old, status) = (change.new, change.old, &change.status);
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if holds(old, kind) && !holds(new, kind) {
            let words = format!("cannot disable the terminal {kind}=True condition");
            errs.push(change.conditions(&words));
        }
    }
    let scalable = change.is_indexed() && new["spec"]["completions"] == new["spec"]["parallelism"];
    for (key, may_fall) in [("failed", false), ("succeeded", scalable)] {
        let (now, was) = (
            status.int(key).unwrap_or(0),
            old["status"][key].as_i64().unwrap_or(0),
        );
        if now < was && !may_fall {
            let words = format!("cannot decrease the {key} counter");
            errs.push(Error::invalid(&status.path.child(key), now, words));
        }
    }
    let end = status.get("completionTime");
    if change.field("completionTime")
        && !end.v.is_null()
        && !old["status"]["completionTime"].is_null()
    {
        errs.push(end.invalid("completionTime cannot be mutated"));
    }
    let resumes = holds(old, "Suspended") && !holds(new, "Suspended");
    if change.field("startTime")
        && !old["status"]["startTime"].is_null()
        && new["spec"]["suspend"] != true
        && !resumes
    {
        let words = "field is immutable for unsuspended job once set";
        errs.push(status.get("startTime").invalid(words));
    }
    let (was, met) = (
        holds(old, "SuccessCriteriaMet"),
        holds(new, "SuccessCriteriaMet"),
    );
    if was && !met {
        errs.push(change.conditions("cannot disable the SuccessCriteriaMet=True condition"));
    }
    if holds(old, "Complete") && !was && met {
        errs.push(change.conditions(
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn wrong(spec: Value, new: Value, old: Value) -> Vec<String> {
        let (new, old) = (
            json!({"spec": spec, "status": new}),
            json!({"spec": spec, "status": old}),
        );
        let mut errs = Errors::new();
        update(&new, &old, &mut errs);
        errs.iter()
            .map(|e| format!("{}: {}", e.field, e.detail))
            .collect()
    }

    fn conditions(kinds: &[&str]) -> Value {
        kinds
            .iter()
            .map(|k| json!({"type": k, "status": "True"}))
            .collect()
    }

    #[test]
    fn the_way_to_completion() {
        let start = "2024-05-01T10:00:00Z";
        let fine = json!({"startTime": start, "completionTime": "2024-05-01T10:05:00Z", "succeeded": 1,
            "conditions": conditions(&["SuccessCriteriaMet", "Complete"])});
        assert_eq!(
            wrong(json!({}), fine.clone(), json!({"startTime": start})),
            Vec::<String>::new()
        );
        assert_eq!(
            wrong(
                json!({}),
                json!({"active": 1, "conditions": conditions(&["Complete"])}),
                json!({})
            ),
            [
                "status.completionTime: completionTime is required for Complete jobs",
                "status.conditions: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.active: active>0 is invalid for finished job",
                "status.startTime: startTime is required for finished job",
            ]
        );
        assert_eq!(
            wrong(json!({}), json!({"startTime": start}), fine),
            [
                "status.conditions: cannot disable the terminal Complete=True condition",
                "status.succeeded: cannot decrease the succeeded counter",
                "status.conditions: cannot disable the SuccessCriteriaMet=True condition",
            ]
        );
    }

    #[test]
    fn a_job_that_runs_has_started_once() {
        let at = |start: &str, suspended: &str| json!({"startTime": start, "conditions": [{"type": "Suspended", "status": suspended}]});
        let (one, two) = ("2024-05-01T10:00:00Z", "2024-05-01T10:00:01Z");
        const WORDS: &str = "status.startTime: field is immutable for unsuspended job once set";
        for (spec, new, old, want) in [
            (json!({}), at(two, "False"), at(one, "False"), &[WORDS][..]),
            (json!({}), json!({}), json!({"startTime": one}), &[WORDS]),
            (json!({}), at(two, "False"), at(one, "True"), &[]),
            (
                json!({"suspend": true}),
                json!({}),
                json!({"startTime": one}),
                &[],
            ),
            (json!({}), json!({"startTime": one}), json!({}), &[]),
        ] {
            assert_eq!(wrong(spec, new.clone(), old), want, "{new}");
        }
    }

    #[test]
    fn indexes_of_a_status() {
        let indexed = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2, "backoffLimitPerIndex": 1});
        for (spec, status, want) in [
            (
                indexed.clone(),
                json!({"completedIndexes": "0,5"}),
                "status.completedIndexes: error parsing completedIndexes: too large index: \"5\"",
            ),
            (
                indexed,
                json!({"completedIndexes": "0-1", "failedIndexes": "1"}),
                "status.failedIndexes: failedIndexes and completedIndexes overlap at index: 1",
            ),
            (
                json!({"completionMode": "NonIndexed"}),
                json!({"completedIndexes": "0"}),
                "status.completedIndexes: cannot set non-empty completedIndexes when non-indexed completion mode",
            ),
            (
                json!({}),
                json!({"ready": 2, "active": 1}),
                "status.ready: cannot set more ready pods than active",
            ),
        ] {
            assert_eq!(wrong(spec, status, json!({})), [want]);
        }
    }
}
