//! Definitions of custom resources: made, found, listed, watched, changed and deleted; their status; what a schema fills in.

use knarr_json::{Value, json};

use crate::world::{STRATEGIC, World, name_of, until};

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition of a kind of `example.com`; the first version is stored.
pub fn definition(kind: &str, scope: &str, versions: &[(&str, Value)]) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(i, (name, schema))| {
            json!({"name": name, "served": true, "storage": i == 0, "schema": {"openAPIV3Schema": schema}})
        })
        .collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": scope, "versions": versions,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")}}})
}

/// Makes a definition and waits until all its versions are served.
pub async fn define(world: &World, definition: Value) -> Value {
    let made = world.make(DEFINITIONS, definition).await;
    let spec = &made["spec"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for version in spec["versions"].as_array().unwrap() {
        let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
        let path = format!("/apis/{group}/{}/{plural}", text(&version["name"]));
        until(&path, async || {
            world.ask("GET", &path, Value::Null).await.0 == 200
        })
        .await;
    }
    made
}

pub fn open() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_come_and_go() {
    let world = World::start().await;
    let select = format!("{DEFINITIONS}?labelSelector=e2e-list-test-uuid%3Dx");
    for i in 0..10 {
        let mut definition = definition(&format!("Kind{i}"), "Cluster", &[("v1", open())]);
        definition["metadata"]["labels"] = json!({"e2e-list-test-uuid": "x"});
        define(&world, definition).await;
    }
    define(&world, definition("Other", "Namespaced", &[("v1", open())])).await;
    assert_eq!(world.names(&select).await.len(), 10);
    world.delete(&select).await;
    until("the collection is gone", async || {
        world.names(&select).await.is_empty()
    })
    .await;
    let path = format!("{DEFINITIONS}/others.example.com");
    world.delete(&path).await;
    world.until_gone(&path).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_has_a_status() {
    let world = World::start().await;
    define(&world, definition("Boat", "Cluster", &[("v1", open())])).await;
    let path = format!("{DEFINITIONS}/boats.example.com/status");
    let read = world.get(&path).await;
    assert_eq!(read["kind"], "CustomResourceDefinition");
    assert_eq!(read["status"]["acceptedNames"]["kind"], "Boat");
    let condition = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"});
    let updated = world
        .update(&path, |object| {
            let conditions = object["status"]["conditions"].as_array_mut().unwrap();
            conditions.push(condition.clone());
        })
        .await;
    let has = |object: &Value, kind: &str| {
        let mut conditions = object["status"]["conditions"].as_array().unwrap().iter();
        conditions.any(|c| c["type"] == kind && c["status"] == "True")
    };
    assert!(has(&updated, "StatusUpdate"), "{updated}");
    let conditions = &updated["status"]["conditions"];
    let mut conditions = conditions.as_array().unwrap().clone();
    conditions.push(json!({"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "Set by e2e test"}));
    let patch = json!({"status": {"conditions": conditions}});
    let patched = world.patch(&path, crate::world::MERGE, patch).await;
    assert!(has(&patched, "StatusPatched"), "{patched}");
    assert!(has(&world.get(&path).await, "StatusUpdate"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_watched() {
    let world = World::start().await;
    define(&world, definition("Boat", "Cluster", &[("v1", open())])).await;
    let path = "/apis/example.com/v1/boats";
    let boat = |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": name}, "num": {"n": 1}});
    let mut watches = Vec::new();
    for name in ["a", "b"] {
        let query = format!("{path}?watch=true&fieldSelector=metadata.name%3D{name}");
        watches.push((name, world.watch(&query).await));
    }
    for (name, watch) in &mut watches {
        let one = format!("{path}/{name}");
        world.make(path, boat(name)).await;
        assert_eq!(watch.told().await, ("ADDED".into(), name.to_string()));
        world.merge(&one, json!({"dummy": "test"})).await;
        assert_eq!(watch.told().await, ("MODIFIED".into(), name.to_string()));
        world.delete(&one).await;
        assert_eq!(watch.told().await, ("DELETED".into(), name.to_string()));
    }
    // Strategic patches need types that are built in.
    world.make(path, boat("c")).await;
    let headers = [("content-type", STRATEGIC)];
    let (code, ..) = world
        .raw("PATCH", &format!("{path}/c"), &headers, b"{}".to_vec())
        .await;
    assert_eq!(code, 415);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_filled_in_on_requests_and_from_storage() {
    let world = World::start().await;

    let with = |a: Option<&str>, b: Option<&str>| {
        let mut schema = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
        for (name, default) in [("a", a), ("b", b)] {
            if let Some(default) = default {
                schema["properties"][name]["default"] = json!(default);
            }
        }
        schema
    };
    define(
        &world,
        definition("Boat", "Namespaced", &[("v1", with(None, None))]),
    )
    .await;
    let path = "/apis/example.com/v1/namespaces/default/boats";
    let boat = |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": name}});
    let made = world.make(path, boat("foo")).await;
    assert_eq!(made["a"], Value::Null);
    let change = async |a: Option<&str>, b: Option<&str>| {
        let change = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": with(a, b)}]);
        let definition = format!("{DEFINITIONS}/boats.example.com");
        world
            .patch(&definition, crate::world::JSON_PATCH, change)
            .await;
    };
    // With a default, what is stored already has it when it is read.
    change(Some("A"), None).await;
    let one = format!("{path}/foo");
    until("the default of what is stored", async || {
        world.get(&one).await["a"] == "A"
    })
    .await;
    // A request makes it a value that stays.
    let made = world.make(path, boat("bar")).await;
    assert_eq!((&made["a"], &made["b"]), (&json!("A"), &Value::Null));
    change(None, Some("B")).await;
    until("the other default", async || {
        world.get(&one).await["b"] == "B"
    })
    .await;
    assert_eq!(world.get(&one).await["a"], Value::Null);
    let bar = world.get(&format!("{path}/bar")).await;
    assert_eq!((&bar["a"], &bar["b"]), (&json!("A"), &json!("B")));
    let listed = world.get(path).await;
    let items = listed["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["b"] == "B"), "{items:?}");
    assert_eq!(
        items.iter().map(name_of).collect::<Vec<_>>(),
        ["bar", "foo"]
    );
    world.stop().await;
}
