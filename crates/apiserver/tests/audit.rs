//! What is told of requests: into files and to services, later or before they are answered.

mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Server, request::send, site::Site};
use http_body_util::BodyExt;
use knarr_apiserver::{AuditMode, Config, LogConfig, WebhookConfig, parse_audit_policy};
use knarr_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn make(client: &kube::Client, path: &str, body: Value) -> Value {
    let (code, body, _) = send(client, "POST", path, body).await;
    assert_eq!(code, 201, "{body}");
    body
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

/// Tells of the administrator's ConfigMaps, whole.
fn audit(config: &mut Config, omit: &str) {
    let policy = format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [{omit}]\nrules:\n- {{level: Request, users: [admin], resources: [{{group: '', resources: [configmaps]}}]}}\n- {{level: None}}\n"
    );
    config.audit.policy = Some(parse_audit_policy(&policy).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit/audit.log");
    let path = log.clone();
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {level: None, users: ['system:apiserver']}\n- {level: RequestResponse, resources: [{group: '', resources: [configmaps]}], omitManagedFields: true}\n- {level: Metadata}\n";
    let server = Server::start_with(dir.path(), |config| {
        config.audit.policy = Some(parse_audit_policy(policy).unwrap());
        config.audit.log = Some(LogConfig::new(path));
    })
    .await;
    let admin = server.admin().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    make(&admin, "/api/v1/namespaces/default/configmaps", map).await;
    let request = http::Request::get("/api/v1/namespaces/default/secrets")
        .header("audit-id", "mine")
        .header("impersonate-user", "bob")
        .body(kube::client::Body::empty())
        .unwrap();
    let response = admin.send(request).await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["audit-id"].to_str().unwrap()
        ),
        (403, "mine")
    );
    let wrong = server.bearer("wrong").await;
    send(&wrong, "GET", "/api/v1/nodes", Value::Null).await;
    server.stop().await;
    let text = std::fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let find = |uri: &str| {
        events
            .iter()
            .find(|e| e["requestURI"] == uri)
            .unwrap_or_else(|| panic!("{uri} in {text}"))
    };
    let made = find("/api/v1/namespaces/default/configmaps");
    assert_eq!(
        (&made["level"], &made["stage"], &made["verb"]),
        (
            &json!("RequestResponse"),
            &json!("ResponseComplete"),
            &json!("create")
        )
    );
    assert_eq!(made["requestObject"]["data"]["k"], "v");
    assert_eq!(made["responseObject"]["metadata"]["name"], "a");
    assert_eq!(
        made["responseObject"]["metadata"]["managedFields"],
        Value::Null
    );
    assert_eq!(made["responseStatus"]["code"], 201);
    assert_eq!(
        made["annotations"]["authorization.k8s.io/decision"],
        "allow"
    );
    assert_eq!(made["user"]["username"], "admin");
    let refused = find("/api/v1/namespaces/default/secrets");
    assert_eq!(
        (
            &refused["auditID"],
            &refused["impersonatedUser"]["username"]
        ),
        (&json!("mine"), &json!("bob"))
    );
    assert_eq!(
        (
            &refused["responseStatus"]["code"],
            &refused["responseStatus"]["reason"]
        ),
        (&json!(403), &json!("Forbidden"))
    );
    assert_eq!(
        refused["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    assert_eq!(find("/api/v1/nodes")["responseStatus"]["code"], 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_events_are_sent_on_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::start(|_, _, _| json!({})).await;
    let kubeconfig = site.kubeconfig(dir.path(), "/audit");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {level: Metadata, users: [admin], resources: [{group: '', resources: [configmaps]}]}\n- {level: None}\n";
    let server = Server::start_with(dir.path(), |config| {
        config.audit.policy = Some(parse_audit_policy(policy).unwrap());
        let mut webhook = WebhookConfig::new(kubeconfig);
        webhook.delivery.batch.size = 3;
        webhook.delivery.batch.wait = Duration::from_millis(300);
        config.audit.webhook = Some(webhook);
    })
    .await;
    let admin = server.admin().await;
    for n in 0..7 {
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{n}")}});
        make(&admin, "/api/v1/namespaces/default/configmaps", map).await;
    }
    let events = || -> Vec<Value> {
        let lists = site.seen();
        assert!(
            lists
                .iter()
                .all(|l| l["kind"] == "EventList" && l["apiVersion"] == "audit.k8s.io/v1")
        );
        let sizes: Vec<usize> = lists
            .iter()
            .map(|l| l["items"].as_array().unwrap().len())
            .collect();
        assert!(sizes.iter().all(|s| (1..=3).contains(s)), "{sizes:?}");
        lists
            .iter()
            .flat_map(|l| l["items"].as_array().unwrap().clone())
            .collect()
    };
    for _ in 0..100 {
        if events().len() == 7 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let names = || -> BTreeSet<String> {
        let events = events();
        let names = events
            .iter()
            .filter_map(|e| e["objectRef"]["name"].as_str());
        names.map(str::to_owned).collect()
    };
    // Batches may overtake each other.
    assert_eq!(names(), (0..7).map(|n| format!("m{n}")).collect());
    // What has not been sent when the server stops still goes out.
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "last"}});
    make(&admin, "/api/v1/namespaces/default/configmaps", map).await;
    server.stop().await;
    assert!(names().contains("last"));
}

