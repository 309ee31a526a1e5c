//! Definitions of custom resources are told of in the OpenAPI document, and kubectl goes by it.

use knarr_json::{Value, json};

use crate::{
    custom::{DEFINITIONS, define, definition, open},
    kubectl::Kubectl,
    world::{JSON_PATCH, World, until},
};

/// A schema with words for all that it has.
fn foo() -> Value {
    let bar = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "description": "Name of Bar."},
        "age": {"type": "string", "description": "Age of Bar."},
        "feeling": {"type": "string", "description": "Whether Bar is feeling great.", "enum": ["Great", "Down"]},
        "bazs": {"type": "array", "description": "List of Bazs.", "items": {"type": "string"}}}});
    json!({"type": "object", "description": "Foo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {
            "bars": {"type": "array", "description": "List of Bars and their specs.", "items": bar}}},
        "status": {"type": "object", "description": "Status of Foo", "properties": {
            "bars": {"type": "array", "items": {"type": "object", "properties": {"available": {"type": "boolean"}}}}}}}})
}

fn waldo() -> Value {
    json!({"type": "object", "description": "Waldo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Waldo", "properties": {
            "dummy": {"type": "string", "description": "Dummy property."}}}}})
}

/// Definitions in the document of version 2, without what every kind has.
async fn published<const N: usize>(world: &World, names: [&str; N]) -> [Option<Value>; N] {
    let document = world.get("/openapi/v2").await;
    names.map(|name| document["definitions"].get(name).map(own))
}

fn own(definition: &Value) -> Value {
    let mut definition = definition.clone();
    let fields = definition.as_object_mut().unwrap();
    fields.remove("x-kubernetes-group-version-kind");
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        for common in ["apiVersion", "kind", "metadata"] {
            properties.remove(common);
        }
        if properties.is_empty() {
            fields.remove("properties");
        }
    }
    definition
}

/// Waits until the document has these definitions, or does not where there is none.
async fn until_published<const N: usize>(world: &World, wanted: [(&str, Option<Value>); N]) {
    let names = wanted.each_ref().map(|(name, _)| *name);
    let schemas = wanted.each_ref().map(|(_, schema)| schema.clone());
    until("the document has what it should", async || {
        published(world, names).await == schemas
    })
    .await;
}

