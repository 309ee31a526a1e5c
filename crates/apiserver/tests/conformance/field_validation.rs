//! What a strict server says of fields that are unknown or there twice, in built-in kinds and in custom resources.

use knarr_json::{Value, json};

use crate::{
    custom::{define, definition, open},
    world::{APPLY, World},
};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const STRICT: &str = "fieldManager=field_validation_mgr&fieldValidation=Strict";

async fn typed(world: &World, metadata: &str, spec: &str) -> (u16, Value) {
    let body = format!(
        r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "d", {metadata} "labels": {{"app": "a"}}}},
        "spec": {{{spec} "selector": {{"matchLabels": {{"app": "a"}}}}, "template": {{"metadata": {{"labels": {{"app": "a"}}}},
        "spec": {{"containers": [{{"name": "c", "image": "i"}}]}}}}}}}}"#
    );
    let path = format!("{DEPLOYMENTS}?{STRICT}");
    let headers = [("content-type", "application/json")];
    let (code, _, answer) = world.raw("POST", &path, &headers, body.into_bytes()).await;
    (code, answer)
}

fn says(answer: &Value, words: &str) {
    let message = answer["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_objects_are_read_strictly() {
    let world = World::start().await;
    let (code, answer) = typed(
        &world,
        "",
        r#""unknownField": "foo", "replicas": 2, "replicas": 3,"#,
    )
    .await;
    assert_eq!(code, 400);
    says(
        &answer,
        r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#,
    );
    let (code, answer) = typed(&world, r#""unknownMeta": "foo","#, "").await;
    assert_eq!(code, 400);
    says(
        &answer,
        r#"strict decoding error: unknown field "metadata.unknownMeta""#,
    );
    world.stop().await;
}

fn ports() -> Value {
    let item = json!({"type": "object", "required": ["containerPort", "protocol"], "properties": {
        "containerPort": {"type": "integer", "format": "int32"}, "hostIP": {"type": "string"},
        "hostPort": {"type": "integer", "format": "int32"}, "name": {"type": "string"}, "protocol": {"type": "string"}}});
    json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "items": item})
}

/// A schema of a spec with ports, that has more.
fn schema(more: Value) -> Value {
    let mut spec = json!({"type": "object", "properties": {
        "foo": {"type": "string"},
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "ports": ports()}});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key.as_str()] = value.clone();
    }
    json!({"type": "object", "properties": {"spec": spec}})
}

/// Strictly applies a resource of a kind that is defined for it.
async fn applied(
    world: &World,
    (kind, schema): (&str, Value),
    [metadata, root, spec]: [&str; 3],
) -> (u16, Value) {
    let versions = [("v1", schema.clone()), ("v2", schema)];
    define(world, definition(kind, "Cluster", &versions)).await;
    let body = format!(
        "
apiVersion: example.com/v1
kind: {kind}
metadata:
  name: mytest
{metadata}  finalizers:
  - test-finalizer
{root}spec:
{spec}  cronSpec: \"* * * * */5\"
  ports:
  - name: x
    containerPort: 80
    protocol: TCP"
    );
    let plural = kind.to_lowercase();
    let path = format!("/apis/example.com/v1/{plural}s/mytest?{STRICT}");
    let headers = [("content-type", APPLY)];
    let (code, _, answer) = world.raw("PATCH", &path, &headers, body.into_bytes()).await;
    (code, answer)
}

/// A schema with an object in it that has metadata of its own.
fn embedding() -> Value {
    let template = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}, "spec": {"type": "object"}}});
    let mut schema = schema(json!({"x-kubernetes-preserve-unknown-fields": true}));
    schema["properties"]["spec"]["properties"]["template"] = template;
    schema
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_applied_as_their_schema_allows() {
    let world = World::start().await;
    let foo = "  foo: foo1\n";
    let closed = schema(Value::Null);
    let (code, answer) = applied(&world, ("Valid", closed.clone()), ["", "", foo]).await;
    assert_eq!(code, 201, "{answer}");
    let unknown = "  unknown: uk1\n";
    let (code, answer) = applied(&world, ("Free", open()), ["", "", unknown]).await;
    assert_eq!(code, 201, "{answer}");
    let root = "unknownField: unknown\n";
    let (_, answer) = applied(&world, ("Closed", closed), ["", root, foo]).await;
    says(&answer, ".unknownField: field not declared in schema");

    let template = "  template:
    apiversion: foo/v1
    kind: Sub
    metadata:
      unknownSubMeta: unknown
      name: subobject
      namespace: default
  foo: foo1
";
    let metadata = "  unknownMeta: unknown\n";
    let (_, answer) = applied(&world, ("Sub", embedding()), [metadata, "", template]).await;
    let message = answer["message"].as_str().unwrap();
    let either = [
        ".spec.template.metadata.unknownSubMeta: field not declared in schema",
        ".metadata.unknownMeta: field not declared in schema",
    ];
    assert!(either.iter().any(|w| message.contains(w)), "{message}");

    // What is preserved is there once.
    let preserving = schema(json!({"x-kubernetes-preserve-unknown-fields": true}));
    let twice = "  unknown: uk1\n  foo: foo1\n  foo: foo2\n";
    let (_, answer) = applied(&world, ("Twice", preserving), ["", "", twice]).await;
    says(&answer, r#"line 11: key "foo" already set in map"#);
    world.stop().await;
}
