//! Custom resources on a real server over HTTPS, as operators use them.

#[path = "../common/mod.rs"]
mod common;

mod conversion;
mod documents;
mod ends;
mod operator;
mod restart;

use std::time::Duration;

use common::request::send;
use knarr_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition of namespaced kinds of `example.com`.
fn definition(kind: &str, versions: Value) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": versions},
    })
}

/// A version that is served, with properties of its spec.
fn version(name: &str, storage: bool, spec: Value) -> Value {
    json!({
        "name": name, "served": true, "storage": storage, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
    })
}

/// Makes a definition and waits until its resources are served.
async fn define(client: &kube::Client, definition: &Value) {
    let (code, answer, _) = send(client, "POST", DEFINITIONS, definition.clone()).await;
    assert_eq!(code, 201, "{answer}");
    let spec = &definition["spec"];
    for version in spec["versions"].as_array().unwrap() {
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
        let path = format!("/apis/{group}/{}/{plural}", text(&version["name"]));
        until(|| async { send(client, "GET", &path, Value::Null).await.0 == 200 }).await;
    }
}

/// Waits until something is true, ten seconds at most.
async fn until<F: Future<Output = bool>>(check: impl Fn() -> F) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .expect("comes true in time");
}

fn revision(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}
