//! Every version of a group of custom resources has an APIService that says that this server serves it.

use std::{collections::BTreeSet, sync::Arc};

use http::Method;
use knarr_store::Range;

use super::requests::{Answer, send};
use crate::{
    aggregation::{
        PREFIX,
        local::{self, COLLECTION, LABEL},
        priority,
    },
    server::Shared,
};

/// What [`LABEL`] says of APIServices that come and go.
const FOLLOWS: &str = "true";

/// Creates the APIServices that are missing and removes those of versions that are served no more.
pub async fn sync(shared: &Arc<Shared>) {
    let wanted = wanted(shared);
    let there = there(shared);
    for (group, version) in &wanted {
        if there.contains(&format!("{version}.{group}")) {
            continue;
        }
        let object = local::object(group, version, priority::CUSTOM, FOLLOWS);
        if let Answer::Refused(why) = send(shared, Method::POST, COLLECTION, Some(&object)).await {
            tracing::debug!(group, version, why, "APIService cannot be created");
        }
    }
    for name in there {
        let served = wanted
            .iter()
            .any(|(group, version)| format!("{version}.{group}") == name);
        if !served && !is_built_in(shared, &name) {
            send(
                shared,
                Method::DELETE,
                &format!("{COLLECTION}/{name}"),
                None,
            )
            .await;
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
        .filter(|s| s.head.label(LABEL) == Some(FOLLOWS))
        .map(|s| s.head.name.clone())
        .collect()
}