fn group(mut definition: Value, group: &str) -> Value {
    let plural = definition["spec"]["names"]["plural"].as_str().unwrap();
    definition["metadata"]["name"] = json!(format!("{plural}.{group}"));
    definition["spec"]["group"] = json!(group);
    definition
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_versions_and_kinds_are_published_side_by_side() {
    let world = World::start().await;
    let of = |kind: &str, versions: &[(&str, Value)]| definition(kind, "Namespaced", versions);
    // Different groups.
    define(
        &world,
        group(of("Foo", &[("v1", foo())]), "foo.example.com"),
    )
    .await;
    define(
        &world,
        group(of("Waldo", &[("v1beta1", waldo())]), "waldo.example.com"),
    )
    .await;
    // One group, with two versions of a kind and another kind in a third.
    define(&world, of("Multi", &[("v2", foo()), ("v3", foo())])).await;
    define(&world, of("Waldo", &[("v5", waldo())])).await;
    // One version, with two kinds.
    define(&world, of("Foo", &[("v6", foo())])).await;
    define(&world, of("Other", &[("v6", waldo())])).await;
    let wanted = [
        ("com.example.foo.v1.Foo", Some(foo())),
        ("com.example.waldo.v1beta1.Waldo", Some(waldo())),
        ("com.example.v2.Multi", Some(foo())),
        ("com.example.v3.Multi", Some(foo())),
        ("com.example.v5.Waldo", Some(waldo())),
        ("com.example.v6.Foo", Some(foo())),
        ("com.example.v6.Other", Some(waldo())),
    ];
    until_published(&world, wanted.clone()).await;
    for name in world.names(DEFINITIONS).await {
        world.delete(&format!("{DEFINITIONS}/{name}")).await;
    }
    until_published(&world, wanted.map(|(name, _)| (name, None))).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_renamed_and_withdrawn() {
    let world = World::start().await;
    let versions = [("v2", foo()), ("v3", foo())];
    define(&world, definition("Multi", "Namespaced", &versions)).await;
    let [two, three, four] = ["v2", "v3", "v4"].map(|v| format!("com.example.{v}.Multi"));
    let states = async |second: bool, third: bool| {
        let there = |is: bool| is.then(foo);
        let wanted = [
            (two.as_str(), there(true)),
            (three.as_str(), there(second)),
            (four.as_str(), there(third)),
        ];
        until_published(&world, wanted).await;
    };
    states(true, false).await;
    let path = format!("{DEFINITIONS}/multis.example.com");
    let rename = json!([
        {"op": "test", "path": "/spec/versions/1/name", "value": "v3"},
        {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"},
    ]);
    world.patch(&path, JSON_PATCH, rename).await;
    states(false, true).await;
    world
        .update(&path, |d| d["spec"]["versions"][1]["served"] = json!(false))
        .await;
    states(false, false).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_checks_and_explains_by_the_schema() {
    let world = World::start().await;
    let Some(kubectl) = Kubectl::of(&world) else {
        return;
    };
    define(&world, definition("Foo", "Namespaced", &[("v1", foo())])).await;
    until_published(&world, [("com.example.v1.Foo", Some(foo()))]).await;
    let object = |spec: Value| {
        json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "test-foo"}, "spec": spec})
            .to_string()
    };
    let good = object(json!({"bars": [{"name": "test-bar"}]}));
    let cases = [
        (
            object(json!({"bars": [{"name": "test-bar", "feeling": "NonExistentValue"}]})),
            "Unsupported value: \"NonExistentValue\"",
        ),
        (object(json!({"foo": true})), "unknown field \"spec.foo\""),
        (
            object(json!({"bars": [{"age": "10"}]})),
            "spec.bars[0].name: Required value",
        ),
    ];
    for verb in ["create", "apply"] {
        kubectl.fed(&[verb, "-f", "-"], &good).await.ok();
        kubectl.run(&["delete", "foos", "test-foo"]).await.ok();
        for (bad, words) in &cases {
            let said = kubectl.fed(&[verb, "-f", "-"], bad).await.fails();
            assert!(said.contains(words), "{said}");
        }
    }
    let explained = [
        (
            "foos",
            [
                "Foo CRD for Testing",
                "APIVersion defines",
                "Specification of Foo",
            ],
        ),
        (
            "foos.metadata",
            [
                "Standard object's metadata",
                "creationTimestamp",
                "CreationTimestamp is a timestamp",
            ],
        ),
        (
            "foos.spec",
            [
                "Specification of Foo",
                "<[]Object>",
                "List of Bars and their specs",
            ],
        ),
        (
            "foos.spec.bars",
            ["List of Bars and their specs", "<[]string>", "Name of Bar"],
        ),
    ];
    for (what, words) in explained {
        let said = kubectl.run(&["explain", what]).await.ok();
        for words in words {
            assert!(said.contains(words), "{what}: {words} is not in {said}");
        }
    }
    let said = kubectl.run(&["explain", "foos.spec.bars2"]).await.fails();
    assert!(said.contains("field \"bars2\" does not exist"), "{said}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_takes_what_a_schema_leaves_open() {
    let world = World::start().await;
    let Some(kubectl) = Kubectl::of(&world) else {
        return;
    };
    let nested = json!({"type": "object", "description": "preserve-unknown-properties in nested field for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Waldo", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"dummy": {"type": "string", "description": "Dummy property."}}},
        "status": {"type": "object", "description": "Status of Waldo", "properties": {
            "bars": {"type": "array", "description": "List of Bars and their statuses."}}}}});
    let mut nested = nested;
    nested["properties"]["status"]["properties"]["bars"]["items"] = json!({"type": "object"});
    let root = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "preserve-unknown-properties at root for Testing",
        "properties": {"spec": {"type": "object", "description": "Specification of Waldo", "properties": {"dummy": {"type": "string"}}}}});
    for (kind, schema, body, words) in [
        (
            "Empty",
            open(),
            json!({"a": {"b": [{"c": "d"}]}}),
            "<empty>",
        ),
        ("Root", root, json!({"a": {"b": [{"c": "d"}]}}), "KIND:"),
        (
            "Nested",
            nested,
            json!({"spec": {"a": null, "b": [{"c": "d"}]}}),
            "preserve-unknown-properties in nested field",
        ),
    ] {
        define(&world, definition(kind, "Namespaced", &[("v1", schema)])).await;
        let name = format!("com.example.v1.{kind}");
        until(&name, async || published(&world, [&name]).await != [None]).await;
        let mut object = body;
        object["apiVersion"] = json!("example.com/v1");
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": "test-cr"});
        let plural = format!("{}s", kind.to_lowercase());
        for verb in ["create", "apply"] {
            kubectl
                .fed(&[verb, "-f", "-"], &object.to_string())
                .await
                .ok();
            kubectl.run(&["delete", &plural, "test-cr"]).await.ok();
        }
        let said = kubectl.run(&["explain", &plural]).await.ok();
        assert!(said.contains(words), "{kind}: {said}");
    }
    assert_eq!(
        published(&world, ["com.example.v1.Empty"]).await,
        [Some(json!({"type": "object"}))]
    );
    world.stop().await;
}
