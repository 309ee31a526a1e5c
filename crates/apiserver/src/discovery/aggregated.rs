//! Aggregated discovery (`apidiscovery.k8s.io/v2`): everything in two documents.

use knarr_api::Registry;
use knarr_json::{Map, Value, json};

use super::{Entry, entries, order};
use crate::{aggregation::Aggregator, respond};

/// What a content type says of the document in it.
pub fn content_type(media: &str) -> &'static str {
    match media {
        respond::YAML => "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        respond::PROTOBUF => {
            "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        }
        _ => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    }
}

/// The core group's document.
pub fn core(registry: &Registry) -> Value {
    let version = version("", "v1", &entries(registry));
    list(vec![json!({"metadata": {}, "versions": [version]})])
}

/// The document of all other groups.
pub fn groups(registry: &Registry, aggregator: &Aggregator) -> Value {
    let all = entries(registry);
    let shown = |group: &str, name: &str| {
        let remote = aggregator.shown(group, name);
        remote.unwrap_or_else(|| version(group, name, &all))
    };
    let items = order::served(registry, aggregator)
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions.iter().map(|v| shown(&group, v)).collect();
            json!({"metadata": {"name": group}, "versions": versions})
        });
    list(items.collect())
}

fn list(items: Vec<Value>) -> Value {
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn version(group: &str, version: &str, all: &[Entry]) -> Value {
    let here = |e: &&Entry| {
        e.group == group && e.versions.iter().any(|v| v == version) && !e.name.contains('/')
    };
    let resources = all.iter().filter(here).map(|e| resource(e, version, all));
    let resources: Vec<Value> = resources.collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

/// The kind, with group and version when they are not the resource's.
fn kind(entry: &Entry) -> Value {
    let (group, version) = entry.kind_of.clone().unwrap_or_default();
    json!({"group": group, "version": version, "kind": entry.kind})
}

fn resource(entry: &Entry, version: &str, all: &[Entry]) -> Value {
    let mut out = Map::new();
    out.insert("resource", entry.name.as_str().into());
    out.insert("responseKind", kind(entry));
    let scope = if entry.namespaced {
        "Namespaced"
    } else {
        "Cluster"
    };
    out.insert("scope", scope.into());
    out.insert("singularResource", entry.singular.as_str().into());
    out.insert("verbs", entry.verbs.clone().into());
    if !entry.short_names.is_empty() {
        out.insert("shortNames", entry.short_names.clone().into());
    }
    if !entry.categories.is_empty() {
        out.insert("categories", entry.categories.clone().into());
    }
    let prefix = format!("{}/", entry.name);
    let subresources: Vec<Value> = all
        .iter()
        .filter(|s| s.group == entry.group && s.versions.iter().any(|v| v == version))
        .filter_map(|s| Some((s.name.strip_prefix(&prefix)?, s)))
        .map(|(name, s)| json!({"subresource": name, "responseKind": kind(s), "verbs": s.verbs}))
        .collect();
    if !subresources.is_empty() {
        out.insert("subresources", subresources.into());
    }
    out.into()
}
