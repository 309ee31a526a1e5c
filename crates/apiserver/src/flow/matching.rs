//! Which FlowSchema a request belongs to. Pure but for the clock of none.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::config::{Distinguisher, PathRule, ResourceRule, Rule, Schema, Subject};
use crate::{UserInfo, chain::Call, request::RequestInfo, user::service_account};

/// The first schema that takes the request; the last takes everything.
pub fn find<'a>(schemas: &'a [Arc<Schema>], call: &Call) -> &'a Arc<Schema> {
    let last = schemas.len().saturating_sub(1);
    schemas[..last]
        .iter()
        .find(|s| takes(&s.rules, &call.user, &call.info))
        .unwrap_or(&schemas[last])
}

/// A number for the flow of a request within its schema.
pub fn flow(schema: &Schema, call: &Call) -> u64 {
    let mut hasher = DefaultHasher::new();
    schema.name.hash(&mut hasher);
    match schema.distinguisher {
        Distinguisher::Nobody => {}
        Distinguisher::User => call.user.name.hash(&mut hasher),
        Distinguisher::Namespace => call.info.namespace.hash(&mut hasher),
    }
    hasher.finish()
}

fn takes(rules: &[Rule], user: &UserInfo, info: &RequestInfo) -> bool {
    rules.iter().any(|rule| {
        rule.subjects.iter().any(|s| is(s, user))
            && if info.is_resource {
                rule.resource_rules.iter().any(|r| takes_resource(r, info))
            } else {
                rule.non_resource_rules.iter().any(|r| takes_path(r, info))
            }
    })
}

fn is(subject: &Subject, user: &UserInfo) -> bool {
    match subject.kind.as_str() {
        "User" => subject.user.name == "*" || subject.user.name == user.name,
        "Group" => subject.group.name == "*" || user.in_group(&subject.group.name),
        "ServiceAccount" => service_account(&user.name).is_some_and(|(namespace, name)| {
            let wanted = &subject.service_account;
            wanted.namespace == namespace && (wanted.name == "*" || wanted.name == name)
        }),
        _ => false,
    }
}

fn has(list: &[String], what: &str) -> bool {
    list.iter().any(|x| x == "*" || x == what)
}

fn takes_resource(rule: &ResourceRule, info: &RequestInfo) -> bool {
    has(&rule.verbs, &info.verb)
        && has(&rule.api_groups, &info.group)
        && rule.resources.iter().any(|r| resource(r, info))
        && if info.namespace.is_empty() {
            rule.cluster_scope
        } else {
            has(&rule.namespaces, &info.namespace)
        }
}

fn resource(wanted: &str, info: &RequestInfo) -> bool {
    if wanted == "*" {
        return true;
    }
    match wanted.split_once('/') {
        None => wanted == info.resource && info.subresource.is_empty(),
        Some((resource, sub)) => resource == info.resource && sub == info.subresource,
    }
}

fn takes_path(rule: &PathRule, info: &RequestInfo) -> bool {
    has(&rule.verbs, &info.verb)
        && rule.urls.iter().any(|url| {
            url == "*"
                || *url == info.path
                || url
                    .strip_suffix('*')
                    .is_some_and(|prefix| info.path.starts_with(prefix))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;
    use http::Method;

    #[test]
    fn rules_take_requests() {
        let rule: Rule = knarr_json::from_value(knarr_json::json!({
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": "*"}},
                {"kind": "Group", "group": {"name": "g"}}],
            "resourceRules": [{"verbs": ["list", "get"], "apiGroups": ["apps"], "resources": ["deployments", "pods/log"], "namespaces": ["a"]},
                {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes"], "clusterScope": true}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}]
        }))
        .unwrap();
        let account = UserInfo::new("system:serviceaccount:a:x", Vec::<String>::new());
        let member = UserInfo::new("u", ["g"]);
        let other = UserInfo::new("u", ["h"]);
        let table = [
            (&account, "/apis/apps/v1/namespaces/a/deployments", true),
            (&member, "/apis/apps/v1/namespaces/a/deployments/d", true),
            (&other, "/apis/apps/v1/namespaces/a/deployments", false),
            (&account, "/apis/apps/v1/namespaces/b/deployments", false),
            (&account, "/apis/apps/v1/deployments", false),
            (
                &account,
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                false,
            ),
            (&account, "/api/v1/nodes/n", true),
            (&account, "/healthz/etcd", true),
            (&account, "/version", false),
        ];
        for (user, path, want) in table {
            let info = RequestInfo::new(&Method::GET, path, &Query::default());
            assert_eq!(
                takes(std::slice::from_ref(&rule), user, &info),
                want,
                "{path}"
            );
        }
    }
}
