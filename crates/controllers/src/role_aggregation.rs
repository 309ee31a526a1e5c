//! ClusterRoles with an aggregation rule have the rules of all ClusterRoles that it selects.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use knarr_api::selector::LabelSelector;
use knarr_client::{Informer, Informers, Queue};
use kube::{Api, Client, ResourceExt, api::Patch};
use serde_json::json;

use crate::{feed, write};

struct Controller {
    client: Client,
    roles: Informer<ClusterRole>,
    queue: Queue<String>,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let controller = Arc::new(Controller {
        client: informers.client().clone(),
        roles: informers.of(),
        queue: Queue::new(),
    });
    let c = &controller;
    let work = async {
        c.roles.synced().await;
        feed::work(
            "clusterrole-aggregation",
            1,
            &c.queue,
            c,
            |c, name| async move { c.sync(name).await },
        )
        .await;
    };
    // Any role may be part of any sum.
    let all = |_| {
        let sums = c
            .roles
            .list()
            .into_iter()
            .filter(|r| r.aggregation_rule.is_some());
        sums.for_each(|r| c.queue.add(r.name_any()));
    };
    tokio::join!(feed::each(&c.roles, all), work);
}

impl Controller {
    async fn sync(&self, name: String) -> anyhow::Result<Option<Duration>> {
        let Some(role) = self.roles.get("", &name) else {
            return Ok(None);
        };
        let Some(rules) = sum(&role, &self.roles.list()) else {
            return Ok(None);
        };
        let api: Api<ClusterRole> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": role.resource_version()},
            "rules": rules,
        }));
        match api.patch(&name, &write::patch(), &patch).await {
            Ok(_) => Ok(None),
            Err(error) if write::gone(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The rules that a role should have; none when it has them, or is no sum. Pure.
fn sum(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role
        .aggregation_rule
        .as_ref()?
        .cluster_role_selectors
        .as_deref()?;
    let by_name: BTreeMap<String, &Arc<ClusterRole>> =
        all.iter().map(|r| (r.name_any(), r)).collect();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let Ok(selector) = knarr_json::to_value(selector)
            .map_err(|e| e.to_string())
            .and_then(|s| LabelSelector::from_object(&s))
        else {
            continue;
        };
        for (name, other) in &by_name {
            let fits = selector.matches_with(|key| other.labels().get(key).map(String::as_str));
            if !fits || *name == role.name_any() {
                continue;
            }
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    (role.rules.clone().unwrap_or_default() != rules).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_have_the_rules_of_their_parts() {
        let role = |value: serde_json::Value| -> Arc<ClusterRole> {
            Arc::new(serde_json::from_value(value).unwrap())
        };
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let part = |name: &str, into: &str, verbs: &[&str]| {
            let rules: Vec<_> = verbs.iter().map(|v| rule(v)).collect();
            role(json!({"metadata": {"name": name, "labels": {"into": into}}, "rules": rules}))
        };
        let whole = role(
            json!({"metadata": {"name": "all", "labels": {"into": "all"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"into": "all"}}]}, "rules": [rule("old")]}),
        );
        let all = [
            part("b", "all", &["get", "list"]),
            part("a", "all", &["watch", "get"]),
            part("c", "else", &["delete"]),
            whole.clone(),
        ];
        let verbs = |rules: Vec<PolicyRule>| -> Vec<String> {
            rules.into_iter().flat_map(|r| r.verbs).collect()
        };
        assert_eq!(
            sum(&whole, &all).map(verbs),
            Some(["watch", "get", "list"].map(String::from).to_vec())
        );
        let full = ClusterRole {
            rules: sum(&whole, &all),
            ..(*whole).clone()
        };
        assert_eq!(sum(&full, &all), None);
        assert_eq!(sum(&all[0], &all), None);
    }
}