/// Stages of the events about an object, in the order in which they came to a site.
fn stages(site: &Site, name: &str) -> Vec<String> {
    let lists = site.seen();
    let events = lists.iter().flat_map(|l| l["items"].as_array().unwrap());
    let own = events.filter(|e| e["objectRef"]["name"] == name);
    own.map(|e| e["stage"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_wait_for_their_events() {
    let dir = tempfile::tempdir().unwrap();
    // Each event is taken at the third time it comes.
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let site = Site::start(
        move |_, _, _| match counted.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => json!(503),
            1 => json!(400),
            _ => json!({}),
        },
    )
    .await;
    let kubeconfig = site.kubeconfig(dir.path(), "/audit");
    let server = Server::start_with(dir.path(), |config| {
        audit(config, "");
        let mut webhook = WebhookConfig::new(kubeconfig);
        webhook.backoff = Duration::from_millis(1);
        webhook.delivery.mode = AuditMode::BlockingStrict;
        config.audit.webhook = Some(webhook);
    })
    .await;
    let admin = server.admin().await;
    make(&admin, MAPS, map("a")).await;
    assert_eq!(tries.load(Ordering::SeqCst), 6);
    send(&admin, "GET", &format!("{MAPS}/a"), Value::Null).await;
    let of_get = ["RequestReceived", "ResponseComplete"]
        .map(|s| [s; 3])
        .concat();
    // Of the name of what is created the first stage does not know yet.
    assert_eq!(
        stages(&site, "a"),
        [vec!["ResponseComplete"; 3], of_get].concat()
    );
    // A watch tells of its beginning before it begins.
    let watch = http::Request::get(format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Da"))
        .body(kube::client::Body::empty())
        .unwrap();
    let mut stream = admin.send(watch).await.unwrap().into_body();
    stream.frame().await.unwrap().unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 18);
    let last = site.seen().pop().unwrap();
    assert_eq!(last["items"][0]["stage"], "ResponseStarted");
    drop(stream);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_told_of() {
    for (mode, omit, want) in [
        (AuditMode::Batch, "", 201),
        (AuditMode::Blocking, "", 201),
        (AuditMode::BlockingStrict, "RequestReceived", 201),
        (AuditMode::BlockingStrict, "", 500),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::start(|_, _, _| json!(500)).await;
        let kubeconfig = site.kubeconfig(dir.path(), "/audit");
        let server = Server::start_with(dir.path(), |config| {
            audit(config, omit);
            let mut webhook = WebhookConfig::new(kubeconfig);
            webhook.backoff = Duration::from_millis(1);
            webhook.delivery.mode = mode;
            config.audit.webhook = Some(webhook);
        })
        .await;
        let admin = server.admin().await;
        refused(&server, &admin, want).await;
        server.stop().await;
    }
    // A file on a device that is full.
    for (mode, want) in [(AuditMode::Blocking, 201), (AuditMode::BlockingStrict, 500)] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(dir.path(), |config| {
            audit(config, "");
            let mut log = LogConfig::new("/dev/full".into());
            log.delivery.mode = mode;
            config.audit.log = Some(log);
        })
        .await;
        let admin = server.admin().await;
        refused(&server, &admin, want).await;
        server.stop().await;
    }
}

/// Creates an object and looks at the answer and at what came of it.
async fn refused(server: &Server, admin: &kube::Client, want: u16) {
    let request = http::Request::post(format!("{MAPS}?fieldManager=%3Ca%3E&pretty=0"))
        .header("content-type", "application/json")
        .body(kube::client::Body::from(map("a").to_string().into_bytes()))
        .unwrap();
    let response = admin.send(request).await.unwrap();
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(code, want, "{text}");
    let stored = server.store.get("/registry/configmaps/default/a");
    assert_eq!(stored.is_some(), want == 201);
    if want == 500 {
        assert_eq!(
            text,
            "Internal Server Error: \"/api/v1/namespaces/default/configmaps?fieldManager=%3Ca%3E&amp;pretty=0\": failed to store audit event\n"
        );
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers.contains_key("audit-id"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_written_later_and_large_events_without_their_objects() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let path = log.clone();
    let server = Server::start_with(dir.path(), |config| {
        audit(config, "RequestReceived");
        let mut log = LogConfig::new(path);
        log.delivery.mode = AuditMode::Batch;
        log.delivery.largest = Some(4000);
        config.audit.log = Some(log);
    })
    .await;
    let admin = server.admin().await;
    for (name, size) in [("small", 10), ("large", 10_000)] {
        let mut map = map(name);
        map["data"] = json!({"k": "v".repeat(size)});
        make(&admin, MAPS, map).await;
    }
    server.stop().await;
    let text = std::fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(events.len(), 2, "{text}");
    assert_eq!(events[0]["requestObject"]["data"]["k"], "v".repeat(10));
    assert_eq!(
        events[0]["annotations"]["audit.k8s.io/truncated"],
        Value::Null
    );
    assert_eq!(events[1]["objectRef"]["name"], "large");
    assert_eq!(events[1]["requestObject"], Value::Null);
    assert_eq!(events[1]["annotations"]["audit.k8s.io/truncated"], "true");
}
