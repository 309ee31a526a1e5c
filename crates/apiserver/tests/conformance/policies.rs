//! Admission policies at Deployments, with the conditions of the tests of the original.

use knarr_json::{Value, json};

use crate::{
    kinds::template,
    webhooks::CONFIGURATIONS,
    webhooks::tried,
    world::{World, until},
};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/limited/deployments";

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "a"}}, "template": template()}})
}

fn constraints() -> Value {
    json!({"resourceRules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]})
}

/// Makes a policy and its binding to a namespace.
async fn policy(world: &World, kind: &str, mut spec: Value, mut binding: Value) {
    world.namespace("limited").await;
    spec["matchConstraints"] = constraints();
    binding["policyName"] = json!("p");
    binding["matchResources"] =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "limited"}}});
    let named = |spec: Value| json!({"metadata": {"name": "p"}, "spec": spec});
    let path = |end: &str| format!("{CONFIGURATIONS}/{kind}admissionpolic{end}");
    world.make(&path("ies"), named(spec)).await;
    world.make(&path("ybindings"), named(binding)).await;
}

/// Checks that two replicas pass and one does not, where the policy holds.
async fn holds_for_two(world: &World, words: &str) {
    until("it is heeded", async || {
        tried(world, DEPLOYMENTS, &deployment("marker", 1)).await.0 == 422
    })
    .await;
    let (code, answer) = world.ask("POST", DEPLOYMENTS, deployment("one", 1)).await;
    assert_eq!((code, &answer["reason"]), (422, &json!("Invalid")));
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
    world.make(DEPLOYMENTS, deployment("two", 2)).await;
    let elsewhere = DEPLOYMENTS.replace("limited", "default");
    world.make(&elsewhere, deployment("one", 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_validated() {
    let world = World::start().await;
    let spec = json!({"validations": [
        {"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"},
        {"expression": "namespaceObject.metadata.name == 'limited'", "message": "Internal error! Other namespace should not be allowed."},
    ]});
    policy(
        &world,
        "validating",
        spec,
        json!({"validationActions": ["Deny"]}),
    )
    .await;
    holds_for_two(&world, "wants replicas > 1, got 1").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_refer_to_variables() {
    let world = World::start().await;
    let spec = json!({
    "variables": [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
    ],
    "validations": [
        {"expression": "variables.replicas > 1"},
        {"expression": "!variables.oddReplicas"},
    ]});
    policy(
        &world,
        "validating",
        spec,
        json!({"validationActions": ["Deny"]}),
    )
    .await;
    holds_for_two(&world, "variables.replicas > 1").await;
    let (code, _) = world.ask("POST", DEPLOYMENTS, deployment("three", 3)).await;
    assert_eq!(code, 422);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_mutated() {
    let world = World::start().await;
    let apply = |expression: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let spec = json!({"failurePolicy": "Fail", "reinvocationPolicy": "Never", "mutations": [
        apply("Object{spec: Object.spec{replicas: object.spec.replicas + 100}}"),
        apply("Object{metadata: Object.metadata{annotations: {'my-foo-annotation': 'myAnnotationValue'}}}"),
    ]});
    policy(&world, "mutating", spec, json!({})).await;
    until("it is heeded", async || {
        let (_, answer) = tried(&world, DEPLOYMENTS, &deployment("marker", 1)).await;
        answer["spec"]["replicas"] == 101
    })
    .await;
    let mut deployment = deployment("d", 1);
    deployment["metadata"]["annotations"] = json!({"existing": "yes"});
    let made = world.make(DEPLOYMENTS, deployment).await;
    assert_eq!(made["spec"]["replicas"], 101);
    let notes = json!({"existing": "yes", "my-foo-annotation": "myAnnotationValue"});
    assert_eq!(made["metadata"]["annotations"], notes);
    world.stop().await;
}
