//! Nobody grants what he does not hold: roles and bindings are refused that would give more than their writer may,
//! unless he has the verb `escalate` on the role, or `bind` on the role that is bound.

use std::sync::Arc;

use knarr_api::Status;
use knarr_json::Value;

use super::{Attributes as Request, Operation};
use crate::{
    Outcome,
    authz::{Attributes, Rule},
    chain::Call,
    user::MASTERS,
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// # Errors
/// 403 with the rules that the writer lacks, 404 for a role that is bound and not there.
pub async fn admit(a: &Request<'_>, object: &Value) -> Outcome<()> {
    let (call, target) = (a.call, a.target);
    if target.resource.group != GROUP || call.user.in_group(MASTERS) {
        return Ok(());
    }
    if a.operation == Operation::Update && a.old.is_some_and(|old| only_cleans_up(old, object)) {
        return Ok(());
    }
    match target.resource.plural.as_str() {
        "roles" | "clusterroles" => role(a, object).await,
        "rolebindings" | "clusterrolebindings" => binding(a, object).await,
        _ => Ok(()),
    }
}

/// Whether an update changes nothing but what the garbage collector needs to change before the object can go. Anything else
/// counts, as labels may have a role summed up into another one.
fn only_cleans_up(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for key in [
                "ownerReferences",
                "finalizers",
                "managedFields",
                "resourceVersion",
            ] {
                metadata.remove(key);
            }
        }
        object
    };
    rest(old) == rest(new)
}

async fn role(a: &Request<'_>, object: &Value) -> Outcome<()> {
    // Who is allowed this for one name only cannot create it: a create has no name yet when it is authorized.
    let name = &a.call.info.name;
    if may(a, "escalate", &a.target.resource.plural, name).await {
        return Ok(());
    }
    hold(a, object, &rules_of(&object["rules"]))?;
    let sums = |role: &Value| role["aggregationRule"].is_object();
    if !sums(object) && !a.old.is_some_and(sums) {
        return Ok(());
    }
    // Whatever is summed up later, he must have it.
    let why = "must have cluster-admin privileges to use the aggregationRule";
    hold(a, object, &Rule::everything()).map_err(|_| a.forbidden(object, why))
}

async fn binding(a: &Request<'_>, object: &Value) -> Outcome<()> {
    let reference = &object["roleRef"];
    let name = reference["name"].as_str().unwrap_or_default();
    let (resource, namespace) = match reference["kind"].as_str() {
        Some("Role") => ("roles", a.target.namespace.as_str()),
        _ => ("clusterroles", ""),
    };
    if may(a, "bind", resource, name).await {
        return Ok(());
    }
    // One that is made later could hold anything.
    let rules = stored_rules(a.call, resource, namespace, name)
        .ok_or_else(|| Box::new(Status::not_found(GROUP, resource, name)))?;
    hold(a, object, &rules)
}

async fn may(a: &Request<'_>, verb: &str, resource: &str, name: &str) -> bool {
    let ask = Attributes {
        user: a.call.user.clone(),
        verb: verb.into(),
        group: GROUP.into(),
        version: "*".into(),
        resource: resource.into(),
        name: name.into(),
        namespace: a.target.namespace.clone(),
        is_resource: true,
        ..Attributes::default()
    };
    a.call.shared.authorizer.decide(&ask).await.allowed
}

/// Whether the writer holds all of the rules.
fn hold(a: &Request<'_>, object: &Value, rules: &[Rule]) -> Outcome<()> {
    let (call, namespace) = (a.call, &a.target.namespace);
    let (held, problems) = call.shared.authorizer.rules(&call.user, namespace);
    let missing: Vec<Rule> = rules
        .iter()
        .flat_map(single)
        .filter(|rule| !covered(rule, &held))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = compact(missing).iter().map(shown).collect();
    lines.sort();
    lines.dedup();
    let mut why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        call.user.name,
        quoted(&call.user.groups),
        lines.join("\n")
    );
    if !problems.is_empty() {
        why.push_str(&format!("; resolution errors: {problems}"));
    }
    Err(a.forbidden(object, &why))
}

/// A list as the original prints it: `["a" "b"]`.
fn quoted(list: &[String]) -> String {
    let all: Vec<String> = list.iter().map(|x| format!("{x:?}")).collect();
    format!("[{}]", all.join(" "))
}

/// Every single permission of a rule, as a rule of its own.
fn single(rule: &Rule) -> Vec<Rule> {
    let one = |x: &String| vec![x.clone()];
    let names: Vec<Vec<String>> = if rule.resource_names.is_empty() {
        vec![Vec::new()]
    } else {
        rule.resource_names.iter().map(one).collect()
    };
    let mut out = Vec::new();
    for (group, resource) in rule
        .api_groups
        .iter()
        .flat_map(|g| rule.resources.iter().map(move |r| (g, r)))
    {
        for verb in &rule.verbs {
            out.extend(names.iter().map(|resource_names| Rule {
                verbs: one(verb),
                api_groups: one(group),
                resources: one(resource),
                resource_names: resource_names.clone(),
                ..Rule::default()
            }));
        }
    }
    for (url, verb) in rule
        .non_resource_urls
        .iter()
        .flat_map(|u| rule.verbs.iter().map(move |v| (u, v)))
    {
        out.push(Rule {
            verbs: one(verb),
            non_resource_urls: one(url),
            ..Rule::default()
        });
    }
    out
}

/// Puts together rules about the same resource; each names one permission.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in rules {
        let same = out.iter_mut().find(|o| {
            rule.non_resource_urls.is_empty()
                && o.api_groups == rule.api_groups
                && o.resources == rule.resources
                && o.resource_names == rule.resource_names
        });
        match same {
            Some(existing) => existing.verbs.extend(rule.verbs),
            None => out.push(rule),
        }
    }
    out
}

fn rules_of(rules: &Value) -> Vec<Rule> {
    knarr_json::from_value(rules.clone()).unwrap_or_default()
}

/// None when there is no such role.
fn stored_rules(call: &Call, resource: &str, namespace: &str, name: &str) -> Option<Vec<Rule>> {
    let place = if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    };
    let stored = call
        .shared
        .store
        .get(&format!("/registry/{resource}/{place}"));
    let role: Value = serde_json::from_slice(&stored?.json).ok()?;
    Some(rules_of(&role["rules"]))
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
            parts.push(format!("{name}:{}", quoted(list)));
        }
    };
    part("APIGroups", &rule.api_groups);
    part("Resources", &rule.resources);
    part("NonResourceURLs", &rule.non_resource_urls);
    part("ResourceNames", &rule.resource_names);
    part("Verbs", &rule.verbs);
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

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

    #[test]
    fn what_is_missing_is_told_by_resource() {
        let wanted = rule(
            json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "nodes"], "resourceNames": ["a"]}),
        );
        let told: Vec<String> = compact(single(&wanted)).iter().map(shown).collect();
        assert_eq!(
            told,
            [
                r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get" "list"]}"#,
                r#"{APIGroups:[""], Resources:["nodes"], ResourceNames:["a"], Verbs:["get" "list"]}"#,
            ]
        );
        let urls = rule(json!({"verbs": ["get", "head"], "nonResourceURLs": ["/x"]}));
        let told: Vec<String> = compact(single(&urls)).iter().map(shown).collect();
        assert_eq!(
            told,
            [
                r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#,
                r#"{NonResourceURLs:["/x"], Verbs:["head"]}"#,
            ]
        );
    }
}
