//! What remote servers tell about themselves: their resources and their OpenAPI documents.

use std::sync::Arc;

use knarr_json::{Map, Value, json};

use super::{Remote, Told, available::fetch};
use crate::{chain::Call, server::Shared};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// Asks a remote for what documents of this server need of it.
pub(super) async fn ask(shared: &Shared, remote: &Remote) -> Told {
    let (discovery, openapi) = tokio::join!(resources(shared, remote), openapi(shared, remote));
    Told {
        discovery: discovery.unwrap_or_default(),
        openapi: openapi.unwrap_or_default(),
    }
}

/// The version as aggregated discovery shows it, from the remote's own document or from its plain list.
async fn resources(shared: &Shared, remote: &Remote) -> Option<Value> {
    if let Some(bytes) = fetch(shared, remote, "/apis", AGGREGATED).await
        && let Ok(document) = serde_json::from_slice::<Value>(&bytes)
        && document["kind"] == "APIGroupDiscoveryList"
        && let Some(version) = version_of(&document, remote)
    {
        return Some(version);
    }
    let bytes = fetch(shared, remote, &remote.path(), "application/json").await?;
    let list: Value = serde_json::from_slice(&bytes).ok()?;
    Some(json!({
        "version": remote.version,
        "resources": converted(&list),
        "freshness": "Current",
    }))
}

fn version_of(document: &Value, remote: &Remote) -> Option<Value> {
    let groups = document["items"].as_array()?;
    let group = groups
        .iter()
        .find(|g| g["metadata"]["name"] == remote.group.as_str())?;
    let versions = group["versions"].as_array()?;
    let mut version = versions
        .iter()
        .find(|v| v["version"] == remote.version.as_str())?
        .clone();
    version["freshness"] = "Current".into();
    Some(version)
}

/// A plain list of resources as aggregated discovery shows them, kinds of the group version itself without its name. Pure.
fn converted(list: &Value) -> Vec<Value> {
    let all: Vec<&Value> = list["resources"].as_array().into_iter().flatten().collect();
    let name = |r: &Value| r["name"].as_str().unwrap_or_default().to_owned();
    let kind = |r: &Value| {
        let text = |key: &str| r[key].as_str().unwrap_or_default();
        json!({"group": text("group"), "version": text("version"), "kind": r["kind"]})
    };
    let subresources = |parent: &str| -> Vec<Value> {
        let subs = all.iter().filter_map(|r| {
            let full = name(r);
            let sub = full.strip_prefix(parent)?.strip_prefix('/')?;
            Some(json!({"subresource": sub, "responseKind": kind(r), "verbs": r["verbs"]}))
        });
        subs.collect()
    };
    let resources = all.iter().filter(|r| !name(r).contains('/')).map(|r| {
        let mut out = Map::new();
        out.insert("resource", name(r).into());
        out.insert("responseKind", kind(r));
        let scope = if r["namespaced"] == true {
            "Namespaced"
        } else {
            "Cluster"
        };
        out.insert("scope", scope.into());
        out.insert(
            "singularResource",
            r["singularName"].as_str().unwrap_or_default().into(),
        );
        out.insert("verbs", r["verbs"].clone());
        for key in ["shortNames", "categories"] {
            if r[key].is_array() {
                out.insert(key, r[key].clone());
            }
        }
        let subs = subresources(&name(r));
        if !subs.is_empty() {
            out.insert("subresources", subs.into());
        }
        Value::Object(out)
    });
    resources.collect()
}

/// Where the remote's OpenAPI document of its group version is.
async fn openapi(shared: &Shared, remote: &Remote) -> Option<String> {
    let bytes = fetch(shared, remote, "/openapi/v3", "application/json").await?;
    let index: Value = serde_json::from_slice(&bytes).ok()?;
    let entry = &index["paths"][remote.path().trim_start_matches('/')];
    entry["serverRelativeURL"].as_str().map(str::to_owned)
}

/// Adds what remotes serve to the index of OpenAPI documents.
pub(crate) fn openapi_index(shared: &Shared, index: &mut Value) {
    let told = shared.aggregator.told.lock();
    for remote in shared.aggregator.all() {
        let Some(url) = told
            .get(&remote.name)
            .map(|t| t.openapi.as_str())
            .filter(|u| !u.is_empty())
        else {
            continue;
        };
        let path = remote.path().trim_start_matches('/').to_owned();
        index["paths"][path] = json!({"serverRelativeURL": url});
    }
}

/// The remote whose OpenAPI document a path below `/openapi/v3/` is.
pub(crate) fn openapi_of(call: &Call, path: &str) -> Option<Arc<Remote>> {
    let mut parts = path.strip_prefix("apis/")?.split('/');
    call.shared.aggregator.get(parts.next()?, parts.next()?)
}

/// Adds what remotes serve to the one document of OpenAPI 2. Definitions of the same name are those that are here.
pub(crate) async fn openapi_v2(shared: &Shared, document: &mut Value) {
    for remote in shared.aggregator.all().iter().filter(|r| r.available) {
        let Some(bytes) = fetch(shared, remote, "/openapi/v2", "application/json").await else {
            continue;
        };
        if let Ok(theirs) = serde_json::from_slice::<Value>(&bytes) {
            merge_v2(document, theirs, &remote.path());
        }
    }
}

/// Takes the paths below `path` and all definitions. Pure.
fn merge_v2(document: &mut Value, mut theirs: Value, path: &str) {
    let mut take = |key: &str, wanted: &dyn Fn(&str) -> bool| {
        let (Some(own), Value::Object(theirs)) =
            (document[key].as_object_mut(), theirs[key].take())
        else {
            return;
        };
        for (name, value) in theirs {
            if wanted(&name) {
                own.entry(name).or_insert(value);
            }
        }
    };
    take("paths", &|p| {
        p.strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    take("definitions", &|_| true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lists_are_shown_as_aggregated_ones() {
        let list = json!({"resources": [
            {"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]},
            {"name": "pods/status", "namespaced": true, "kind": "Other", "group": "y.io", "version": "v2", "verbs": ["get"]}]});
        let got = converted(&list);
        assert_eq!(
            got,
            [
                json!({"resource": "pods", "singularResource": "", "scope": "Namespaced", "verbs": ["get", "list"],
            "responseKind": {"group": "", "version": "", "kind": "PodMetrics"},
            "subresources": [{"subresource": "status", "verbs": ["get"], "responseKind": {"group": "y.io", "version": "v2", "kind": "Other"}}]})
            ]
        );
    }

    #[test]
    fn documents_are_merged_where_they_belong() {
        let mut own = json!({"paths": {"/api/": 1}, "definitions": {"a": 1}});
        let theirs = json!({"paths": {"/apis/x.io/v1/": 2, "/apis/x.io/v10": 3, "/version/": 4}, "definitions": {"a": 2, "b": 2}});
        merge_v2(&mut own, theirs, "/apis/x.io/v1");
        assert_eq!(
            own,
            json!({"paths": {"/api/": 1, "/apis/x.io/v1/": 2}, "definitions": {"a": 1, "b": 2}})
        );
    }
}
