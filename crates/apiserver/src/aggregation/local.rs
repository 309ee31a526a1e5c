//! APIServices of what is served here: one per group version, made by the server and kept in step with what it serves.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::Method;
use knarr_json::{Value, json};
use knarr_store::Range;

use super::{PREFIX, priority};
use crate::{discovery, poststart::Client, server::Shared};

const COLLECTION: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
pub(super) const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Where definitions of custom resources are kept.
const DEFINITIONS: &str = "/registry/customresourcedefinitions/";
/// Changes that come together are looked at together.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes the APIServices of what is built in.
///
/// # Errors
/// The first one that could not be written.
pub(crate) async fn register(client: &Client, shared: &Shared) -> Result<(), String> {
    let registry = shared.registry.load_full();
    let core = (String::new(), vec!["v1".to_owned()]);
    let groups = discovery::group_versions(&registry)
        .into_iter()
        .chain([core]);
    let wanted = groups.flat_map(|(group, versions)| {
        versions
            .into_iter()
            .filter_map(move |version| {
                let (of_group, of_version) = priority::of(&group, &version)?;
                let priority = (of_group.into(), of_version.into());
                Some(object(&group, &version, priority, "onstart"))
            })
            .collect::<Vec<_>>()
    });
    let writes = wanted.map(|object| ensure(client, object));
    futures::future::try_join_all(writes).await.map(|_| ())
}

/// An APIService that is served here.
fn object(group: &str, version: &str, priority: (i64, i64), managed: &str) -> Value {
    let mut spec = json!({
        "version": version,
        "groupPriorityMinimum": priority.0,
        "versionPriority": priority.1,
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {LABEL: managed}},
        "spec": spec,
    })
}

/// Creates an APIService, or brings back the spec of one that the server made before.
async fn ensure(client: &Client, wanted: Value) -> Result<(), String> {
    let Some(mut stored) = client.stored(PREFIX, &wanted) else {
        return client.send(Method::POST, COLLECTION, &wanted).await;
    };
    let ours = stored["metadata"]["labels"][LABEL].is_string();
    if !ours || stored["spec"] == wanted["spec"] {
        return Ok(());
    }
    stored["spec"] = wanted["spec"].clone();
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
    client
        .send(Method::PUT, &format!("{COLLECTION}/{name}"), &stored)
        .await
}

/// Keeps the APIServices of custom resources in step with their definitions, until the server stops.
pub(super) async fn follow(shared: Arc<Shared>) {
    let client = Client::new(shared.clone());
    while let Ok(mut watch) = shared.store.watch(DEFINITIONS, None) {
        settle(&shared, &client).await;
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                event = watch.next() => match event {
                    Some(Ok(_)) => {
                        tokio::time::sleep(PAUSE).await;
                        settle(&shared, &client).await;
                    }
                    Some(Err(_)) => break,
                    None => return,
                },
            }
        }
    }
}

fn objects(shared: &Shared, prefix: &str) -> Vec<Value> {
    let listing = shared.store.list(Range {
        prefix,
        ..Range::default()
    });
    let items = listing.map(|l| l.items).unwrap_or_default();
    let objects = items.iter().map(|s| serde_json::from_slice(&s.json));
    objects.filter_map(Result::ok).collect()
}

async fn settle(shared: &Shared, client: &Client) {
    let wanted = served(&objects(shared, DEFINITIONS));
    let mut writes: Vec<(Method, String, Value)> = Vec::new();
    let mut there = BTreeSet::new();
    for service in objects(shared, PREFIX) {
        let spec = &service["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (text(&spec["group"]), text(&spec["version"]));
        if service["metadata"]["labels"][LABEL] == "true" && !wanted.contains(&key) {
            let name = text(&service["metadata"]["name"]);
            let options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
            writes.push((Method::DELETE, format!("{COLLECTION}/{name}"), options));
        }
        there.insert(key);
    }
    for (group, version) in wanted.difference(&there) {
        let object = object(group, version, priority::CUSTOM, "true");
        writes.push((Method::POST, COLLECTION.to_owned(), object));
    }
    for (method, path, object) in writes {
        if let Err(error) = client.send(method, &path, &object).await {
            tracing::warn!(%error, "APIService of a custom resource");
        }
    }
}

/// Groups and versions that definitions say are served.
fn served(definitions: &[Value]) -> BTreeSet<(String, String)> {
    let mut out = BTreeSet::new();
    for definition in definitions {
        let spec = &definition["spec"];
        let versions = spec["versions"].as_array().into_iter().flatten();
        for version in versions.filter(|v| v["served"] == true) {
            if let (Some(group), Some(name)) = (spec["group"].as_str(), version["name"].as_str()) {
                out.insert((group.to_owned(), name.to_owned()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_versions_need_an_apiservice() {
        let definition = json!({"spec": {"group": "x.io", "versions": [{"name": "v1", "served": true}, {"name": "v2", "served": false}]}});
        assert_eq!(
            served(&[definition]),
            BTreeSet::from([("x.io".to_owned(), "v1".to_owned())])
        );
        let core = object("", "v1", (18000, 1), "onstart");
        assert_eq!(
            (&core["metadata"]["name"], &core["spec"]["group"]),
            (&json!("v1."), &Value::Null)
        );
    }
}
