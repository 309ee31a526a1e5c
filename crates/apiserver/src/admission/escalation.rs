//! Nobody grants what he does not hold: roles and bindings are refused that would give more than their writer may,
//! unless he has the verb `escalate` on the role, or `bind` on the role that is bound.

use std::sync::Arc;

use serde_json::Value;

use super::{Attributes as Request, Operation};
use crate::{
    Outcome,
    authz::{Attributes, Rule},
    chain::Call,
    user::MASTERS,
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// # Errors
/// 403 with the rules that the writer lacks.
pub async fn admit(a: &Request<'_>, object: &Value) -> Outcome<()> {
    let Request {
        call,
        target,
        operation,
        old,
        ..
    } = *a;
    if target.resource.group != GROUP || call.user.in_group(MASTERS) {
        return Ok(());
    }
    let (verb, resource, name, rules) = match target.resource.plural.as_str() {
        plural @ ("roles" | "clusterroles") => {
            if operation == Operation::Update && old.is_some_and(|o| o["rules"] == object["rules"])
            {
                return Ok(());
            }
            (
                "escalate",
                plural.to_owned(),
                target.name.clone(),
                rules_of(&object["rules"]),
            )
        }
        "rolebindings" | "clusterrolebindings" => {
            let same = |key: &str| old.is_some_and(|o| o[key] == object[key]);
            if operation == Operation::Update && same("subjects") && same("roleRef") {
                return Ok(());
            }
            let reference = &object["roleRef"];
            let name = reference["name"].as_str().unwrap_or_default();
            let (resource, namespace) = match reference["kind"].as_str() {
                Some("Role") => ("roles", target.namespace.as_str()),
                _ => ("clusterroles", ""),
            };
            (
                "bind",
                resource.to_owned(),
                name.to_owned(),
                stored_rules(call, resource, namespace, name),
            )
        }
        _ => return Ok(()),
    };
    let ask = Attributes {
        user: call.user.clone(),
        verb: verb.into(),
        group: GROUP.into(),
        version: "v1".into(),
        resource,
        name,
        namespace: target.namespace.clone(),
        is_resource: true,
        ..Attributes::default()
    };
    if call.shared.authorizer.decide(&ask).await.allowed {
        return Ok(());
    }
    let (held, _) = call.shared.authorizer.rules(&call.user, &target.namespace);
    let missing: Vec<String> = rules
        .iter()
        .filter(|rule| !covered(rule, &held))
        .map(shown)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        call.user.name,
        call.user.groups,
        missing.join("\n")
    );
    Err(a.forbidden(object, &why))
}

fn rules_of(rules: &Value) -> Vec<Rule> {
    serde_json::from_value(rules.clone()).unwrap_or_default()
}

fn stored_rules(call: &Call, resource: &str, namespace: &str, name: &str) -> Vec<Rule> {
    let place = if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    };
    let stored = call
        .shared
        .store
        .get(&format!("/registry/{resource}/{place}"));
    let role: Option<Value> = stored.and_then(|s| serde_json::from_slice(&s.json).ok());
    role.map(|r| rules_of(&r["rules"])).unwrap_or_default()
}

/// Whether every single permission of a rule is held.
fn covered(rule: &Rule, held: &[Arc<Rule>]) -> bool {
    rule.verbs.iter().all(|verb| {
        let resources = rule.api_groups.iter().all(|group| {
            rule.resources.iter().all(|resource| {
                let one = |name: Option<&String>| {
                    held.iter().any(|h| grants(h, verb, group, resource, name))
                };
                match rule.resource_names.is_empty() {
                    true => one(None),
                    false => rule.resource_names.iter().all(|n| one(Some(n))),
                }
            })
        });
        let urls = rule.non_resource_urls.iter().all(|url| {
            held.iter().any(|h| {
                has(&h.verbs, verb) && h.non_resource_urls.iter().any(|own| reaches(own, url))
            })
        });
        resources && urls
    })
}

fn has(list: &[String], what: &str) -> bool {
    list.iter().any(|x| x == "*" || x == what)
}

fn grants(held: &Rule, verb: &str, group: &str, resource: &str, name: Option<&String>) -> bool {
    let of_all = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    let resources =
        has(&held.resources, resource) || of_all.is_some_and(|all| held.resources.contains(&all));
    let names =
        held.resource_names.is_empty() || name.is_some_and(|n| held.resource_names.contains(n));
    has(&held.verbs, verb) && has(&held.api_groups, group) && resources && names
}

fn reaches(own: &str, url: &str) -> bool {
    own == "*"
        || own == url
        || own
            .strip_suffix('*')
            .is_some_and(|prefix| url.starts_with(prefix))
}

/// A rule as the refusal names it.
fn shown(rule: &Rule) -> String {
    let mut parts = Vec::new();
    let mut part = |name: &str, list: &[String]| {
        if !list.is_empty() {
            parts.push(format!("{name}:{list:?}"));
        }
    };
    part("APIGroups", &rule.api_groups);
    part("Resources", &rule.resources);
    part("ResourceNames", &rule.resource_names);
    part("NonResourceURLs", &rule.non_resource_urls);
    part("Verbs", &rule.verbs);
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(value: Value) -> Rule {
        rules_of(&json!([value])).remove(0)
    }

    #[test]
    fn only_what_is_held_is_granted() {
        let held = [Arc::new(rule(
            json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/log"]}),
        ))];
        let table = [
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
                true,
            ),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}),
                true,
            ),
            (
                json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods/log"]}),
                true,
            ),
            (
                json!({"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods"]}),
                false,
            ),
            (
                json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}),
                false,
            ),
            (
                json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["pods"]}),
                false,
            ),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}),
                false,
            ),
        ];
        for (wanted, want) in table {
            assert_eq!(covered(&rule(wanted.clone()), &held), want, "{wanted}");
        }
        let all: Vec<Arc<Rule>> = Rule::everything().map(Arc::new).to_vec();
        assert!(covered(
            &rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})),
            &all
        ));
    }
}
