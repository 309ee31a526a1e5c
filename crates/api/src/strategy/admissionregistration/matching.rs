//! Which requests a webhook or policy is asked about: rules, selectors, match resources.

use knarr_json::{Value, json};

use crate::{
    field::{Error, Errors},
    names,
    strategy::defaults::{each, set},
    validation::{At, labels, list, text},
};

pub const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];

/// A string that is one of a few, when it is there.
pub fn one_of_if_set(at: &At, supported: &[&str], errs: &mut Errors) {
    if !at.v.is_null() && !supported.contains(&at.str()) {
        errs.push(at.not_supported(supported));
    }
}

/// Defaults of webhooks and of match resources alike.
pub fn default(at: &mut Value, rules: &[&str]) {
    set(at, "matchPolicy", "Equivalent");
    set(at, "namespaceSelector", json!({}));
    set(at, "objectSelector", json!({}));
    for key in rules {
        each(at, key).for_each(|rule| set(rule, "scope", "*"));
    }
}

/// `namespaceSelector` and `objectSelector`, where they are set.
pub fn selectors(at: &At, errs: &mut Errors) {
    for key in ["namespaceSelector", "objectSelector"] {
        labels::selector(&at.get(key), errs);
    }
}

/// `matchConstraints` or `matchResources` of a policy or binding.
pub fn resources(at: &At, errs: &mut Errors) {
    one_of_if_set(&at.get("matchPolicy"), &MATCH_POLICIES, errs);
    selectors(at, errs);
    for key in ["resourceRules", "excludeResourceRules"] {
        for rule in at.items(key) {
            resource_names(&rule, errs);
            self::rule(&rule, errs);
        }
    }
}

fn resource_names(rule: &At, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for name in rule.items("resourceNames") {
        name.push(names::path_segment(name.str()), errs);
        if seen.contains(&name.str()) {
            errs.push(name.duplicate());
        }
        seen.push(name.str());
    }
}

fn has_wildcard(v: &Value) -> bool {
    list(v).iter().any(|x| x == "*")
}

/// A list that is needed, in which `*` stands alone.
fn alone(at: &At, others: &str, errs: &mut Errors) {
    let count = list(at.v).len();
    if count == 0 {
        errs.push(at.required(""));
    }
    if count > 1 && has_wildcard(at.v) {
        errs.push(at.invalid(format!(
            "if '*' is present, must not specify other {others}"
        )));
    }
}

/// A rule with operations.
pub fn rule(rule: &At, errs: &mut Errors) {
    let operations = rule.get("operations");
    alone(&operations, "operations", errs);
    for operation in operations.each() {
        if !OPERATIONS.contains(&operation.str()) {
            errs.push(operation.not_supported(&OPERATIONS));
        }
    }
    alone(&rule.get("apiGroups"), "API groups", errs);
    let versions = rule.get("apiVersions");
    alone(&versions, "API versions", errs);
    for version in versions.each().filter(|v| v.str().is_empty()) {
        errs.push(version.required(""));
    }
    resource_list(&rule.get("resources"), errs);
    one_of_if_set(&rule.get("scope"), &SCOPES, errs);
}

fn resource_list(all: &At, errs: &mut Errors) {
    if list(all.v).is_empty() {
        errs.push(all.required(""));
    }
    let (mut of_resource, mut of_sub): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut plain_last = false;
    for at in all.each() {
        let name = at.str();
        if name.is_empty() {
            errs.push(at.required(""));
            continue;
        }
        let Some((resource, sub)) = name.split_once('/') else {
            plain_last = name != "*";
            continue;
        };
        if of_resource.contains(&resource) {
            let words = format!("if '{resource}/*' is present, must not specify {name}");
            errs.push(at.invalid(words));
        }
        if of_sub.contains(&sub) {
            let words = format!("if '*/{sub}' is present, must not specify {name}");
            errs.push(at.invalid(words));
        }
        if sub == "*" {
            of_resource.push(resource);
        }
        if resource == "*" {
            of_sub.push(sub);
        }
    }
    let has = |name: &str| list(all.v).iter().any(|r| r == name);
    if list(all.v).len() > 1 && has("*/*") {
        errs.push(all.invalid("if '*/*' is present, must not specify other resources"));
    }
    if has("*") && plain_last {
        let words = "if '*' is present, must not specify other resources without subresources";
        errs.push(all.invalid(words));
    }
}

/// The kind of a policy's parameters.
pub fn param_kind(at: &At, errs: &mut Errors) {
    let version = at.get("apiVersion");
    api_version(&version, errs);
    let kind = at.get("kind");
    if kind.str().is_empty() {
        errs.push(kind.required(""));
        return;
    }
    let wrong = names::dns1035_label(&kind.str().to_lowercase());
    if !wrong.is_empty() {
        let words = "may have mixed case, but should otherwise match: ";
        errs.push(kind.invalid(format!("{words}{}", wrong.join(","))));
    }
}

fn api_version(at: &At, errs: &mut Errors) {
    let text = at.str();
    if text.is_empty() {
        errs.push(at.required(""));
        return;
    }
    if text.matches('/').count() > 1 {
        errs.push(at.invalid(format!("unexpected GroupVersion string: {text}")));
        return;
    }
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    let wrong = names::dns1123_subdomain(group);
    if !group.is_empty() && !wrong.is_empty() {
        errs.push(Error::invalid(&at.path, group, wrong.join(",")));
    }
    if version.is_empty() {
        errs.push(at.invalid("version must be specified"));
        return;
    }
    let wrong = names::dns1035_label(version);
    if !wrong.is_empty() {
        errs.push(Error::invalid(&at.path, version, wrong.join(",")));
    }
}

/// `kind.version.group` of a policy's parameters, as tables show it.
pub fn shown_param_kind(spec: &Value) -> String {
    let kind = &spec["paramKind"];
    if kind.is_object() {
        format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind"))
    } else {
        "<unset>".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_alone() {
        let wrong = |resources: Value| {
            let v = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": resources});
            let mut errs = Errors::new();
            rule(&At::new(&v, "r"), &mut errs);
            errs.len()
        };
        for (resources, want) in [
            (json!(["pods", "pods/status"]), 0),
            (json!(["*", "pods/status"]), 0),
            (json!(["*", "pods"]), 1),
            (json!(["*/*", "pods"]), 1),
            (json!(["pods/*", "pods/log"]), 1),
            (json!(["*/scale", "pods/scale"]), 1),
            (json!([]), 1),
        ] {
            assert_eq!(wrong(resources.clone()), want, "{resources}");
        }
    }
}
