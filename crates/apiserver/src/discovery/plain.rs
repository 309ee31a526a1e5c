//! The discovery documents one by one: `/api`, `/apis`, a group, the resources of a version.

use knarr_api::Registry;
use knarr_json::{Map, Value, json};

use super::{Entry, entries, group_versions, order};
use crate::{aggregation::Aggregator, chain::Call, health};

/// `/`: the paths there are.
pub fn paths(registry: &Registry) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
    for (group, versions) in group_versions(registry) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(health::paths());
    for path in [
        "/.well-known/openid-configuration",
        "/flagz",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/statusz",
        "/version",
    ] {
        paths.push(path.into());
    }
    paths.sort();
    json!({"paths": paths})
}

/// `/api`. Like the list of the core group's resources it tells no version of its own, as it did before there were groups.
pub fn core_versions(call: &Call) -> Value {
    let host = call
        .header(http::header::HOST)
        .or_else(|| call.uri.authority().map(|a| a.as_str()))
        .unwrap_or_default();
    let address = call
        .shared
        .advertise
        .map_or_else(|| host.to_owned(), |a| a.to_string());
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

fn group_value(group: &str, versions: &[String]) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": group, "versions": all, "preferredVersion": all.first()})
}

/// `/apis`.
pub fn groups(registry: &Registry, aggregator: &Aggregator) -> Value {
    let all: Vec<Value> = order::listed(registry, aggregator)
        .iter()
        .map(|(g, v)| group_value(g, v))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
}

/// `/apis/GROUP`.
pub fn group(registry: &Registry, aggregator: &Aggregator, name: &str) -> Option<Value> {
    let (group, versions) = order::listed(registry, aggregator)
        .into_iter()
        .find(|(g, _)| g == name)?;
    let mut value = group_value(&group, &versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

/// `/api/v1` and `/apis/GROUP/VERSION`; none when nothing is served there.
pub fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let here = |e: &Entry| e.group == group && e.versions.iter().any(|v| v == version);
    let all: Vec<Value> = entries(registry)
        .into_iter()
        .filter(here)
        .map(resource)
        .collect();
    if all.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut list =
        json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": all});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

fn resource(entry: Entry) -> Value {
    let mut out = Map::new();
    out.insert("name", entry.name.into());
    out.insert("singularName", entry.singular.into());
    out.insert("namespaced", entry.namespaced.into());
    if let Some((group, version)) = entry.kind_of {
        out.insert("group", group.into());
        out.insert("version", version.into());
    }
    out.insert("kind", entry.kind.into());
    out.insert("verbs", entry.verbs.into());
    if !entry.short_names.is_empty() {
        out.insert("shortNames", entry.short_names.into());
    }
    if !entry.categories.is_empty() {
        out.insert("categories", entry.categories.into());
    }
    if let Some(hash) = entry.storage_hash {
        out.insert("storageVersionHash", hash.into());
    }
    out.into()
}
