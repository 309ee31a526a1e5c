//! Bindings of policies: what they apply to, with which parameters.

use jiff::Timestamp;
use knarr_json::Value;

use super::matching;
use crate::{
    field::{Error, Errors},
    names,
    strategy::{Column, Context, Strategy, defaults::at},
    table,
    validation::{At, labels, list, meta, text},
};

/// `admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding`, or with `true` `MutatingAdmissionPolicyBinding`.
pub struct PolicyBinding(pub bool);

impl PolicyBinding {
    fn check(&self, spec: &At, errs: &mut Errors) {
        let policy = spec.get("policyName");
        if policy.str().is_empty() {
            errs.push(policy.required(""));
        } else {
            policy.push(names::dns1123_subdomain(policy.str()), errs);
        }
        if let Some(reference) = spec.some("paramRef") {
            param_ref(&reference, errs);
        }
        if let Some(resources) = spec.some("matchResources") {
            matching::resources(&resources, errs);
        }
        if !self.0 {
            actions(&spec.get("validationActions"), errs);
        }
    }
}

fn param_ref(at: &At, errs: &mut Errors) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let (name, selector) = (at.get("name"), at.some("selector"));
    if !name.str().is_empty() {
        name.push(names::path_segment(name.str()), errs);
        if selector.is_some() {
            errs.push(name.forbidden(EXCLUSIVE));
        }
    }
    if let Some(selector) = &selector {
        labels::selector(selector, errs);
        if !name.str().is_empty() {
            errs.push(selector.forbidden(EXCLUSIVE));
        }
    }
    if name.str().is_empty() && selector.is_none() {
        errs.push(at.required("one of name or selector must be specified"));
    }
    let action = at.get("parameterNotFoundAction");
    match action.str() {
        "" => errs.push(action.required("")),
        "Deny" | "Allow" => {}
        _ => errs.push(action.not_supported(&["Deny", "Allow"])),
    }
}

fn actions(all: &At, errs: &mut Errors) {
    const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
    let mut seen: Vec<&str> = Vec::new();
    for action in all.each() {
        if !ACTIONS.contains(&action.str()) {
            errs.push(action.not_supported(&ACTIONS));
        }
        if seen.contains(&action.str()) {
            errs.push(action.duplicate());
        }
        seen.push(action.str());
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        let words = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errs.push(all.invalid(words));
    }
    if seen.is_empty() {
        errs.push(Error::required(
            &all.path,
            "at least one validation action is required",
        ));
    }
}

impl Strategy for PolicyBinding {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        if let Some(resources) = at(object, "spec").and_then(|s| at(s, "matchResources")) {
            matching::default(resources, &["resourceRules", "excludeResourceRules"]);
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        self.check(&At::root(object, "spec"), &mut errs);
        errs
    }

    fn validate_update(&self, ctx: &Context, object: &Value, _old: &Value) -> Errors {
        self.validate_create(ctx, object)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "PolicyName",
                "PolicyName indicates the policy definition which the policy binding binded to",
            ),
            table::column(
                "ParamRef",
                "ParamRef indicates the param resource which sets the configration param",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        vec![
            table::name_of(object),
            text(spec, "policyName").into(),
            shown_reference(&spec["paramRef"]).into(),
            table::age_of(object, now),
        ]
    }
}

fn shown_reference(reference: &Value) -> String {
    let (namespace, name) = (text(reference, "namespace"), text(reference, "name"));
    match (name, &reference["selector"]) {
        ("", Value::Object(_)) => go_selector(&reference["selector"]),
        ("", _) => "<unset>".to_owned(),
        _ if namespace.is_empty() => format!("*/{name}"),
        _ => format!("{namespace}/{name}"),
    }
}

/// A selector as Go prints the struct.
fn go_selector(selector: &Value) -> String {
    let labels: String = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}: {},", v.as_str().unwrap_or_default()))
        .collect();
    let requirements: String = list(&selector["matchExpressions"])
        .iter()
        .map(|r| {
            let values: Vec<&str> = list(&r["values"])
                .iter()
                .filter_map(Value::as_str)
                .collect();
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                text(r, "key"),
                text(r, "operator"),
                values.join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn references_in_tables() {
        for (reference, want) in [
            (Value::Null, "<unset>"),
            (json!({"name": "a"}), "*/a"),
            (json!({"name": "a", "namespace": "n"}), "n/a"),
            (
                json!({"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}]}}),
                "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:c,Operator:In,Values:[d e],},},}",
            ),
        ] {
            assert_eq!(shown_reference(&reference), want);
        }
    }
}
