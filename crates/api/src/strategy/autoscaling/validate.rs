//! What a HorizontalPodAutoscaler of v2 may say.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    validation::{At, amount::Amount, list},
};

const TYPES: [&str; 5] = [
    "ContainerResource",
    "External",
    "Object",
    "Pods",
    "Resource",
];
/// Sources of a metric, in the order in which they are looked for, and the type that each belongs to.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];
const RAW_OR_UTILIZATION: &str = "must set either a target raw value or a target utilization";
const NOT_BOTH: &str = "may not set both a target raw value and a target utilization";

/// `old` is the spec before, on an update: what was wrong there already may stay.
pub fn spec(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    let least = i64::from(old.and_then(|o| o["minReplicas"].as_i64()) != Some(0));
    let min = spec.int("minReplicas");
    if min.is_some_and(|n| n < least) {
        let words = format!("must be greater than or equal to {least}");
        errs.push(spec.get("minReplicas").invalid(words));
    }
    let max = spec.int("maxReplicas").unwrap_or(0);
    let path = spec.path.child("maxReplicas");
    if max < 1 {
        errs.push(Error::required(&path, "must be set and greater than 0"));
    }
    if min.is_some_and(|min| max < min) {
        let words = "must be greater than or equal to `minReplicas`";
        errs.push(Error::invalid(&path, max, words));
    }
    let target = spec.get("scaleTargetRef");
    reference(&target, errs);
    let before = old.map(|o| {
        o["scaleTargetRef"]["apiVersion"]
            .as_str()
            .unwrap_or_default()
    });
    if before != Some(target.text("apiVersion")) {
        api_version(&target, errs);
    }
    metrics(&spec.get("metrics"), min, errs);
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = spec.get("behavior").some(direction) {
            scaling(&rules, errs);
        }
    }
}

fn reference(at: &At, errs: &mut Errors) {
    for key in ["kind", "name"] {
        let field = at.get(key);
        if field.str().is_empty() {
            errs.push(field.required(""));
        } else {
            field.push(names::path_segment(field.str()), errs);
        }
    }
}

