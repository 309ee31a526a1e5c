//! Which resources the API server has.

use kube::{
    Client,
    core::{
        ApiResource,
        discovery::v2::{APIGroupDiscovery, APIResourceDiscovery},
    },
};

/// A resource at the version that the server prefers.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub api: ApiResource,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Found {
    /// Whether the server can do all of this with the resource.
    pub fn can(&self, verbs: &[&str]) -> bool {
        verbs
            .iter()
            .all(|v| self.verbs.iter().any(|have| have == v))
    }
}

/// What discovery came to.
#[derive(Debug, Default)]
pub struct Discovered {
    pub resources: Vec<Found>,
    /// Groups that the server could not tell about at the moment.
    pub failed: Vec<String>,
}

/// Asks for all resources.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn resources(client: &Client) -> Result<Discovered, kube::Error> {
    let core = client.list_core_api_versions_aggregated().await?;
    let groups = client.list_api_groups_aggregated().await?;
    Ok(flat(core.items.iter().chain(&groups.items)))
}

fn flat<'a>(groups: impl Iterator<Item = &'a APIGroupDiscovery>) -> Discovered {
    let mut out = Discovered::default();
    for group in groups {
        let name = group
            .metadata
            .as_ref()
            .and_then(|m| m.name.clone())
            .unwrap_or_default();
        for version in &group.versions {
            let number = version.version.clone().unwrap_or_default();
            if version.freshness.as_deref() == Some("Stale") {
                out.failed.push(format!("{name}/{number}"));
            }
            for resource in &version.resources {
                let Some(found) = found(&name, &number, resource) else {
                    continue;
                };
                // Versions come in the order of preference.
                let known =
                    |f: &Found| f.api.group == found.api.group && f.api.plural == found.api.plural;
                if !out.resources.iter().any(known) {
                    out.resources.push(found);
                }
            }
        }
    }
    out
}

fn found(group: &str, version: &str, resource: &APIResourceDiscovery) -> Option<Found> {
    let kind = resource.response_kind.as_ref()?;
    let api = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        },
        kind: kind.kind.clone()?,
        plural: resource.resource.clone()?,
    };
    let namespaced = resource.scope.as_deref() == Some("Namespaced");
    Some(Found {
        api,
        namespaced,
        verbs: resource.verbs.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_preferred_version_of_each() {
        let resource = |name: &str, kind: &str| json!({"resource": name, "responseKind": {"kind": kind}, "scope": "Namespaced", "verbs": ["list", "delete"]});
        let group: APIGroupDiscovery = serde_json::from_value(json!({"metadata": {"name": "x.io"}, "versions": [
            {"version": "v1", "resources": [resource("as", "A")]},
            {"version": "v1beta1", "freshness": "Stale", "resources": [resource("as", "A"), resource("bs", "B")]}]}))
        .unwrap();
        let out = flat([&group].into_iter());
        let names: Vec<_> = out
            .resources
            .iter()
            .map(|f| format!("{} {}", f.api.api_version, f.api.plural))
            .collect();
        assert_eq!(names, ["x.io/v1 as", "x.io/v1beta1 bs"]);
        assert_eq!(out.failed, ["x.io/v1beta1"]);
        assert!(out.resources[0].can(&["delete"]) && !out.resources[0].can(&["delete", "watch"]));
    }
}
