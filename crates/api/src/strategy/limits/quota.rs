//! What a ResourceQuota may say.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    validation::{
        At, go, list, map,
        resources::{STANDARD, amount, resource_name},
    },
};

/// Whether a quota may limit a resource by its name alone.
fn is_counted(name: &str) -> bool {
    (STANDARD.contains(&name) && name != "storage")
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// Checks the spec of a quota.
pub fn spec(spec: &At, errs: &mut Errors) {
    amounts(&spec.get("hard"), errs);
    scopes(spec, errs);
    scope_selector(spec, errs);
}

/// Checks the status of a quota.
pub fn status(status: &At, errs: &mut Errors) {
    amounts(&status.get("hard"), errs);
    amounts(&status.get("used"), errs);
}

fn amounts(all: &At, errs: &mut Errors) {
    for (name, at) in all.entries() {
        resource_name(&at, name, errs);
        if !name.contains('/') && !is_counted(name) {
            errs.push(Error::invalid(
                &at.path,
                name,
                "must be a standard resource for quota",
            ));
        }
        amount(&at, name, errs);
    }
}

/// Whether two lists of scopes name the same ones.
pub fn same_scopes(a: &Value, b: &Value) -> bool {
    let all_in = |a: &Value, b: &Value| list(a).iter().all(|s| list(b).contains(s));
    all_in(a, b) && all_in(b, a)
}

/// Whether pods or claims in a scope have anything to do with a resource.
fn fits(scope: &str, resource: &str) -> bool {
    const OF_PODS: [&str; 6] = [
        "cpu",
        "memory",
        "limits.cpu",
        "limits.memory",
        "requests.cpu",
        "requests.memory",
    ];
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            ["persistentvolumeclaims", "requests.storage"].contains(&resource)
        }
        s if SCOPES.contains(&s) => resource == "pods" || OF_PODS.contains(&resource),
        _ => true,
    }
}

/// How many limited resources a scope does not fit.
fn misfits(spec: &At, scope: &str) -> usize {
    map(spec.v, "hard")
        .into_iter()
        .flat_map(|m| m.keys())
        .filter(|name| is_counted(name) && !fits(scope, name))
        .count()
}

const UNSUPPORTED: &str = "unsupported scope";
const MISFIT: &str = "unsupported scope applied to resource";

fn scopes(spec: &At, errs: &mut Errors) {
    let scopes = spec.get("scopes");
    let all: Vec<&str> = list(scopes.v).iter().filter_map(Value::as_str).collect();
    for scope in &all {
        if !SCOPES.contains(scope) {
            errs.push(scopes.invalid(UNSUPPORTED));
        }
        for _ in 0..misfits(spec, scope) {
            errs.push(scopes.invalid(MISFIT));
        }
    }
    conflicts(&scopes, &scopes, &all, errs);
}

/// Scopes of which each leaves out what the other takes in.
fn conflicts(at: &At, scopes: &At, all: &[&str], errs: &mut Errors) {
    for (a, b) in [
        ("BestEffort", "NotBestEffort"),
        ("Terminating", "NotTerminating"),
    ] {
        if all.contains(&a) && all.contains(&b) {
            errs.push(Error::invalid(
                &at.path,
                scopes.v.clone(),
                "conflicting scopes",
            ));
        }
    }
}

fn scope_selector(spec: &At, errs: &mut Errors) {
    let selector = spec.get("scopeSelector");
    let expressions = selector.get("matchExpressions");
    let mut all: Vec<&str> = Vec::new();
    for e in expressions.each() {
        let scope = e.text("scopeName");
        all.push(scope);
        if !SCOPES.contains(&scope) {
            let path = expressions.path.child("scopeName");
            errs.push(Error::invalid(&path, scope, UNSUPPORTED));
        }
        for _ in 0..misfits(spec, scope) {
            let shown = go::dump(
                selector.v,
                "MatchExpressions[ScopeName'' Operator'' Values.]",
            );
            errs.push(expressions.invalid(MISFIT).showing(shown));
        }
        operator(&e, &expressions, errs);
    }
    conflicts(&expressions, &spec.get("scopes"), &all, errs);
}

/// The original leaves the index out of these paths.
fn operator(e: &At, expressions: &At, errs: &mut Errors) {
    const EXISTING: [&str; 5] = [
        "BestEffort",
        "NotBestEffort",
        "Terminating",
        "NotTerminating",
        "CrossNamespacePodAffinity",
    ];
    let (operator, values) = (e.text("operator"), &e.v["values"]);
    let at = |key: &str| expressions.path.child(key);
    if EXISTING.contains(&e.text("scopeName")) && operator != "Exists" {
        let words = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errs.push(Error::invalid(&at("operator"), operator, words));
    }
    match operator {
        "In" | "NotIn" if list(values).is_empty() => {
            let words =
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errs.push(Error::required(&at("values"), words));
        }
        "Exists" | "DoesNotExist" if !list(values).is_empty() => {
            let words =
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errs.push(Error::invalid(&at("values"), values.clone(), words));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errs.push(Error::invalid(
            &at("operator"),
            operator,
            "not a valid selector operator",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn wrong(v: Value) -> Vec<String> {
        let mut errs = Errors::new();
        spec(&At::new(&v, "spec"), &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn quotas_that_are_refused() {
        let cases: &[(Value, &[&str])] = &[
            (
                json!({"hard": {"storage": "1"}}),
                &[
                    "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
                ],
            ),
            (
                json!({"hard": {"example.com/x": "1", "pods": "1"}, "scopes": ["BestEffort"]}),
                &[],
            ),
            (
                json!({"hard": {"services": "1"}, "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["a"]}]}}),
                &[
                    "spec.scopeSelector.matchExpressions: Invalid value: {\"MatchExpressions\":[{\"ScopeName\":\"PriorityClass\",\"Operator\":\"In\",\"Values\":[\"a\"]}]}: unsupported scope applied to resource",
                ],
            ),
            (
                json!({"hard": {}, "scopeSelector": {"matchExpressions": [{"scopeName": "BestEffort", "operator": "Exists"}, {"scopeName": "NotBestEffort", "operator": "Exists"}]}}),
                &["spec.scopeSelector.matchExpressions: Invalid value: null: conflicting scopes"],
            ),
        ];
        for (v, want) in cases {
            assert_eq!(wrong(v.clone()), *want, "{v}");
        }
        assert!(same_scopes(&json!(["A", "B"]), &json!(["B", "A"])));
    }
}
