//! Configuration that may not change, keys that may not be, and classes that pods name.

use knarr_json::{Value, json};

use crate::{
    kinds::template,
    world::{MERGE, World},
};

const CORE: &str = "/api/v1/namespaces/default";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_immutable_stays_as_it_is() {
    let world = World::start().await;
    for (plural, value) in [("configmaps", "dmFsdWU="), ("secrets", "dmFsdWU=")] {
        let path = format!("{CORE}/{plural}");
        let one = format!("{path}/i");
        let body = json!({"metadata": {"name": "i"}, "data": {"a": value}});
        world.make(&path, body).await;
        world
            .update(&one, |o| o["data"]["a"] = json!("b3RoZXI="))
            .await;
        world.update(&one, |o| o["immutable"] = json!(true)).await;
        // Neither data nor the mark may change; metadata may.
        let read = world.get(&one).await;
        let mut changed = read.clone();
        changed["data"]["a"] = json!(value);
        let mut freed = read.clone();
        freed["immutable"] = json!(false);
        for refused in [changed, freed] {
            let (code, answer) = world.ask("PUT", &one, refused).await;
            assert_eq!((code, &answer["reason"]), (422, &json!("Invalid")));
        }
        world
            .update(&one, |o| o["metadata"]["labels"]["a"] = json!("b"))
            .await;
        world.delete(&one).await;
        let empty = json!({"metadata": {"name": "e"}, "data": {"": value}});
        let (code, _) = world.ask("POST", &path, empty).await;
        assert_eq!(code, 422, "a key may not be empty");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_classes_are_there_before_their_pods() {
    let world = World::start().await;
    let (pods, classes) = (
        format!("{CORE}/pods"),
        "/apis/node.k8s.io/v1/runtimeclasses",
    );
    let pod = |name: &str, class: &str| {
        let mut spec = template()["spec"].clone();
        spec["runtimeClassName"] = json!(class);
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let refused = async |class: &str| {
        let (code, answer) = world.ask("POST", &pods, pod("refused", class)).await;
        assert_eq!((code, &answer["reason"]), (403, &json!("Forbidden")));
    };
    refused("nonexistent").await;
    world
        .make(
            classes,
            json!({"metadata": {"name": "plain"}, "handler": "h"}),
        )
        .await;
    let made = world.make(&pods, pod("plain", "plain")).await;
    assert_eq!(made["spec"]["overhead"], Value::Null);
    let fixed = json!({"cpu": "10m", "memory": "1Mi"});
    let heavy =
        json!({"metadata": {"name": "heavy"}, "handler": "h", "overhead": {"podFixed": fixed}});
    world.make(classes, heavy).await;
    let made = world.make(&pods, pod("heavy", "heavy")).await;
    assert_eq!(made["spec"]["overhead"], fixed);
    world.delete(&format!("{classes}/plain")).await;
    refused("plain").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_of_a_priority_class_stays() {
    let world = World::start().await;
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let body = json!({"metadata": {"name": "p1"}, "value": 1, "description": "d"});
    world.make(path, body).await;
    let one = format!("{path}/p1");
    world
        .patch(&one, MERGE, json!({"description": "other"}))
        .await;
    world
        .update(&one, |p| p["metadata"]["annotations"] = json!({"a": "b"}))
        .await;
    let headers = [("content-type", MERGE)];
    let patch = json!({"value": 2}).to_string().into_bytes();
    assert_eq!(world.raw("PATCH", &one, &headers, patch).await.0, 422);
    let mut changed = world.get(&one).await;
    changed["value"] = json!(3);
    assert_eq!(world.ask("PUT", &one, changed).await.0, 422);
    assert_eq!(world.get(&one).await["value"], 1);
    world.stop().await;
}
