//! Workloads that keep a number of pods running.

mod daemonset;
mod deployment;
mod replicaset;
mod replication;
mod statefulset;

pub use daemonset::DaemonSet;
pub use deployment::Deployment;
pub use replicaset::ReplicaSet;
pub use replication::{ControllerRevision, ReplicationController};
pub use statefulset::StatefulSet;

use knarr_json::Value;

use super::{Column, common, pod};
use crate::{
    field::{Error, Errors},
    selector::LabelSelector,
    table,
    validation::{At, labels},
};

/// How pods of Deployments and DaemonSets are replaced, as messages show it: see [`crate::validation::go::dump`].
const STRATEGY: &str = "Type'' RollingUpdate*{MaxUnavailable0 MaxSurge0}";

/// The selector of a workload: required, well-formed, not empty. `kind` is how the message calls the workload.
pub(super) fn selector(spec: &At, kind: &str, errs: &mut Errors) {
    let selector = spec.get("selector");
    if selector.v.is_null() {
        errs.push(selector.required(""));
        return;
    }
    labels::selector(&selector, errs);
    if labels::selector_is_empty(selector.v) {
        let shown = labels::selector_json(selector.v);
        errs.push(
            selector
                .invalid(format!("empty selector is invalid for {kind}"))
                .showing(shown),
        );
    }
}

/// The pod template of a workload whose pods run forever, and that the selector selects it. A selector that cannot be
/// understood ends the check.
pub(super) fn pod_template(spec: &At, kind: &str, old: Option<&Value>, errs: &mut Errors) {
    let selector = spec.get("selector");
    let template = spec.get("template");
    let labels = template.get("metadata").get("labels");
    match LabelSelector::from_object(selector.v) {
        Err(_) => {
            let shown = labels::selector_json(selector.v);
            errs.push(selector.invalid("invalid label selector").showing(shown));
            return;
        }
        // an empty selector is told by `selector`
        Ok(s) if s.is_everything() || s.matches_labels(labels.v) => {}
        Ok(_) => errs.push(not_selected(&labels)),
    }
    pod::validate::template(&template, old.map(|o| &o["template"]), errs);
    runs_forever(&template.get("spec"), kind, errs);
}

/// Pods of `kind` always restart and have no deadline.
pub(super) fn runs_forever(pod_spec: &At, kind: &str, errs: &mut Errors) {
    let policy = pod_spec.get("restartPolicy");
    if policy.str() != "Always" {
        errs.push(policy.not_supported(&["Always"]));
    }
    if pod_spec.has("activeDeadlineSeconds") {
        let words = format!("activeDeadlineSeconds in {kind} is not Supported");
        errs.push(pod_spec.get("activeDeadlineSeconds").forbidden(words));
    }
}

/// `selector` does not match template `labels`.
pub(super) fn not_selected(labels: &At) -> Error {
    let shown = if crate::validation::is_empty(labels.v) {
        Value::Null
    } else {
        labels.v.clone()
    };
    Error::invalid(
        &labels.path,
        shown,
        "`selector` does not match template `labels`",
    )
}

/// The selector of `apps/v1` workloads never changes.
pub(super) fn immutable_selector(spec: &At, old: &Value, errs: &mut Errors) {
    let selector = spec.get("selector");
    if *selector.v != old["spec"]["selector"] {
        let shown = labels::selector_json(selector.v);
        errs.push(selector.invalid("field is immutable").showing(shown));
    }
}

/// Warnings about the pod template.
pub(super) fn template_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let generation = |o: &Value| o["metadata"]["generation"].clone();
    if old.is_some_and(|o| generation(o) == generation(object)) {
        return Vec::new();
    }
    let template = At::root(object, "spec").get("template");
    pod::warnings::template(&template)
}

/// [`template_warnings`], and one about the name of a new object that pods are called by.
pub(super) fn named_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_none() {
        common::pod_name_warning(object, &mut out);
    }
    out.extend(template_warnings(object, old));
    out
}

pub(super) fn wide_columns() -> [Column; 3] {
    [
        table::wide("Containers", "Names of each container in the template."),
        table::wide(
            "Images",
            "Images referenced by each container in the template.",
        ),
        table::wide(
            "Selector",
            "Label query over pods. It must match the pod template's labels.",
        ),
    ]
}

pub(super) fn wide_cells(spec: &Value) -> [Value; 3] {
    let (names, images) = table::containers(&spec["template"]["spec"]["containers"]);
    [
        names.into(),
        images.into(),
        table::selector(&spec["selector"]).into(),
    ]
}

/// `25%` or `3`: not negative. Shown as it was written.
pub(super) fn int_or_percent(at: &At, errs: &mut Errors) {
    match at.v {
        Value::String(s) => {
            if percent(s).is_none() {
                errs.push(at.invalid("a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"));
            }
        }
        v => {
            if v.as_i64().is_some_and(|n| n < 0) {
                errs.push(at.invalid("must be greater than or equal to 0"));
            }
        }
    }
}

/// `must not be greater than 100%`.
pub(super) fn at_most_all(at: &At, errs: &mut Errors) {
    if at.v.as_str().and_then(percent).is_some_and(|p| p > 100) {
        errs.push(at.invalid("must not be greater than 100%"));
    }
}

/// The number in `25%`.
pub(super) fn percent(s: &str) -> Option<i64> {
    let digits = s.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().or(Some(i64::MAX))
}

/// The number in a value that is a number or a percentage; absent counts as zero.
pub(super) fn int_or_percent_value(v: &Value) -> i64 {
    v.as_str().and_then(percent).or(v.as_i64()).unwrap_or(0)
}

/// Ready of desired, as `2/3`.
pub(super) fn ready_of(object: &Value) -> String {
    let n = |v: &Value| v.as_i64().unwrap_or(0);
    format!(
        "{}/{}",
        n(&object["status"]["readyReplicas"]),
        n(&object["spec"]["replicas"])
    )
}
