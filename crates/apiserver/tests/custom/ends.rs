//! The end of a definition takes its objects along; what comes after it has nothing of it.

use knarr_json::{Value, json};

use super::{
    DEFINITIONS,
    common::{Server, request::send},
    define, definition, until, version,
};

const CUPS: &str = "/apis/example.com/v1/namespaces/default/cups";

fn cups(spec: Value) -> Value {
    definition("Cup", json!([version("v1", true, spec)]))
}

fn cup(name: &str, finalizers: &[&str]) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Cup", "metadata": {"name": name, "finalizers": finalizers}, "spec": {"size": 3}})
}

fn condition(definition: &Value, kind: &str) -> Value {
    let conditions = definition["status"]["conditions"].as_array().unwrap();
    let mut found = conditions
        .iter()
        .find(|c| c["type"] == kind)
        .unwrap()
        .clone();
    found.as_object_mut().unwrap().remove("lastTransitionTime");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_with_their_definition() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let crd = format!("{DEFINITIONS}/cups.example.com");
    define(&client, &cups(json!({"size": {"type": "integer"}}))).await;
    for (name, finalizers) in [("a", &[][..]), ("held", &["example.com/hold"]), ("b", &[])] {
        let (code, made, _) = send(&client, "POST", CUPS, cup(name, finalizers)).await;
        assert_eq!(code, 201, "{made}");
    }
    let (code, going, _) = send(&client, "DELETE", &crd, Value::Null).await;
    assert_eq!(code, 200, "{going}");
    assert_eq!(
        going["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    assert_eq!(
        condition(&going, "Terminating"),
        json!({"type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"})
    );
    // All but what is held goes; nothing new comes.
    until(|| async {
        let (_, list, _) = send(&client, "GET", CUPS, Value::Null).await;
        list["items"]
            .as_array()
            .is_some_and(|items| items.len() == 1)
    })
    .await;
    let (code, refused, _) = send(&client, "POST", CUPS, cup("late", &[])).await;
    assert_eq!(
        (code, &refused["message"]),
        (
            405,
            &json!("create not allowed while custom resource definition is terminating")
        )
    );
    let (_, held, _) = send(&client, "GET", &format!("{CUPS}/held"), Value::Null).await;
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    until(|| async {
        let (_, crd, _) = send(&client, "GET", &crd, Value::Null).await;
        condition(&crd, "Terminating")["reason"] == "InstanceDeletionInProgress"
    })
    .await;
    let free = json!({"metadata": {"finalizers": null}});
    assert_eq!(
        send(&client, "PATCH", &format!("{CUPS}/held"), free)
            .await
            .0,
        200
    );
    until(|| async { send(&client, "GET", &crd, Value::Null).await.0 == 404 }).await;
    until(|| async { send(&client, "GET", CUPS, Value::Null).await.0 == 404 }).await;
    let (_, answer, _) = send(&client, "GET", "/apis/example.com", Value::Null).await;
    assert_eq!(answer, Value::Null, "the group has gone: plain 404");

    // The same names with another schema.
    define(
        &client,
        &cups(json!({"size": {"type": "string"}, "lid": {"type": "boolean", "default": true}})),
    )
    .await;
    let (_, list, _) = send(&client, "GET", CUPS, Value::Null).await;
    assert_eq!(list["items"], json!([]));
    let (code, refused, _) = send(&client, "POST", CUPS, cup("a", &[])).await;
    assert_eq!(code, 422);
    assert_eq!(
        refused["message"],
        "Cup.example.com \"a\" is invalid: spec.size: Invalid value: \"integer\": spec.size in body must be of type string: \"integer\""
    );
    let mut new = cup("a", &[]);
    new["spec"]["size"] = "big".into();
    let (code, made, _) = send(&client, "POST", CUPS, new).await;
    assert_eq!(
        (code, &made["spec"]),
        (201, &json!({"size": "big", "lid": true}))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_may_come_back_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let crd = format!("{DEFINITIONS}/cups.example.com");
    for round in 0..3 {
        define(
            &client,
            &cups(json!({"size": {"type": "integer", "maximum": round + 3}})),
        )
        .await;
        for n in 0..10 {
            let (code, made, _) = send(&client, "POST", CUPS, cup(&format!("c{n}"), &[])).await;
            assert_eq!(code, 201, "{made}");
        }
        assert_eq!(send(&client, "DELETE", &crd, Value::Null).await.0, 200);
        until(|| async { send(&client, "GET", &crd, Value::Null).await.0 == 404 }).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_gone_keeps_no_definition() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let size = || json!({"size": {"type": "integer"}});
    let versions = json!([version("v1", true, size()), version("v2", false, size())]);
    let mut crd = definition("Cup", versions);
    // Nobody listens there.
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/"}}});
    define(&client, &crd).await;
    assert_eq!(send(&client, "POST", CUPS, cup("a", &[])).await.0, 201);
    let (code, answer, _) = send(&client, "GET", &CUPS.replace("v1", "v2"), Value::Null).await;
    assert_eq!(code, 500, "{answer}");
    let crd = format!("{DEFINITIONS}/cups.example.com");
    assert_eq!(send(&client, "DELETE", &crd, Value::Null).await.0, 200);
    until(|| async { send(&client, "GET", &crd, Value::Null).await.0 == 404 }).await;
    server.stop().await;
}
