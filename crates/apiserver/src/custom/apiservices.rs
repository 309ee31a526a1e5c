//! Every version of a group of custom resources has an APIService that says that this server serves it.

use std::{collections::BTreeSet, sync::Arc};

use http::Method;
use knarr_json::{Value, json};
use knarr_store::Range;

use super::requests::{Answer, send};
use crate::server::Shared;

const PREFIX: &str = "/registry/apiservices/";
const PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// What the original gives groups of custom resources.
const GROUP_PRIORITY: i64 = 1000;
const VERSION_PRIORITY: i64 = 100;

/// Creates the APIServices that are missing and removes those of versions that are served no more.
pub async fn sync(shared: &Arc<Shared>) {
    let wanted = wanted(shared);
    let there = there(shared);
    for (group, version) in &wanted {
        if there.contains(&format!("{version}.{group}")) {
            continue;
        }
        let object = service(group, version);
        if let Answer::Refused(why) = send(shared, Method::POST, PATH, Some(&object)).await {
            tracing::debug!(group, version, why, "APIService cannot be created");
        }
    }
    for name in there {
        let served = wanted
            .iter()
            .any(|(group, version)| format!("{version}.{group}") == name);
        if !served && !is_built_in(shared, &name) {
            send(shared, Method::DELETE, &format!("{PATH}/{name}"), None).await;
        }
    }
}

/// Group and version of everything that definitions serve, in groups that are not built in.
fn wanted(shared: &Shared) -> BTreeSet<(String, String)> {
    let registry = shared.registry.load();
    let custom = registry.iter().filter(|r| r.custom.is_some());
    custom
        .flat_map(|r| r.versions.iter().map(|v| (r.group.clone(), v.clone())))
        .collect()
}

fn is_built_in(shared: &Shared, name: &str) -> bool {
    let (version, group) = name.split_once('.').unwrap_or((name, ""));
    let registry = shared.registry.load();
    registry
        .iter()
        .any(|r| r.custom.is_none() && r.group == group && r.versions.iter().any(|v| v == version))
}

/// APIServices that nobody but servers wrote.
fn there(shared: &Shared) -> BTreeSet<String> {
    let listing = shared.store.list(Range {
        prefix: PREFIX,
        ..Range::default()
    });
    let items = listing.map(|l| l.items).unwrap_or_default();
    items
        .iter()
        .filter(|s| s.head.label(AUTOMANAGED) == Some("true"))
        .map(|s| s.head.name.clone())
        .collect()
}

fn service(group: &str, version: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {AUTOMANAGED: "true"}},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": GROUP_PRIORITY,
            "versionPriority": VERSION_PRIORITY,
        },
    })
}
