//! What nobody gets without a quota that says how much (`ResourceQuotaConfiguration`): `limitedResources`. Pure.

use std::collections::BTreeSet;

use knarr_api::Quantity;
use knarr_json::Value;

use super::{
    check::{Quota, Scope},
    usage::Counted,
};

/// A resource that is limited unless a quota covers it.
#[derive(Debug, Clone)]
pub(crate) struct Limited {
    group: String,
    resource: String,
    /// Parts of names of what is counted.
    contains: Vec<String>,
    scopes: Vec<Scope>,
}

impl Limited {
    /// Reads the configuration of the plugin.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(own: &Value) -> Result<Vec<Self>, String> {
        let kind = own["kind"].as_str().unwrap_or_default();
        if !own.is_null() && !matches!(kind, "ResourceQuotaConfiguration" | "Configuration") {
            return Err(format!("no kind {kind:?} is registered"));
        }
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
        let mut out = Vec::new();
        for (n, entry) in list(&own["limitedResources"]).iter().enumerate() {
            let limited = Limited {
                group: text(&entry["apiGroup"]),
                resource: text(&entry["resource"]),
                contains: list(&entry["matchContains"]).iter().map(text).collect(),
                scopes: list(&entry["matchScopes"]).iter().map(Scope::of).collect(),
            };
            if limited.resource.is_empty() {
                return Err(format!("limitedResources[{n}].resource: Required value"));
            }
            out.push(limited);
        }
        Ok(out)
    }

    fn is_of(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource
    }
}

/// Whether quotas cover all that is limited of what an object uses.
///
/// # Errors
/// What they do not cover.
pub(super) fn covered(
    limited: &[Limited],
    (group, resource): (&str, &str),
    (counted, object): (&Counted, &Value),
    quotas: &[Quota],
) -> Result<(), String> {
    let limited = limited.iter().filter(|l| l.is_of(group, resource));
    let limited: Vec<&Limited> = limited.collect();
    if limited.is_empty() {
        return Ok(());
    }
    let usage = counted.usage(object);
    let used = usage
        .iter()
        .filter(|(_, q)| is_some(q))
        .map(|(name, _)| name);
    let named = |name: &&String| {
        let mut parts = limited.iter().flat_map(|l| &l.contains);
        parts.any(|part| name.contains(part))
    };
    let matching = quotas.iter().filter(|q| q.matches(counted, object));
    let restricted: BTreeSet<&String> = matching.flat_map(|q| q.limited(counted)).collect();
    let open: Vec<&str> = used
        .filter(named)
        .filter(|name| !restricted.contains(name))
        .map(String::as_str)
        .collect();
    if !open.is_empty() {
        return Err(format!("insufficient quota to consume: {}", open.join(",")));
    }
    let has = |scope: &&Scope| scope.has(counted, object);
    let by_quotas: BTreeSet<&str> = quotas
        .iter()
        .flat_map(|q| q.scopes.iter().filter(has))
        .map(|s| s.name.as_str())
        .collect();
    let scopes = limited.iter().flat_map(|l| l.scopes.iter().filter(has));
    let open: Vec<String> = scopes
        .filter(|s| !by_quotas.contains(s.name.as_str()))
        .map(|s| format!("{{{} {} [{}]}}", s.name, s.operator, s.values.join(" ")))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(format!(
        "insufficient quota to match these scopes: [{}]",
        open.join(" ")
    ))
}

fn is_some(quantity: &Quantity) -> bool {
    !quantity.is_zero() && !quantity.is_negative()
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn limited() -> Vec<Limited> {
        Limited::of(&json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration", "limitedResources": [
            {"resource": "persistentvolumeclaims", "matchContains": ["gold.storageclass.storage.k8s.io/requests.storage"]},
            {"resource": "pods", "matchContains": ["cpu"], "matchScopes": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high", "top"]}]},
            {"apiGroup": "apps", "resource": "deployments", "matchContains": ["count/"]},
        ]}))
        .unwrap()
    }

    fn quota(spec: Value, hard: Value) -> Quota {
        Quota::of(
            &json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": {}}}),
        )
    }

    #[test]
    fn what_is_limited_needs_a_quota() {
        let claim = |class: &str| json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}});
        let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}});
        let high = json!({"spec": {"priorityClassName": "high"}});
        let high_quota = quota(
            json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}),
            json!({"pods": "1"}),
        );
        let gold = "gold.storageclass.storage.k8s.io/requests.storage";
        for (what, object, quotas, want) in [
            (
                ("", "persistentvolumeclaims"),
                claim("gold"),
                vec![],
                Some(format!("insufficient quota to consume: {gold}")),
            ),
            (
                ("", "persistentvolumeclaims"),
                claim("gold"),
                vec![quota(json!({}), json!({gold: "5Gi"}))],
                None,
            ),
            (("", "persistentvolumeclaims"), claim("iron"), vec![], None),
            (
                ("", "pods"),
                pod.clone(),
                vec![],
                Some("insufficient quota to consume: cpu,requests.cpu".into()),
            ),
            (
                ("", "pods"),
                pod.clone(),
                vec![quota(json!({}), json!({"cpu": "1"}))],
                Some("insufficient quota to consume: requests.cpu".into()),
            ),
            (
                ("", "pods"),
                pod,
                vec![quota(json!({}), json!({"cpu": "1", "requests.cpu": "1"}))],
                None,
            ),
            (
                ("", "pods"),
                high.clone(),
                vec![],
                Some(
                    "insufficient quota to match these scopes: [{PriorityClass In [high top]}]"
                        .into(),
                ),
            ),
            (("", "pods"), high, vec![high_quota.clone()], None),
            (
                ("", "pods"),
                json!({"spec": {"priorityClassName": "low"}}),
                vec![],
                None,
            ),
            (
                ("apps", "deployments"),
                json!({}),
                vec![high_quota],
                Some("insufficient quota to consume: count/deployments.apps".into()),
            ),
            (("apps", "replicasets"), json!({}), vec![], None),
        ] {
            let counted = Counted::of(what.0, what.1).unwrap();
            let got = covered(&limited(), what, (&counted, &object), &quotas);
            assert_eq!(got.err(), want, "{what:?}");
        }
    }

    #[test]
    fn configurations_are_checked() {
        assert!(Limited::of(&Value::Null).unwrap().is_empty());
        for bad in [
            json!({"kind": "Pod"}),
            json!({"kind": "Configuration", "limitedResources": [{}]}),
        ] {
            assert!(Limited::of(&bad).is_err(), "{bad}");
        }
    }
}
