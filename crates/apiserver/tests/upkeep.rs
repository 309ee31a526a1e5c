//! What the server does by itself or on others' behalf: conditions, the end of events, node ports of Services, limits without
//! a quota, reviews that admission sees.

mod common;

use std::time::Duration;

use common::{Server, request::send, site::Site};
use knarr_json::{Value, json};

/// Looks at an object until it is as wanted; its last state otherwise.
async fn until(
    client: &kube::Client,
    path: &str,
    wanted: impl Fn(u16, &Value) -> bool,
) -> Result<Value, Value> {
    let mut last = Value::Null;
    for _ in 0..100 {
        let (code, body, _) = send(client, "GET", path, Value::Null).await;
        if wanted(code, &body) {
            return Ok(body);
        }
        last = body;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(last)
}

async fn make(client: &kube::Client, path: &str, body: Value) -> Value {
    let (code, body, _) = send(client, "POST", path, body).await;
    assert_eq!(code, 201, "{body}");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flow_schemas_say_whether_their_level_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let api = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let dangling = |status: &'static str| {
        move |_: u16, schema: &Value| {
            let condition = &schema["status"]["conditions"][0];
            condition["type"] == "Dangling" && condition["status"] == status
        }
    };
    let own = until(
        &admin,
        &format!("{api}/flowschemas/exempt"),
        dangling("False"),
    )
    .await
    .unwrap();
    assert_eq!(own["status"]["conditions"][0]["reason"], "Found");
    let owners = own["metadata"]["managedFields"].as_array().unwrap();
    let owner = owners
        .iter()
        .find(|m| m["subresource"] == "status")
        .unwrap();
    assert_eq!(
        (&owner["manager"], &owner["operation"]),
        (
            &json!("api-priority-and-fairness-config-consumer-v1"),
            &json!("Apply")
        )
    );

    let schema = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "s"},
        "spec": {"priorityLevelConfiguration": {"name": "l"}, "rules": []}});
    make(&admin, &format!("{api}/flowschemas"), schema).await;
    let path = format!("{api}/flowschemas/s");
    let missing = until(&admin, &path, dangling("True")).await.unwrap();
    assert_eq!(
        missing["status"]["conditions"][0]["message"],
        "This FlowSchema references the PriorityLevelConfiguration object named \"l\" but there is no such object"
    );
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": "l"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}});
    make(&admin, &format!("{api}/prioritylevelconfigurations"), level).await;
    until(&admin, &path, dangling("False")).await.unwrap();
    let (code, _, _) = send(
        &admin,
        "DELETE",
        &format!("{api}/prioritylevelconfigurations/l"),
        Value::Null,
    )
    .await;
    assert_eq!(code, 200);
    until(&admin, &path, dangling("True")).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_when_their_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |c| c.event_ttl = Duration::from_secs(3)).await;
    let admin = server.admin().await;
    let events = "/api/v1/namespaces/default/events";
    let event = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "message": "m", "type": "Normal"})
    };
    make(&admin, events, event("one")).await;
    make(&admin, events, event("renewed")).await;
    let gone = |code: u16, _: &Value| code == 404;
    let touch = async {
        for n in 0..4 {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let path = format!("{events}/renewed");
            let (code, body, _) = send(&admin, "PATCH", &path, json!({"count": n + 2})).await;
            assert_eq!(code, 200, "an event that is written again is gone: {body}");
        }
    };
    let path = format!("{events}/one");
    let (gone_first, ()) = tokio::join!(until(&admin, &path, gone), touch);
    gone_first.unwrap();
    until(&admin, &format!("{events}/renewed"), gone)
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_limited_is_refused_without_a_quota() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admission.yaml");
    let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: ResourceQuota\n  configuration:\n    apiVersion: apiserver.config.k8s.io/v1\n    kind: ResourceQuotaConfiguration\n    limitedResources:\n    - {resource: secrets, matchContains: [count/secrets]}\n";
    std::fs::write(&file, text).unwrap();
    let server = Server::start_with(dir.path(), |c| c.admission.config_file = Some(file)).await;
    let admin = server.admin().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "m"}});
    let (code, refused, _) = send(&admin, "POST", secrets, secret.clone()).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "secrets \"m\" is forbidden: insufficient quota to consume: count/secrets"
    );
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"count/secrets": "2"}}});
    let mut quota = make(&admin, quotas, quota).await;
    quota["status"] = json!({"hard": {"count/secrets": "2"}, "used": {"count/secrets": "0"}});
    let (code, body, _) = send(&admin, "PUT", &format!("{quotas}/q/status"), quota).await;
    assert_eq!(code, 200, "{body}");
    make(&admin, secrets, secret).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_pass_admission() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::start(|_, path, review| {
        let uid = &review["request"]["uid"];
        let user = &review["request"]["object"]["spec"]["user"];
        let allowed = path != "/validate" || user != "refused";
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": uid, "allowed": allowed, "status": {"message": "not about him"}}})
    })
    .await;
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let hook = |path: &str, rules: Value| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "reviews"},
            "webhooks": [{"name": "reviews.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
                "clientConfig": {"url": format!("{}{path}", site.url), "caBundle": STANDARD.encode(&site.ca)}, "rules": rules}]})
    };
    let rules = json!([{"apiGroups": ["authorization.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["subjectaccessreviews"]}]);
    make(
        &admin,
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        hook("/validate", rules),
    )
    .await;
    let review = |user: &str| {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": {"verb": "get", "resource": "pods"}}})
    };
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let mut refused = (0, Value::Null);
    for _ in 0..50 {
        let (code, body, _) = send(&admin, "POST", path, review("refused")).await;
        refused = (code, body);
        if refused.0 == 400 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        (refused.0, &refused.1["message"]),
        (
            400,
            &json!("admission webhook \"reviews.example.com\" denied the request: not about him")
        )
    );
    let told = make(&admin, path, review("bob")).await;
    assert_eq!(told["status"]["allowed"], false);
    let seen = site.seen();
    let request = &seen.last().unwrap()["request"];
    assert_eq!(
        (
            &request["operation"],
            &request["resource"]["resource"],
            &request["kind"]["kind"]
        ),
        (
            &json!("CREATE"),
            &json!("subjectaccessreviews"),
            &json!("SubjectAccessReview")
        )
    );
    // Mistakes are told before anybody is asked.
    let before = site.seen().len();
    let empty = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "bob"}});
    assert_eq!(send(&admin, "POST", path, empty).await.0, 422);
    assert_eq!(site.seen().len(), before);
    server.stop().await;
}

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, port: u16) -> Value {
    let mut ports = json!([{"port": 80}]);
    if port > 0 {
        ports[0]["nodePort"] = port.into();
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"type": "NodePort", "ports": ports}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_ports_are_of_the_range_that_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |c| c.node_ports = 31000..=31003).await;
    let admin = server.admin().await;
    for n in 0..4 {
        let made = make(&admin, SERVICES, service(&format!("s{n}"), 0)).await;
        let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        assert!((31000..=31003).contains(&port), "{port}");
    }
    let (code, full, _) = send(&admin, "POST", SERVICES, service("more", 0)).await;
    assert_eq!(
        (code, &full["message"]),
        (
            500,
            &json!("Internal error occurred: failed to allocate a nodePort: range is full")
        )
    );
    let refused = |port: u16, range: &str| {
        format!(
            "Service \"out\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is not in the valid range. The range of valid ports is {range}"
        )
    };
    for port in [30999, 31004, 80] {
        let (code, answer, _) = send(&admin, "POST", SERVICES, service("out", port)).await;
        assert_eq!(
            (code, &answer["message"]),
            (422, &json!(refused(port, "31000-31003")))
        );
    }
    // Ports of both kinds come from the range.
    let mut health = service("h", 0);
    health["spec"]["type"] = "LoadBalancer".into();
    health["spec"]["allocateLoadBalancerNodePorts"] = false.into();
    health["spec"]["externalTrafficPolicy"] = "Local".into();
    health["spec"]["healthCheckNodePort"] = 32000.into();
    let (code, answer, _) = send(&admin, "POST", SERVICES, health).await;
    assert_eq!(
        (code, &answer["message"]),
        (
            500,
            &json!(
                "Internal error occurred: failed to allocate requested HealthCheck NodePort 32000: provided port is not in the valid range. The range of valid ports is 31000-31003"
            )
        )
    );
    server.stop().await;

    // Another range at the next start: Services keep what they have, and may be changed.
    let server = Server::start_with(dir.path(), |c| c.node_ports = 31002..=31005).await;
    let admin = server.admin().await;
    for n in 0..4 {
        let path = format!("{SERVICES}/s{n}");
        let (_, before, _) = send(&admin, "GET", &path, Value::Null).await;
        let change =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"sessionAffinity": "ClientIP"}});
        let (code, after, _) = send(&admin, "PATCH", &path, change).await;
        assert_eq!(
            (code, &after["spec"]["ports"]),
            (200, &before["spec"]["ports"])
        );
    }
    let mut drawn = Vec::new();
    for n in 0..2 {
        let made = make(&admin, SERVICES, service(&format!("t{n}"), 0)).await;
        drawn.push(made["spec"]["ports"][0]["nodePort"].as_u64().unwrap());
    }
    drawn.sort_unstable();
    assert_eq!(drawn, [31004, 31005], "the others are given already");
    let (_, answer, _) = send(&admin, "POST", SERVICES, service("out", 31001)).await;
    assert_eq!(answer["message"], refused(31001, "31002-31005"));
    // What was given by the old range and is let go is not given again.
    for n in 0..4 {
        let (code, _, _) = send(&admin, "DELETE", &format!("{SERVICES}/s{n}"), Value::Null).await;
        assert_eq!(code, 200);
    }
    let mut again = Vec::new();
    for n in 0..2 {
        let made = make(&admin, SERVICES, service(&format!("u{n}"), 0)).await;
        again.push(made["spec"]["ports"][0]["nodePort"].as_u64().unwrap());
    }
    again.sort_unstable();
    assert_eq!(again, [31002, 31003]);
    server.stop().await;
}
