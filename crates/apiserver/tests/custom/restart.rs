//! A server that starts on a store with definitions serves their objects at once, as they were.

use std::time::Duration;

use futures::StreamExt;
use knarr_json::{Value, json};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, WatchEvent, WatchParams},
};

use super::{
    DEFINITIONS,
    common::{Server, request::send},
    define, definition, revision, until, version,
};

const JARS: &str = "/apis/example.com/v1/namespaces/default/jars";

fn jar(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Jar", "metadata": {"name": name}, "spec": {"size": 1}})
}

fn jars() -> Value {
    let v1 = version(
        "v1",
        true,
        json!({"size": {"type": "integer"}, "lid": {"type": "string", "default": "tin"}}),
    );
    let v2 = version("v2", false, json!({"size": {"type": "integer"}}));
    definition("Jar", json!([v1, v2]))
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    define(&client, &jars()).await;
    for name in ["a", "b", "c"] {
        assert_eq!(send(&client, "POST", JARS, jar(name)).await.0, 201);
    }
    let (_, before, _) = send(&client, "GET", JARS, Value::Null).await;
    let (_, crd_before, _) = send(
        &client,
        "GET",
        &format!("{DEFINITIONS}/jars.example.com"),
        Value::Null,
    )
    .await;
    // Something that a watch from the list must still be told after the restart.
    let change = json!({"spec": {"size": 2}});
    let (_, changed, _) = send(&client, "PATCH", &format!("{JARS}/b"), change).await;
    assert_eq!(
        send(&client, "DELETE", &format!("{JARS}/c"), Value::Null)
            .await
            .0,
        200
    );
    let (_, last, _) = send(&client, "GET", JARS, Value::Null).await;
    drop(client);
    server.stop().await;

    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    // The very first request.
    let (code, after, _) = send(&client, "GET", JARS, Value::Null).await;
    assert_eq!(code, 200, "{after}");
    assert_eq!(after["items"], last["items"]);
    let (code, other, _) = send(
        &client,
        "GET",
        "/apis/example.com/v2/namespaces/default/jars/a",
        Value::Null,
    )
    .await;
    assert_eq!((code, &other["spec"]), (200, &json!({"size": 1})));
    let (_, crd, _) = send(
        &client,
        "GET",
        &format!("{DEFINITIONS}/jars.example.com"),
        Value::Null,
    )
    .await;
    assert_eq!(crd, crd_before, "nothing is written anew");

    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Jar"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    let mut events = api
        .watch(&WatchParams::default(), revision(&before))
        .await
        .unwrap()
        .boxed();
    let mut next = async || {
        let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
        event.expect("in time").unwrap().unwrap()
    };
    match next().await {
        WatchEvent::Modified(jar) => {
            assert_eq!(
                jar.metadata.resource_version.as_deref(),
                Some(revision(&changed))
            );
            assert_eq!(jar.data["spec"], json!({"size": 2, "lid": "tin"}));
        }
        other => panic!("{other:?}"),
    }
    match next().await {
        WatchEvent::Deleted(jar) => assert_eq!(jar.metadata.name.as_deref(), Some("c")),
        other => panic!("{other:?}"),
    }
    assert_eq!(send(&client, "POST", JARS, jar("d")).await.0, 201);
    match next().await {
        WatchEvent::Added(jar) => assert_eq!(jar.data["spec"], json!({"size": 1, "lid": "tin"})),
        other => panic!("{other:?}"),
    }
    drop((events, client));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    define(&client, &jars()).await;
    let mut held = jar("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(send(&client, "POST", JARS, held).await.0, 201);
    let crd = format!("{DEFINITIONS}/jars.example.com");
    assert_eq!(send(&client, "DELETE", &crd, Value::Null).await.0, 200);
    until(|| async {
        let (_, held, _) = send(&client, "GET", &format!("{JARS}/held"), Value::Null).await;
        held["metadata"]["deletionTimestamp"].is_string()
    })
    .await;
    drop(client);
    server.stop().await;

    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let free = json!({"metadata": {"finalizers": null}});
    let (code, answer, _) = send(&client, "PATCH", &format!("{JARS}/held"), free).await;
    assert_eq!(code, 200, "{answer}");
    until(|| async { send(&client, "GET", &crd, Value::Null).await.0 == 404 }).await;
    drop(client);
    server.stop().await;
}
