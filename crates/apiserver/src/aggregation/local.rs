//! APIServices of what is built in: one per group version, made by the server. Those of custom resources come and go with
//! their definitions ([`crate::custom`]).

use http::Method;
use knarr_json::{Value, json};

use super::{PREFIX, priority};
use crate::{discovery, poststart::Client, server::Shared};

pub(crate) const COLLECTION: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
/// Tells who keeps an APIService.
pub(crate) const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";

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
pub(crate) fn object(group: &str, version: &str, priority: (i64, i64), managed: &str) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_group_has_no_name() {
        let core = object("", "v1", (18000, 1), "onstart");
        assert_eq!(
            (&core["metadata"]["name"], &core["spec"]["group"]),
            (&json!("v1."), &Value::Null)
        );
    }
}
