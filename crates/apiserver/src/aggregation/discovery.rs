//! Remote groups among those served here, in discovery's documents.

use serde_json::{Value, json};

use crate::server::Shared;

/// Versions that remotes serve, by group, the first ones in front.
fn groups(shared: &Shared) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    for remote in shared.aggregator.all() {
        match out.iter_mut().find(|(group, _)| *group == remote.group) {
            Some((_, versions)) => versions.push(remote.version.clone()),
            None => out.push((remote.group.clone(), vec![remote.version.clone()])),
        }
    }
    out
}

fn version(group: &str, version: &str) -> Value {
    json!({"groupVersion": format!("{group}/{version}"), "version": version})
}

/// Adds remote groups to the list at `/apis`.
pub(crate) fn merge_groups(shared: &Shared, list: &mut Value) {
    for (group, versions) in groups(shared) {
        let Some(all) = list["groups"].as_array_mut() else {
            return;
        };
        let at = all
            .iter()
            .position(|g| g["name"] == group.as_str())
            .unwrap_or_else(|| {
                all.push(json!({"name": group, "versions": []}));
                all.len() - 1
            });
        add(&mut all[at], &group, &versions);
    }
}

/// Adds remote versions to the document at `/apis/GROUP`, or makes it.
pub(crate) fn merge_group(shared: &Shared, group: &str, document: Option<Value>) -> Option<Value> {
    let Some((_, versions)) = groups(shared).into_iter().find(|(g, _)| g == group) else {
        return document;
    };
    let mut document = document.unwrap_or_else(
        || json!({"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": []}),
    );
    add(&mut document, group, &versions);
    Some(document)
}

fn add(entry: &mut Value, group: &str, versions: &[String]) {
    if let Some(all) = entry["versions"].as_array_mut() {
        for v in versions {
            let shown = version(group, v);
            if !all.contains(&shown) {
                all.push(shown);
            }
        }
        entry["preferredVersion"] = entry["versions"][0].clone();
    }
}

/// Adds what remotes told of their resources to the aggregated document of all groups.
pub(crate) fn insert(shared: &Shared, document: &mut Value) {
    let told = shared.aggregator.told.lock();
    let Some(items) = document["items"].as_array_mut() else {
        return;
    };
    for remote in shared.aggregator.all() {
        let known = told.get(&remote.name).map(|t| t.discovery.clone());
        let mut shown = known
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({"version": remote.version, "freshness": "Stale"}));
        if !remote.available {
            shown["freshness"] = "Stale".into();
        }
        let group = remote.group.as_str();
        let at = items
            .iter()
            .position(|g| g["metadata"]["name"] == group)
            .unwrap_or_else(|| {
                items.push(json!({"metadata": {"name": group}, "versions": []}));
                items.len() - 1
            });
        if let Some(versions) = items[at]["versions"].as_array_mut() {
            versions.push(shown);
        }
    }
}
