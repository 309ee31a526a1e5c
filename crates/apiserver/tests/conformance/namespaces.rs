//! Namespaces: patched, updated, given a status and a finalizer.

use knarr_json::{Value, json};

use crate::world::{MERGE, STRATEGIC, World, holds};

const NAMESPACES: &str = "/api/v1/namespaces";

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_changed_in_every_way() {
    let world = World::start().await;
    world.namespace("n").await;
    let path = format!("{NAMESPACES}/n");
    let label = json!({"metadata": {"labels": {"testLabel": "testValue"}}});
    let patched = world.patch(&path, STRATEGIC, label.clone()).await;
    assert!(holds(&patched, &label));
    let updated = world
        .update(&path, |n| n["metadata"]["labels"]["updated"] = json!("n"))
        .await;
    assert_eq!(updated["metadata"]["labels"]["updated"], "n");

    let status = format!("{path}/status");
    assert_eq!(world.get(&status).await["status"]["phase"], "Active");
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "Set by an e2e test"});
    let patch = json!({"metadata": {"annotations": {"e2e-patched-ns-status": "n"}}, "status": {"conditions": [condition("StatusPatch")]}});
    let patched = world.patch(&status, MERGE, patch.clone()).await;
    assert!(holds(&patched, &patch), "{patched}");
    let updated = world
        .update(&status, |n| {
            let conditions = n["status"]["conditions"].as_array_mut().unwrap();
            conditions.push(condition("StatusUpdate"));
        })
        .await;
    let kinds: Vec<&Value> = updated["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["type"])
        .collect();
    assert_eq!(kinds, ["StatusPatch", "StatusUpdate"]);
    assert_eq!(updated["status"]["phase"], "Active");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_is_put_on_and_taken_off() {
    let world = World::start().await;
    world.namespace("n").await;
    let path = format!("{NAMESPACES}/n/finalize");
    let fake = "e2e.example.com/fakeFinalizer";
    let has = |n: &Value| {
        let finalizers = n["spec"]["finalizers"].as_array().unwrap();
        finalizers.contains(&json!(fake))
    };
    let mut namespace = world.get(&format!("{NAMESPACES}/n")).await;
    let finalizers = namespace["spec"]["finalizers"].as_array_mut().unwrap();
    finalizers.push(json!(fake));
    let updated = world.put(&path, namespace).await;
    assert!(has(&updated), "{updated}");
    let mut namespace = updated;
    let finalizers = namespace["spec"]["finalizers"].as_array_mut().unwrap();
    finalizers.retain(|f| f != fake);
    let updated = world.put(&path, namespace).await;
    assert!(!has(&updated), "{updated}");
    assert_eq!(updated["spec"]["finalizers"], json!(["kubernetes"]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_are_checked_and_metadata_may_go_along() {
    let world = World::start().await;
    world.namespace("n").await;
    let path = format!("{NAMESPACES}/n/finalize");
    let namespace = |finalizers: Value| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"a": "b"}},
            "spec": {"finalizers": finalizers}, "status": {"phase": "Terminating"}})
    };
    for (finalizers, want) in [
        (json!(["odd"]), "spec.finalizers[0]"),
        (json!(["kubernetes", "a b/c"]), "spec.finalizers[1]"),
    ] {
        let (code, answer) = world.ask("PUT", &path, namespace(finalizers)).await;
        assert_eq!(
            (code, &answer["details"]["causes"][0]["field"]),
            (422, &json!(want))
        );
    }
    let updated = world
        .put(&path, namespace(json!(["kubernetes", "x.y/z"])))
        .await;
    assert_eq!(updated["metadata"]["labels"]["a"], "b");
    assert_eq!(
        updated["status"]["phase"], "Active",
        "not what this changes"
    );
    world.stop().await;
}
