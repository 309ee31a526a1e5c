//! Admission webhooks of built-in kinds: listed and deleted together, changed, with conditions, and what they may not touch.

use knarr_json::{Value, json};

use crate::{
    common::hook::{Hook, patch, yes},
    world::{JSON_PATCH, World, until},
};

pub const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

pub fn rule(operations: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": ["*"], "resources": resources})
}

pub fn webhook(config: &Value, rules: Value, more: Value) -> Value {
    let mut hook = json!({"name": "hook.example.com", "clientConfig": config, "rules": [rules],
        "admissionReviewVersions": ["v1", "v1beta1"], "sideEffects": "None"});
    for (key, value) in more.as_object().into_iter().flatten() {
        hook[key.as_str()] = value.clone();
    }
    hook
}

pub fn path_of(kind: &str) -> String {
    format!("{CONFIGURATIONS}/{}webhookconfigurations", kind)
}

/// Makes a configuration, `mutating` or `validating`.
pub async fn configure(world: &World, kind: &str, name: &str, hook: Value) -> Value {
    let metadata = json!({"name": name, "labels": {"e2e-list-test-uuid": "x"}});
    let body = json!({"metadata": metadata, "webhooks": [hook]});
    world.make(&path_of(kind), body).await
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

/// What a dry run of a creation answers: nothing comes of it.
pub async fn tried(world: &World, path: &str, body: &Value) -> (u16, Value) {
    let path = format!("{path}?dryRun=All");
    world.ask("POST", &path, body.clone()).await
}

/// A hook that writes what it was configured for into maps, or refuses them when their data says so.
async fn hook() -> Hook {
    Hook::start(|request| {
        let data = &request["object"]["data"];
        match data["webhook-e2e-test"].as_str() {
            Some("webhook-disallow") => {
                json!({"allowed": false, "status": {"message": "the configmap contains unwanted key and value"}})
            }
            _ if data["mutation-start"] == "yes" => patch(json!([{"op": "add", "path": "/data/mutation-stage-1", "value": "yes"}])),
            _ => yes(),
        }
    })
    .await
}

fn bad(name: &str) -> Value {
    map(name, json!({"webhook-e2e-test": "webhook-disallow"}))
}

fn raw(name: &str) -> Value {
    map(name, json!({"mutation-start": "yes"}))
}

async fn refuses(world: &World) -> bool {
    tried(world, MAPS, &bad("marker")).await.0 == 400
}

async fn mutates(world: &World) -> bool {
    let (code, answer) = tried(world, MAPS, &raw("marker")).await;
    assert_eq!(code, 201, "{answer}");
    answer["data"]["mutation-stage-1"] == "yes"
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_listed_and_deleted_together() {
    let world = World::start().await;
    let hook = hook().await;
    for kind in ["validating", "mutating"] {
        for i in 0..10 {
            let rules = rule(&["CREATE"], "", &["configmaps"]);
            let body = webhook(&hook.by_url(), rules, Value::Null);
            configure(&world, kind, &format!("c{i}"), body).await;
        }
        let select = format!("{}?labelSelector=e2e-list-test-uuid%3Dx", path_of(kind));
        assert_eq!(world.names(&select).await.len(), 10);
        let heeded = async || match kind {
            "mutating" => mutates(&world).await,
            _ => refuses(&world).await,
        };
        until("all are heeded", heeded).await;
        world.delete(&select).await;
        assert_eq!(world.names(&select).await.len(), 0);
        until("none is heeded", async || !heeded().await).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_updated_and_patched() {
    let world = World::start().await;
    let hook = hook().await;
    for kind in ["validating", "mutating"] {
        let rules = rule(&["CREATE"], "", &["configmaps"]);
        configure(
            &world,
            kind,
            "c",
            webhook(&hook.by_url(), rules, Value::Null),
        )
        .await;
        let path = format!("{}/c", path_of(kind));
        let heeded = async || match kind {
            "mutating" => mutates(&world).await,
            _ => refuses(&world).await,
        };
        until("it is heeded", heeded).await;
        world
            .update(&path, |c| {
                c["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
            })
            .await;
        until("creations concern it no more", async || !heeded().await).await;
        let back = json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
        world.patch(&path, JSON_PATCH, back).await;
        until("creations concern it again", heeded).await;
        world.delete(&path).await;
        until("it is gone", async || !heeded().await).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_maps_are_refused_however_they_are_written() {
    let world = World::start().await;
    let hook = Hook::start(|request| {
        let object = &request["object"];
        let refused = |message: &str| json!({"allowed": false, "status": {"message": message}});
        let mut containers = object["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten();
        if object["data"]["webhook-e2e-test"] == "webhook-disallow" {
            refused("the configmap contains unwanted key and value")
        } else if object["metadata"]["labels"]["webhook-e2e-test"] == "webhook-disallow" {
            refused("the pod contains unwanted label")
        } else if containers.any(|c| c["name"] == "webhook-disallow") {
            refused("the pod contains unwanted container name")
        } else {
            yes()
        }
    })
    .await;
    world.namespace("exempted").await;
    let label = json!({"metadata": {"labels": {"skip-webhook": "yes"}}});
    world.merge("/api/v1/namespaces/exempted", label).await;
    let more = json!({"namespaceSelector": {"matchExpressions": [{"key": "skip-webhook", "operator": "NotIn", "values": ["yes"]}]}});
    let rules = rule(&["CREATE", "UPDATE"], "", &["configmaps", "pods"]);
    configure(
        &world,
        "validating",
        "c",
        webhook(&hook.by_url(), rules, more),
    )
    .await;
    until("it is heeded", async || refuses(&world).await).await;

    let says = |answer: &Value, words: &str| {
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{message}");
    };
    let pod = json!({"metadata": {"name": "p", "labels": {"webhook-e2e-test": "webhook-disallow"}},
        "spec": {"containers": [{"name": "webhook-disallow", "image": "i"}]}});
    let (code, answer) = world.ask("POST", PODS, pod.clone()).await;
    assert_eq!(code, 400);
    says(&answer, "the pod contains unwanted label");
    let mut other = pod;
    other["metadata"]["labels"] = json!({});
    let (_, answer) = world.ask("POST", PODS, other).await;
    says(&answer, "the pod contains unwanted container name");
    world.make(MAPS, map("good", json!({"a": "b"}))).await;
    let path = format!("{MAPS}/good");
    let (_, answer) = world.ask("PUT", &path, bad("good")).await;
    says(&answer, "the configmap contains unwanted key and value");
    let headers = [("content-type", crate::world::MERGE)];
    let body = bad("good").to_string().into_bytes();
    let (code, _, answer) = world.raw("PATCH", &path, &headers, body).await;
    assert_eq!(code, 400);
    says(&answer, "the configmap contains unwanted key and value");
    let exempted = "/api/v1/namespaces/exempted/configmaps";
    world.make(exempted, bad("bad")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_is_refused() {
    let world = World::start().await;
    let hook = Hook::start(|request| {
        let name = request["name"].as_str().unwrap_or_default();
        match request["operation"] == "CONNECT" {
            true => json!({"allowed": false, "status": {"message": format!("attaching to pod '{name}' is not allowed")}}),
            false => yes(),
        }
    })
    .await;
    let rules = rule(&["CONNECT"], "", &["pods/attach"]);
    configure(
        &world,
        "validating",
        "c",
        webhook(&hook.by_url(), rules, Value::Null),
    )
    .await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"}});
    world.make(PODS, pod).await;
    let path = format!("{PODS}/p/attach?stdout=true&container=c");
    until("it is heeded", async || {
        let (code, answer) = world.ask("POST", &path, Value::Null).await;
        let message = answer["message"].as_str().unwrap_or_default();
        code == 400 && message.contains("attaching to pod 'p' is not allowed")
    })
    .await;
    assert_eq!(hook.seen()[0]["object"]["kind"], "PodAttachOptions");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_lets_nothing_pass() {
    let world = World::start().await;
    world.namespace("closed").await;
    let config = json!({"service": {"namespace": "default", "name": "no-such-service", "path": "/configmaps"}});
    let more = json!({"failurePolicy": "Fail", "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "closed"}}});
    let rules = rule(&["CREATE"], "", &["configmaps"]);
    configure(&world, "validating", "c", webhook(&config, rules, more)).await;
    let path = "/api/v1/namespaces/closed/configmaps";
    until("it is heeded", async || {
        tried(&world, path, &map("m", json!({}))).await.0 == 500
    })
    .await;
    let (code, answer) = world.ask("POST", path, map("m", json!({}))).await;
    assert_eq!((code, &answer["reason"]), (500, &json!("InternalError")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_get_defaults_after_they_were_changed() {
    let world = World::start().await;
    let container = json!({"name": "webhook-added-init-container", "image": "webhook-added-image", "resources": {}});
    let hook = Hook::start(move |_| {
        patch(json!([{"op": "add", "path": "/spec/initContainers", "value": [container]}]))
    })
    .await;
    let rules = rule(&["CREATE"], "", &["pods"]);
    configure(
        &world,
        "mutating",
        "c",
        webhook(&hook.by_url(), rules, Value::Null),
    )
    .await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "example", "image": "i"}]}});
    until("it is heeded", async || {
        let (_, answer) = tried(&world, PODS, &pod).await;
        answer["spec"]["initContainers"].is_array()
    })
    .await;
    let made = world.make(PODS, pod).await;
    let added = &made["spec"]["initContainers"][0];
    assert_eq!(added["name"], "webhook-added-init-container");
    assert_eq!(added["terminationMessagePolicy"], "File");
    assert_eq!(added["terminationMessagePath"], "/dev/termination-log");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_out_of_reach_of_webhooks() {
    let world = World::start().await;
    let refuse = Hook::start(|_| json!({"allowed": false})).await;
    let label = json!([{"op": "add", "path": "/metadata/labels/changed", "value": "yes"}]);
    let change = Hook::start(move |_| patch(label.clone())).await;
    let resources = [
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
    ];
    let all = || rule(&["*"], "admissionregistration.k8s.io", &resources);
    let refusing = webhook(&refuse.by_url(), all(), Value::Null);
    configure(&world, "validating", "refuse", refusing).await;
    let changing = webhook(&change.by_url(), all(), Value::Null);
    configure(&world, "mutating", "change", changing).await;
    for kind in ["validating", "mutating"] {
        let rules = rule(&["CREATE"], "", &["invalid"]);
        let made = configure(
            &world,
            kind,
            "dummy",
            webhook(&refuse.by_url(), rules, Value::Null),
        )
        .await;
        assert_eq!(made["metadata"]["labels"]["changed"], Value::Null);
        world.delete(&format!("{}/dummy", path_of(kind))).await;
    }
    assert!(refuse.seen().is_empty() && change.seen().is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_limits_are_kept() {
    let world = World::start().await;
    let slow = Hook::start(|_| json!({"allowed": true, "sleep": 2})).await;
    let rules = || rule(&["CREATE"], "", &["configmaps"]);
    let cases = [
        (json!({"timeoutSeconds": 1, "failurePolicy": "Fail"}), 500),
        (json!({"timeoutSeconds": 1, "failurePolicy": "Ignore"}), 201),
        (json!({"timeoutSeconds": 20, "failurePolicy": "Fail"}), 201),
        (json!({"failurePolicy": "Fail"}), 201),
    ];
    for (i, (more, wanted)) in cases.into_iter().enumerate() {
        let name = format!("c{i}");
        let hook = webhook(&slow.by_url(), rules(), more);
        configure(&world, "validating", &name, hook).await;
        // Who waited for the hook took his time, however it ended.
        let try_once = async || {
            let start = std::time::Instant::now();
            let (code, _) = tried(&world, MAPS, &map("m", json!({}))).await;
            (code, start.elapsed().as_secs() >= 1)
        };
        until("it is asked", async || try_once().await == (wanted, true)).await;
        let path = format!("{}/{name}", path_of("validating"));
        world.delete(&path).await;
        until("it is gone", async || try_once().await == (201, false)).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_kept_changed_and_checked() {
    let world = World::start().await;
    let hook = hook().await;
    let condition = |expression: &str| json!([{"name": "expression-1", "expression": expression}]);
    for kind in ["validating", "mutating"] {
        let first = condition("object.metadata.namespace == 'production'");
        let more = json!({ "matchConditions": first });
        let rules = || rule(&["CREATE"], "", &["configmaps"]);
        let made = configure(&world, kind, "c", webhook(&hook.by_url(), rules(), more)).await;
        assert_eq!(made["webhooks"][0]["matchConditions"], first);
        let path = format!("{}/c", path_of(kind));
        let second = json!([{"name": "expression-1", "expression": "object.metadata.namespace == 'staging'"},
            {"name": "expression-2", "expression": "object.metadata.name != 'skip'"}]);
        let updated = world
            .update(&path, |c| {
                c["webhooks"][0]["matchConditions"] = second.clone();
            })
            .await;
        assert_eq!(updated["webhooks"][0]["matchConditions"], second);
        world.delete(&path).await;
        let more = json!({"matchConditions": condition("... [] bad expression")});
        let body = json!({"metadata": {"name": "bad"}, "webhooks": [webhook(&hook.by_url(), rules(), more)]});
        let (code, answer) = world.ask("POST", &path_of(kind), body).await;
        assert_eq!(code, 422);
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("compilation failed"), "{message}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_maps_are_changed_but_those_to_skip() {
    let world = World::start().await;
    let hook = hook().await;
    let more = json!({"matchConditions": [{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]});
    let rules = rule(&["CREATE"], "", &["configmaps"]);
    configure(
        &world,
        "mutating",
        "c",
        webhook(&hook.by_url(), rules, more),
    )
    .await;
    until("it is heeded", async || mutates(&world).await).await;
    let skipped = world.make(MAPS, raw("skip-me")).await;
    assert_eq!(skipped["data"]["mutation-stage-1"], Value::Null);
    let changed = world.make(MAPS, raw("other")).await;
    assert_eq!(changed["data"]["mutation-stage-1"], "yes");
    world.stop().await;
}
