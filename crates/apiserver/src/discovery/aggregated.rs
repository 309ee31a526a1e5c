//! Aggregated discovery (`apidiscovery.k8s.io/v2`): everything in two documents.

use knarr_api::Registry;
use serde_json::{Map, Value, json};

use super::{Entry, entries, group_versions};
use crate::chain::Call;

pub const CONTENT_TYPE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether the client prefers the aggregated document.
pub fn wanted(call: &Call) -> bool {
    let accept = call.accept_header().unwrap_or_default();
    accept.split(',').any(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        let json = parts.next() == Some("application/json");
        let params: Vec<&str> = parts.collect();
        json && ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"]
            .iter()
            .all(|p| params.contains(p))
    })
}

/// The core group's document, or the one of all others.
pub fn document(registry: &Registry, core: bool) -> Value {
    let groups = if core {
        vec![(String::new(), vec!["v1".to_owned()])]
    } else {
        group_versions(registry)
    };
    let all = entries(registry);
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| item(group, versions, &all))
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn item(group: &str, versions: &[String], all: &[Entry]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| {
            let here = |e: &&Entry| {
                e.group == group && e.versions.contains(version) && !e.name.contains('/')
            };
            let resources: Vec<Value> = all
                .iter()
                .filter(here)
                .map(|e| resource(e, version, all))
                .collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.is_empty() {
        json!({})
    } else {
        json!({"name": group})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn kind(entry: &Entry, version: &str) -> Value {
    let (group, version) = entry
        .kind_of
        .clone()
        .unwrap_or_else(|| (entry.group.clone(), version.to_owned()));
    json!({"group": group, "version": version, "kind": entry.kind})
}

fn resource(entry: &Entry, version: &str, all: &[Entry]) -> Value {
    let mut out = Map::new();
    out.insert("resource".into(), entry.name.as_str().into());
    out.insert("responseKind".into(), kind(entry, version));
    out.insert(
        "scope".into(),
        if entry.namespaced {
            "Namespaced"
        } else {
            "Cluster"
        }
        .into(),
    );
    out.insert("singularResource".into(), entry.singular.as_str().into());
    out.insert("verbs".into(), entry.verbs.clone().into());
    if !entry.short_names.is_empty() {
        out.insert("shortNames".into(), entry.short_names.clone().into());
    }
    if !entry.categories.is_empty() {
        out.insert("categories".into(), entry.categories.clone().into());
    }
    let subresources: Vec<Value> = all
        .iter()
        .filter(|s| s.group == entry.group && s.versions.iter().any(|v| v == version))
        .filter_map(|s| Some((s.name.split_once('/').filter(|(parent, _)| *parent == entry.name)?.1, s)))
        .map(|(name, s)| json!({"subresource": name, "responseKind": kind(s, version), "verbs": s.verbs}))
        .collect();
    if !subresources.is_empty() {
        out.insert("subresources".into(), subresources.into());
    }
    out.into()
}