/// A group is needed, but for what the core group scales.
fn api_version(target: &At, errs: &mut Errors) {
    if !group_version(target, errs) {
        return;
    }
    let version = target.text("apiVersion");
    let path = target.path.child("apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let core = version == "v1" && target.text("kind") == "ReplicationController";
    if group.is_empty() && !core {
        errs.push(Error::invalid(
            &path,
            version,
            "apiVersion must specify API group",
        ));
    }
}

/// Whether `apiVersion` is a version, with a group or without.
fn group_version(at: &At, errs: &mut Errors) -> bool {
    let version = at.text("apiVersion");
    let fine = version.matches('/').count() <= 1;
    if !fine {
        let words = format!("unexpected GroupVersion string: {version}");
        errs.push(Error::invalid(&at.path.child("apiVersion"), version, words));
    }
    fine
}

fn metrics(all: &At, min: Option<i64>, errs: &mut Errors) {
    for metric in all.each() {
        source(&metric, errs);
    }
    let can_wake = list(all.v)
        .iter()
        .any(|m| m["type"] == "Object" || m["type"] == "External");
    if min == Some(0) && !can_wake {
        errs.push(all.forbidden(
            "must specify at least one Object or External metric to support scaling to zero replicas",
        ));
    }
}

fn source(metric: &At, errs: &mut Errors) {
    let kind = metric.get("type");
    if kind.str().is_empty() {
        errs.push(kind.required("must specify a metric source type"));
    }
    let known = TYPES.contains(&kind.str());
    let unsupported = || Error::not_supported(&kind.path, kind.str(), &TYPES);
    if !known {
        errs.push(unsupported());
    }
    let mut present: Vec<&str> = Vec::new();
    for (field, _) in SOURCES {
        if let Some(at) = metric.some(field) {
            present.push(field);
            if present.len() == 1 {
                one_source(field, &at, errs);
            }
        }
    }
    let expected = SOURCES
        .iter()
        .find(|(_, t)| *t == kind.str())
        .map(|(f, _)| *f);
    match expected {
        Some(field) if !present.contains(&field) => errs.push(
            metric
                .get(field)
                .required("must populate information for the given metric source"),
        ),
        Some(_) => {}
        None => errs.push(unsupported()),
    }
    if present.len() > 1 {
        for field in present.into_iter().filter(|f| Some(*f) != expected) {
            let words = "must populate the given metric source only";
            errs.push(metric.get(field).forbidden(words));
        }
    }
}

fn one_source(field: &str, at: &At, errs: &mut Errors) {
    let target = at.get("target");
    let has = |key: &str| target.has(key);
    match field {
        "object" => {
            let object = at.get("describedObject");
            reference(&object, errs);
            group_version(&object, errs);
            identifier(&at.get("metric"), errs);
            value(&target, errs);
            if !has("value") && !has("averageValue") {
                let words = "must set either a target value or averageValue";
                errs.push(target.get("averageValue").required(words));
            }
        }
        "external" => {
            identifier(&at.get("metric"), errs);
            value(&target, errs);
            if !has("value") && !has("averageValue") {
                let words = "must set either a target value for metric or a per-pod target";
                errs.push(target.get("averageValue").required(words));
            } else if has("value") && has("averageValue") {
                let words = "may not set both a target value for metric and a per-pod target";
                errs.push(target.get("value").forbidden(words));
            }
        }
        "pods" => {
            identifier(&at.get("metric"), errs);
            value(&target, errs);
            let average = target.get("averageValue");
            if average.v.is_null() || Amount::of(average.v).nanos <= 0 {
                errs.push(average.required("must specify a positive target averageValue"));
            }
        }
        _ => resource(field, at, errs),
    }
}

fn resource(field: &str, at: &At, errs: &mut Errors) {
    if at.text("name").is_empty() {
        errs.push(at.get("name").required("must specify a resource name"));
    }
    if field == "containerResource" && at.text("container").is_empty() {
        errs.push(at.get("container").required("must specify a container"));
    }
    let target = at.get("target");
    value(&target, errs);
    match (target.has("averageUtilization"), target.has("averageValue")) {
        (false, false) => errs.push(
            target
                .get("averageUtilization")
                .required(RAW_OR_UTILIZATION),
        ),
        (true, true) => errs.push(target.get("averageValue").forbidden(NOT_BOTH)),
        _ => {}
    }
}

fn identifier(at: &At, errs: &mut Errors) {
    let name = at.get("name");
    if name.str().is_empty() {
        errs.push(name.required("must specify a metric name"));
    } else {
        name.push(names::path_segment(name.str()), errs);
    }
}

fn value(target: &At, errs: &mut Errors) {
    let kind = target.get("type");
    if kind.str().is_empty() {
        errs.push(kind.required("must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind.str()) {
        let words = "must be either Utilization, Value, or AverageValue";
        errs.push(Error::invalid(&kind.path, kind.str(), words));
    }
    for key in ["value", "averageValue"] {
        if let Some(at) = target.some(key)
            && Amount::of(at.v).nanos <= 0
        {
            let shown = Amount::of(at.v).to_string();
            errs.push(Error::invalid(&at.path, shown, "must be positive"));
        }
    }
    if target.int("averageUtilization").is_some_and(|n| n < 1) {
        errs.push(
            target
                .get("averageUtilization")
                .invalid("must be greater than 0"),
        );
    }
}

fn scaling(rules: &At, errs: &mut Errors) {
    let window = rules.get("stabilizationWindowSeconds");
    match window.v.as_i64() {
        Some(n) if n < 0 => errs.push(window.invalid("must be greater than or equal to zero")),
        Some(n) if n > 3600 => errs.push(window.invalid("must be less than or equal to 3600")),
        _ => {}
    }
    const SELECT: [&str; 3] = ["Disabled", "Max", "Min"];
    if let Some(select) = rules
        .some("selectPolicy")
        .filter(|s| !SELECT.contains(&s.str()))
    {
        errs.push(select.not_supported(&SELECT));
    }
    let policies = rules.get("policies");
    if list(policies.v).is_empty() {
        errs.push(policies.required("must specify at least one Policy"));
    }
    for policy in policies.each() {
        scaling_policy(&policy, errs);
    }
    if let Some(tolerance) = rules.some("tolerance")
        && Amount::of(tolerance.v).nanos < 0
    {
        let shown = Amount::of(tolerance.v).to_string();
        let words = "must be greater than or equal to 0";
        errs.push(Error::invalid(&tolerance.path, shown, words));
    }
}

fn scaling_policy(policy: &At, errs: &mut Errors) {
    let kind = policy.get("type");
    if !["Percent", "Pods"].contains(&kind.str()) {
        errs.push(Error::not_supported(
            &kind.path,
            kind.str(),
            &["Percent", "Pods"],
        ));
    }
    let number = |key: &str| policy.int(key).unwrap_or(0);
    let path = |key: &str| policy.path.child(key);
    if number("value") <= 0 {
        errs.push(Error::invalid(
            &path("value"),
            number("value"),
            "must be greater than zero",
        ));
    }
    let period = number("periodSeconds");
    let words = match period {
        ..=0 => "must be greater than zero",
        1801.. => "must be less than or equal to 1800",
        _ => return,
    };
    errs.push(Error::invalid(&path("periodSeconds"), period, words));
}
