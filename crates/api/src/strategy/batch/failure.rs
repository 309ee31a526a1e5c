//! Pod failure policies of Jobs.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    validation::{At, go, list, text},
};

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// Checks `podFailurePolicy` of the Job spec `job`.
pub fn policy(policy: &At, job: &At, errs: &mut Errors) {
    let rules = policy.get("rules");
    if list(rules.v).len() > 20 {
        errs.push(Error::too_many(&rules.path, list(rules.v).len(), 20));
    }
    for rule in rules.each() {
        check_rule(&rule, job, errs);
    }
}

fn check_rule(rule: &At, job: &At, errs: &mut Errors) {
    let action = rule.get("action");
    match action.str() {
        "" => errs.push(
            action.required("valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
        ),
        "FailIndex" if !job.has("backoffLimitPerIndex") => {
            errs.push(action.invalid("requires the backoffLimitPerIndex to be set"));
        }
        a if ACTIONS.contains(&a) => {}
        _ => errs.push(action.not_supported(&ACTIONS)),
    }
    let codes = rule.some("onExitCodes");
    let conditions = rule.get("onPodConditions");
    if let Some(codes) = &codes {
        exit_codes(codes, job, errs);
    }
    let count = list(conditions.v).len();
    if count > 20 {
        errs.push(Error::too_many(&conditions.path, count, 20));
    }
    for condition in conditions.each() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        kind.push(names::qualified_name(kind.str()), errs);
        match status.str() {
            "True" | "False" | "Unknown" => {}
            "" => errs.push(status.required("valid values: [\"False\" \"True\" \"Unknown\"]")),
            _ => errs.push(status.not_supported(&["False", "True", "Unknown"])),
        }
    }
    let words = match (codes.is_some(), !list(conditions.v).is_empty()) {
        (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errs.push(rule.invalid(words).without_value());
}

fn exit_codes(codes: &At, job: &At, errs: &mut Errors) {
    let operator = codes.get("operator");
    match operator.str() {
        "In" | "NotIn" => {}
        "" => errs.push(operator.required("valid values: [\"In\" \"NotIn\"]")),
        _ => errs.push(operator.not_supported(&["In", "NotIn"])),
    }
    if let Some(name) = codes.some("containerName") {
        let spec = &job.v["template"]["spec"];
        let known = ["containers", "initContainers"].iter().any(|l| {
            list(&spec[*l])
                .iter()
                .any(|c| text(c, "name") == name.str())
        });
        if !known {
            errs.push(name.invalid(
                "must be one of the container or initContainer names in the pod template",
            ));
        }
    }
    let values = codes.get("values");
    let count = list(values.v).len();
    if count == 0 {
        errs.push(values.invalid("at least one value is required"));
    } else if count > 255 {
        errs.push(Error::too_many(&values.path, count, 255));
    }
    let mut seen: Vec<i64> = Vec::new();
    for value in values.each() {
        let n = value.v.as_i64().unwrap_or(0);
        if operator.str() == "In" && n == 0 {
            errs.push(value.invalid("must not be 0 for the In operator"));
        }
        if seen.contains(&n) {
            errs.push(value.duplicate());
        }
        seen.push(n);
    }
    if !seen.is_sorted() {
        errs.push(values.invalid("must be ordered"));
    }
}

/// A policy as messages show it, null for none.
pub fn shown(policy: &Value) -> String {
    const LAYOUT: &str = "Rules[Action'' OnExitCodes*{ContainerName. Operator'' Values.} OnPodConditions[Type'' Status'']]";
    match policy {
        Value::Null => "null".to_owned(),
        policy => go::dump(policy, LAYOUT),
    }
}
