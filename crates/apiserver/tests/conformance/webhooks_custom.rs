//! Admission webhooks of custom resources and of their definitions.

use knarr_json::{Value, json};

use crate::{
    common::hook::{Hook, patch, yes},
    custom::{DEFINITIONS, define, definition, open},
    webhooks::{configure, path_of, rule, tried, webhook},
    world::{JSON_PATCH, World, until},
};

const BOATS: &str = "/apis/example.com/v1/namespaces/default/boats";

fn boat(name: &str, data: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": name}, "data": data})
}

/// One hook adds a first stage, another a second one.
async fn stages(world: &World) -> [Hook; 2] {
    let stage = |before: &'static str, after: &'static str| {
        Hook::start(move |request| {
            let data = &request["object"]["data"];
            match data[before] == "yes" {
                true => {
                    patch(json!([{"op": "add", "path": format!("/data/{after}"), "value": "yes"}]))
                }
                false => yes(),
            }
        })
    };
    let hooks = [
        stage("mutation-start", "mutation-stage-1").await,
        stage("mutation-stage-1", "mutation-stage-2").await,
    ];
    for (i, hook) in hooks.iter().enumerate() {
        let rules = rule(&["CREATE", "UPDATE"], "example.com", &["boats"]);
        let body = webhook(&hook.by_url(), rules, Value::Null);
        configure(world, "mutating", &format!("c{i}"), body).await;
    }
    until("both are heeded", async || {
        let start = boat("marker", json!({"mutation-start": "yes"}));
        tried(world, BOATS, &start).await;
        hooks.iter().all(|h| !h.seen().is_empty())
    })
    .await;
    hooks
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_refused_at_all_times_of_their_life() {
    let world = World::start().await;
    define(&world, definition("Boat", "Namespaced", &[("v1", open())])).await;
    let hook = Hook::start(|request| {
        let object = match request["operation"] == "DELETE" {
            true => &request["oldObject"],
            false => &request["object"],
        };
        match object["data"]["webhook-e2e-test"] == "webhook-disallow" {
            true => json!({"allowed": false, "status": {"message": "the custom resource contains unwanted data"}}),
            false => yes(),
        }
    })
    .await;
    let rules = rule(&["CREATE", "UPDATE", "DELETE"], "example.com", &["boats"]);
    let bad = || json!({"webhook-e2e-test": "webhook-disallow"});
    // What was there before cannot be deleted, until it is made good.
    world.make(BOATS, boat("old", bad())).await;
    configure(
        &world,
        "validating",
        "c",
        webhook(&hook.by_url(), rules, Value::Null),
    )
    .await;
    until("it is heeded", async || {
        tried(&world, BOATS, &boat("marker", bad())).await.0 == 400
    })
    .await;
    let refused = |(code, answer): (u16, Value)| {
        assert_eq!(code, 400, "{answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("the custom resource contains unwanted data"));
    };
    refused(world.ask("POST", BOATS, boat("bad", bad())).await);
    let old = format!("{BOATS}/old");
    refused(world.ask("DELETE", &old, Value::Null).await);
    world.make(BOATS, boat("good", json!({"a": "b"}))).await;
    let mut good = world.get(&format!("{BOATS}/good")).await;
    good["data"] = bad();
    refused(world.ask("PUT", &format!("{BOATS}/good"), good).await);
    let cure = json!({"data": {"webhook-e2e-test": null}});
    world.merge(&old, cure).await;
    world.delete(&old).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_changed_in_stages() {
    let world = World::start().await;
    define(&world, definition("Boat", "Namespaced", &[("v1", open())])).await;
    let _hooks = stages(&world).await;
    let made = world
        .make(BOATS, boat("a", json!({"mutation-start": "yes"})))
        .await;
    let all =
        json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    assert_eq!(made["data"], all);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_adds_is_pruned_as_all_else() {
    let world = World::start().await;
    let text = || json!({"type": "string"});
    let data = json!({"type": "object", "properties": {"mutation-start": text(), "mutation-stage-1": text()}});
    let schema = json!({"type": "object", "properties": {"data": data}});
    define(&world, definition("Boat", "Namespaced", &[("v1", schema)])).await;
    let _hooks = stages(&world).await;
    let made = world
        .make(BOATS, boat("a", json!({"mutation-start": "yes"})))
        .await;
    let left = json!({"mutation-start": "yes", "mutation-stage-1": "yes"});
    assert_eq!(made["data"], left);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_changed_whatever_version_is_stored() {
    let world = World::start().await;
    let versions = [("v1", open()), ("v2", open())];
    define(&world, definition("Boat", "Namespaced", &versions)).await;
    let _hooks = stages(&world).await;
    let one = format!("{BOATS}/a");
    world
        .make(BOATS, boat("a", json!({"mutation-start": "yes"})))
        .await;
    let storage = json!([
        {"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true},
    ]);
    let path = format!("{DEFINITIONS}/boats.example.com");
    world.patch(&path, JSON_PATCH, storage).await;
    until("the other version is stored", async || {
        let read = world.get(&path).await;
        read["status"]["storedVersions"] == json!(["v1", "v2"])
    })
    .await;
    let note = json!([{"op": "add", "path": "/dummy", "value": "test"}]);
    let changed = world.patch(&one, JSON_PATCH, note).await;
    let all =
        json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    assert_eq!(
        (&changed["data"], &changed["dummy"]),
        (&all, &json!("test"))
    );
    let other = world
        .get("/apis/example.com/v2/namespaces/default/boats/a")
        .await;
    assert_eq!(other["data"], all);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_refused() {
    let world = World::start().await;
    let hook = Hook::start(|request| {
        match request["object"]["metadata"]["labels"]["webhook-e2e-test"] == "webhook-disallow" {
            true => {
                json!({"allowed": false, "status": {"message": "the crd contains unwanted label"}})
            }
            false => yes(),
        }
    })
    .await;
    let rules = rule(
        &["CREATE"],
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
    );
    configure(
        &world,
        "validating",
        "c",
        webhook(&hook.by_url(), rules, Value::Null),
    )
    .await;
    let mut bad = definition("Boat", "Cluster", &[("v1", open())]);
    bad["metadata"]["labels"] = json!({"webhook-e2e-test": "webhook-disallow"});
    until("it is heeded", async || {
        tried(&world, DEFINITIONS, &bad).await.0 == 400
    })
    .await;
    let (code, answer) = world.ask("POST", DEFINITIONS, bad).await;
    assert_eq!(code, 400);
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("the crd contains unwanted label"),
        "{message}"
    );
    world.delete(&format!("{}/c", path_of("validating"))).await;
    world.stop().await;
}
