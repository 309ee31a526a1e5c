//! Admission webhooks: real TLS servers on the loopback are asked by a real server.

mod common;

use common::{
    Server,
    hook::{Hook, patch, yes},
    request::send,
};
use knarr_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

fn rule(operations: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": ["v1"], "resources": resources, "scope": "*"})
}

/// A webhook named after its number, with defaults that `more` overrides.
fn webhook(number: usize, config: Value, rule: Value, more: Value) -> Value {
    let mut hook = json!({
        "name": format!("w{number}.example.com"),
        "clientConfig": config,
        "rules": [rule],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        hook[key.as_str()] = value.clone();
    }
    hook
}

/// Makes a configuration and waits until it is heeded.
async fn configure(client: &kube::Client, kind: &str, webhooks: Vec<Value>) {
    let body = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "test"}, "webhooks": webhooks});
    let path = format!("{CONFIGURATIONS}/{}s", kind.to_lowercase());
    let (code, answer, _) = send(client, "POST", &path, body).await;
    assert_eq!(code, 201, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mutating_webhooks_change_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    // The first counts how often it sees the object; the second labels it, once.
    let first = Hook::start(|request| {
        let seen = request["object"]["data"]["seen"].as_str().unwrap_or("0");
        let seen: u32 = seen.parse().unwrap();
        patch(json!([{"op": "add", "path": "/data/seen", "value": (seen + 1).to_string()}]))
    })
    .await;
    let second = Hook::start(|request| match &request["object"]["data"]["second"] {
        Value::Null => patch(json!([{"op": "add", "path": "/data/second", "value": "yes"}])),
        _ => yes(),
    })
    .await;
    let creates = || rule(&["CREATE"], "", &["configmaps"]);
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    configure(
        &client,
        "MutatingWebhookConfiguration",
        vec![
            webhook(1, first.by_url(), creates(), again),
            webhook(2, second.by_url(), creates(), json!({})),
        ],
    )
    .await;
    let (code, made, _) = send(&client, "POST", MAPS, map("a")).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(
        made["data"],
        json!({"k": "v", "seen": "2", "second": "yes"}),
        "the first is asked again, as the second changed what it saw"
    );
    assert_eq!((first.seen().len(), second.seen().len()), (2, 1));
    let asked = &first.seen()[0];
    assert_eq!(
        asked["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(
        asked["resource"],
        json!({"group": "", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!(asked["requestKind"], asked["kind"]);
    assert_eq!(asked["operation"], "CREATE");
    assert_eq!(
        (&asked["name"], &asked["namespace"]),
        (&json!("a"), &json!("default"))
    );
    assert_eq!(asked["userInfo"]["username"], "admin");
    assert_eq!(
        asked["options"],
        json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"})
    );
    assert_eq!(
        (&asked["oldObject"], &asked["dryRun"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(
        asked["http"],
        "HTTP/2.0 timeout=10s \"admission.k8s.io/v1\""
    );
    // Neither updates nor the configurations themselves concern them.
    let update = send(
        &client,
        "PATCH",
        &format!("{MAPS}/a"),
        json!({"data": {"k": "w"}}),
    )
    .await;
    assert_eq!((update.0, first.seen().len()), (200, 2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validating_webhooks_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let hook = Hook::start(|request| {
        let name = request["name"].as_str().unwrap_or_default();
        match name {
            "bad" => json!({"allowed": false, "status": {"message": "not like this"}}),
            "worse" => json!({"allowed": false, "status": {"code": 409, "reason": "Conflict", "details": {"causes": [{"message": "m"}]}}}),
            "worst" => json!({"allowed": false}),
            "kept" if request["operation"] == "DELETE" => json!({"allowed": false, "status": {"message": "stays"}}),
            _ => json!({"allowed": true, "warnings": ["mind the gap"]}),
        }
    })
    .await;
    let all = rule(&["*"], "", &["configmaps", "pods/exec", "namespaces"]);
    configure(
        &client,
        "ValidatingWebhookConfiguration",
        vec![webhook(1, hook.by_url(), all, json!({}))],
    )
    .await;
    let denied = "admission webhook \"w1.example.com\" denied the request";
    for (name, code, reason, message) in [
        ("bad", 400, Value::Null, format!("{denied}: not like this")),
        (
            "worse",
            409,
            json!("Conflict"),
            format!("{denied}: Conflict"),
        ),
        (
            "worst",
            400,
            Value::Null,
            format!("{denied} without explanation"),
        ),
    ] {
        let (got, status, _) = send(&client, "POST", MAPS, map(name)).await;
        assert_eq!((got, &status["reason"]), (code, &reason), "{status}");
        assert_eq!(status["message"], message.as_str());
    }
    let (code, _, warnings) = send(&client, "POST", MAPS, map("kept")).await;
    assert_eq!(
        (code, warnings),
        (201, vec!["299 - \"mind the gap\"".to_owned()])
    );
    let (code, status, _) = send(&client, "DELETE", &format!("{MAPS}/kept"), Value::Null).await;
    assert_eq!(
        (code, status["message"].as_str()),
        (400, Some(&*format!("{denied}: stays")))
    );
    let asked = hook.seen().pop().unwrap();
    assert_eq!(
        (&asked["object"], &asked["oldObject"]["data"]["k"]),
        (&Value::Null, &json!("v"))
    );
    assert_eq!(asked["options"]["kind"], "DeleteOptions");
    let (code, ..) = send(&client, "DELETE", MAPS, Value::Null).await;
    assert_eq!(code, 400, "a collection goes one by one");
    // A namespace is in itself, and an exec is told by its options.
    send(
        &client,
        "POST",
        "/api/v1/namespaces",
        json!({"metadata": {"name": "n"}}),
    )
    .await;
    let asked = hook.seen().pop().unwrap();
    assert_eq!(
        (&asked["name"], &asked["namespace"]),
        (&json!("n"), &json!("n"))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_and_policies_of_failure_decide() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let hook = Hook::start(|request| match request["name"].as_str() {
        Some("slow") => json!({"allowed": true, "sleep": 5}),
        Some("broken") => json!({"fail": 500}),
        _ => json!({"allowed": false}),
    })
    .await;
    let creates = || rule(&["CREATE"], "", &["configmaps"]);
    let nobody = json!({"url": "https://127.0.0.1:1/", "caBundle": hook.ca_bundle});
    configure(
        &client,
        "ValidatingWebhookConfiguration",
        vec![
            webhook(1, nobody.clone(), creates(), json!({"failurePolicy": "Ignore"})),
            webhook(2, hook.by_url(), creates(), json!({"objectSelector": {"matchLabels": {"ask": "me"}}, "timeoutSeconds": 1})),
            webhook(3, hook.by_url(), creates(), json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-public"}}})),
            webhook(4, nobody, creates(), json!({"objectSelector": {"matchLabels": {"ask": "nobody"}}})),
            webhook(5, hook.by_url(), creates(), json!({"objectSelector": {"matchLabels": {"ask": "effects"}}, "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1beta1"]})),
        ],
    )
    .await;
    let labelled = |name: &str, ask: &str| {
        let mut map = map(name);
        map["metadata"]["labels"] = json!({"ask": ask});
        map
    };
    assert_eq!(send(&client, "POST", MAPS, map("a")).await.0, 201);
    assert_eq!(
        send(&client, "POST", MAPS, labelled("b", "me")).await.0,
        400
    );
    let public = "/api/v1/namespaces/kube-public/configmaps";
    assert_eq!(send(&client, "POST", public, map("a")).await.0, 400);
    let call = "Internal error occurred: failed calling webhook";
    let url = hook.address;
    for (name, ask, message) in [
        (
            "n",
            "nobody",
            format!(
                "{call} \"w4.example.com\": failed to call webhook: Post \"https://127.0.0.1:1/?timeout=10s\": dial tcp 127.0.0.1:1: connect: connection refused"
            ),
        ),
        (
            "slow",
            "me",
            format!(
                "{call} \"w2.example.com\": failed to call webhook: Post \"https://{url}/review?timeout=1s\": context deadline exceeded"
            ),
        ),
        (
            "broken",
            "me",
            format!(
                "{call} \"w2.example.com\": failed to call webhook: an error on the server (\"no\") has prevented the request from succeeding"
            ),
        ),
    ] {
        let (code, status, _) = send(&client, "POST", MAPS, labelled(name, ask)).await;
        assert_eq!(
            (code, status["message"].as_str()),
            (500, Some(message.as_str()))
        );
    }
    let dry = format!("{MAPS}?dryRun=All");
    send(&client, "POST", &dry, labelled("d", "effects")).await;
    let asked = hook.seen().pop().unwrap();
    assert_eq!(asked["dryRun"], true);
    assert!(
        asked["http"]
            .as_str()
            .unwrap()
            .ends_with("\"admission.k8s.io/v1beta1\"")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_reached_by_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let hook =
        Hook::start(|_| patch(json!([{"op": "add", "path": "/spec/replicas", "value": 7}]))).await;
    let config = json!({"service": {"namespace": "default", "name": "hook", "port": hook.address.port(), "path": "/scale"}, "caBundle": hook.ca_bundle});
    let more = json!({"sideEffects": "NoneOnDryRun"});
    let hook1 = webhook(
        1,
        config,
        rule(&["UPDATE"], "apps", &["deployments/scale"]),
        more,
    );
    configure(&client, "MutatingWebhookConfiguration", vec![hook1]).await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let (code, made, _) = send(&client, "POST", deployments, deployment).await;
    assert_eq!(code, 201, "{made}");
    let scale = format!("{deployments}/d/scale");
    let three = json!({"spec": {"replicas": 3}});
    let (code, status, _) = send(&client, "PATCH", &scale, three.clone()).await;
    let wanted = format!(
        "Internal error occurred: failed calling webhook \"w1.example.com\": failed to call webhook: Post \"https://hook.default.svc:{}/scale?timeout=10s\": service \"hook\" not found",
        hook.address.port()
    );
    assert_eq!(
        (code, status["message"].as_str()),
        (500, Some(wanted.as_str()))
    );
    let service = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    let (code, made, _) = send(
        &client,
        "POST",
        "/api/v1/namespaces/default/services",
        service,
    )
    .await;
    assert_eq!(code, 201, "{made}");
    let (code, scaled, _) = send(&client, "PATCH", &scale, three.clone()).await;
    assert_eq!(
        (code, &scaled["spec"]["replicas"]),
        (200, &json!(7)),
        "{scaled}"
    );
    let asked = hook.seen().pop().unwrap();
    assert_eq!(
        asked["kind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
    assert_eq!(
        (&asked["subResource"], &asked["object"]["spec"]["replicas"]),
        (&json!("scale"), &json!(3))
    );
    assert_eq!(asked["oldObject"]["spec"]["replicas"], 1);
    let dry = format!("{scale}?dryRun=All");
    let (code, scaled, _) = send(&client, "PATCH", &dry, three).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(7)));
    assert_eq!(hook.seen().pop().unwrap()["dryRun"], true);
    server.stop().await;
}
