//! What surrounds the API: health, metrics, documents, compression, WebSocket watches.

mod common;

use std::{io::Read, time::Duration};

use bytes::Bytes;
use common::Server;
use futures::StreamExt;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use knarr_json::{Value, json};
use kube::{api::WatchParams, client::Body};

struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

async fn send(
    client: &kube::Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map_or_else(Vec::new, |b| b.to_string().into_bytes());
    let response = client
        .send(request.body(Body::from(body)).unwrap())
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        code: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

async fn get(client: &kube::Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(client, "GET", path, headers, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_check_by_check() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let ok = get(&client, "/readyz", &[]).await;
    assert_eq!(
        (ok.code, ok.text().as_str(), ok.header("content-type")),
        (200, "ok", "text/plain; charset=utf-8")
    );
    let verbose = get(&client, "/livez?verbose&exclude=etcd&exclude=nope", &[])
        .await
        .text();
    assert!(
        verbose.starts_with("[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n"),
        "{verbose}"
    );
    assert!(verbose.ends_with("warn: some health checks cannot be excluded: no matches for \"nope\"\nlivez check passed\n"), "{verbose}");
    assert!(!verbose.contains("shutdown"));
    assert_eq!(get(&client, "/readyz/shutdown", &[]).await.text(), "ok");
    assert_eq!(get(&client, "/livez/shutdown", &[]).await.code, 404);
    assert_eq!(
        get(&client, "/healthz/poststarthook/rbac/bootstrap-roles", &[])
            .await
            .text(),
        "ok"
    );
    let paths: Value = serde_json::from_str(&get(&client, "/", &[]).await.text()).unwrap();
    let paths = paths["paths"].as_array().unwrap();
    for path in [
        "/healthz/etcd",
        "/readyz/shutdown",
        "/metrics/slis",
        "/apis/apps/v1",
        "/openapi/v3",
    ] {
        assert!(paths.contains(&json!(path)), "{path}");
    }

    // While the server still answers, it says that it will not for long.
    let api = server.api.clone();
    let stopping = tokio::spawn(async move { api.stop().await });
    let mut last = String::new();
    for _ in 0..100 {
        let answer = get(&client, "/readyz", &[]).await;
        last = answer.text();
        if answer.code == 500 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        last.ends_with("[-]shutdown failed: reason withheld\nreadyz check failed\n"),
        "{last}"
    );
    stopping.await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let path = "/api/v1/namespaces/default/configmaps";
    get(&client, path, &[]).await;
    get(&client, &format!("{path}/none"), &[]).await;
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(client.clone(), "default");
    let watch = maps
        .watch(&WatchParams::default().timeout(60), "0")
        .await
        .unwrap();
    let text = get(&client, "/metrics", &[]).await.text();
    for line in [
        r#"apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1"} 1"#,
        r#"apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1"} 1"#,
        r#"apiserver_request_duration_seconds_bucket{component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1",le="+Inf"} 1"#,
        r#"apiserver_longrunning_requests{component="apiserver",group="",resource="configmaps",scope="namespace",subresource="",verb="WATCH",version="v1"} 1"#,
        r#"apiserver_storage_objects{resource="namespaces"} 4"#,
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
    drop(watch);
    let slis = get(&client, "/metrics/slis", &[]).await.text();
    assert!(
        slis.contains("kubernetes_healthcheck{name=\"etcd\",type=\"healthz\"} 1\n"),
        "{slis}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_keep_their_tags_and_come_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let index: Value =
        serde_json::from_str(&get(&client, "/openapi/v3", &[]).await.text()).unwrap();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let document = get(&client, url, &[]).await;
    assert_eq!(document.header("cache-control"), "public, immutable");
    assert!(document.header("expires").ends_with(" GMT"));
    let tag = document.header("etag").to_owned();
    assert!(
        url.ends_with(tag.trim_matches('"')) && tag.len() == 130,
        "{url} {tag}"
    );
    use sha2::{Digest, Sha512};
    let digest: String = Sha512::digest(&document.body)
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect();
    assert_eq!(tag.trim_matches('"'), digest);
    assert_eq!(
        get(&client, url, &[("if-none-match", &tag)]).await.code,
        304
    );
    let old = get(&client, "/openapi/v3/apis/apps/v1?hash=00", &[]).await;
    assert_eq!((old.code, old.header("location")), (301, url));

    let zipped = get(
        &client,
        "/openapi/v2",
        &[("accept-encoding", "deflate, gzip;q=1.0")],
    )
    .await;
    assert_eq!(
        (
            zipped.header("content-encoding"),
            zipped.header("content-length")
        ),
        ("gzip", "")
    );
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&zipped.body[..])
        .read_to_end(&mut plain)
        .unwrap();
    let whole: Value = serde_json::from_slice(&plain).unwrap();
    assert_eq!(whole["swagger"], "2.0");
    let binary = get(
        &client,
        "/openapi/v2",
        &[(
            "accept",
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        )],
    )
    .await;
    assert_eq!(
        binary.header("content-type"),
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert!(binary.body.starts_with(b"\x0a\x032.0"));
    assert_eq!(
        get(&client, "/openapi/v2", &[("accept", "text/html")])
            .await
            .code,
        406
    );

    let path = "/api/v1/namespaces/default/configmaps";
    for i in 0..8 {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{i}")}, "data": {"k": "x".repeat(50_000)}});
        let made = send(
            &client,
            "POST",
            path,
            &[("content-type", "application/json")],
            Some(map),
        )
        .await;
        assert_eq!(made.code, 201);
    }
    let zip = [("accept-encoding", "gzip")];
    let zipped = get(&client, path, &zip).await;
    assert_eq!(
        (zipped.header("content-encoding"), zipped.header("vary")),
        ("gzip", "Accept-Encoding")
    );
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&zipped.body[..])
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&plain).unwrap()["items"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
    assert!(plain.len() > 50 * zipped.body.len());
    assert_eq!(
        get(&client, &format!("{path}/m1"), &zip)
            .await
            .header("content-encoding"),
        ""
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_go_over_websockets() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    send(
        &client,
        "POST",
        path,
        &[("content-type", "application/json")],
        Some(map),
    )
    .await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "forty"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "forty"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let made = send(
        &client,
        "POST",
        bindings,
        &[("content-type", "application/json")],
        Some(binding),
    )
    .await;
    assert_eq!(made.code, 201);
    for (accept, binary) in [
        ("application/json", false),
        ("application/vnd.kubernetes.protobuf", true),
    ] {
        let mut socket = socket(&server, &format!("{path}?watch=1"), accept).await;
        let message = socket.next().await.unwrap().unwrap();
        assert_eq!(message.is_binary(), binary);
        if !binary {
            let event: Value = serde_json::from_slice(&message.into_data()).unwrap();
            assert_eq!(
                (&event["type"], &event["object"]["metadata"]["name"]),
                (&json!("ADDED"), &json!("a"))
            );
        }
    }
    server.stop().await;
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

/// A WebSocket for a user with a token.
async fn socket(server: &Server, path: &str, accept: &str) -> Socket {
    use rustls_pki_types::pem::PemObject;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let (_, authority) = server.serving(&[]);
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls_pki_types::CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let name = rustls_pki_types::ServerName::from(server.address.ip());
    let stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let mut request = format!("wss://{}{path}", server.address)
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, accept.parse().unwrap());
    headers.insert(header::AUTHORIZATION, "Bearer sesame".parse().unwrap());
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_tell_of_the_server_and_its_flags() {
    let dir = tempfile::tempdir().unwrap();
    let flags = [("event-ttl", "1h"), ("modes", "[Node,RBAC]")].map(|(k, v)| (k.into(), v.into()));
    let server = Server::start_with(dir.path(), |c| c.flags = flags.into()).await;
    let client = server.admin().await;
    let page = get(&client, "/statusz", &[]).await;
    assert_eq!(page.header("content-type"), "text/plain; charset=utf-8");
    let text = page.text();
    for part in [
        "\napiserver statusz\nWarning: This endpoint is not meant to be machine parseable",
        "\nUp: 0 hr 0",
        "\nBinary version: 1.36.2\nEmulation version: 1.36\n",
        "\nPaths: /flagz /healthz /livez /metrics /readyz /statusz /version\n",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let structured = |kind: &str| format!("application/json;v=v1beta1;g=config.k8s.io;as={kind}");
    let object = get(&client, "/statusz", &[("accept", &structured("Statusz"))]).await;
    let object: Value = serde_json::from_str(&object.text()).unwrap();
    assert_eq!(
        (
            &object["apiVersion"],
            &object["kind"],
            &object["metadata"]["name"]
        ),
        (
            &json!("config.k8s.io/v1beta1"),
            &json!("Statusz"),
            &json!("apiserver")
        )
    );
    assert!(
        object["startTime"].is_string() && object["uptimeSeconds"].is_i64(),
        "{object}"
    );
    let flags = get(&client, "/flagz", &[("accept", &structured("Flagz"))]).await;
    let flags: Value = serde_json::from_str(&flags.text()).unwrap();
    assert_eq!(
        flags["flags"],
        json!({"event-ttl": "1h", "modes": "[Node,RBAC]"})
    );
    let text = get(&client, "/flagz", &[]).await.text();
    assert!(
        text.ends_with("\n\nevent-ttl=1h\nmodes=[Node,RBAC]\n"),
        "{text}"
    );
    let json = [("accept", "application/json")];
    assert_eq!(get(&client, "/statusz", &json).await.code, 406);

    // Who watches over the cluster may look, others may not.
    let watcher = server.client("w", &["system:monitoring"]).await;
    assert_eq!(get(&watcher, "/flagz", &[]).await.code, 200);
    let other = server.client("o", &[]).await;
    assert_eq!(get(&other, "/statusz", &[]).await.code, 403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_the_control_plane_are_asked_for_their_health() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    server.api.runs_here("scheduler", || true);
    const PATH: &str = "/api/v1/componentstatuses";
    let one = async |name: &str| {
        let answer = get(&client, &format!("{PATH}/{name}"), &[]).await;
        let object: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.code, object)
    };
    let (code, scheduler) = one("scheduler").await;
    let healthy = json!([{"type": "Healthy", "status": "True", "message": "ok"}]);
    assert_eq!((code, &scheduler["conditions"]), (200, &healthy));
    assert_eq!(one("etcd-0").await.1["conditions"], healthy);
    let (code, unknown) = one("none").await;
    assert_eq!(
        (code, &unknown["message"], &unknown["reason"]),
        (500, &json!("Component not found: none"), &Value::Null)
    );
    let elsewhere = std::net::TcpStream::connect(("127.0.0.1", 10257)).is_ok();
    if !elsewhere {
        let (_, manager) = one("controller-manager").await;
        let words = "Get \"https://127.0.0.1:10257/healthz\": dial tcp 127.0.0.1:10257: connect: connection refused";
        assert_eq!(
            manager["conditions"],
            json!([{"type": "Healthy", "status": "False", "message": words}])
        );
    }
    server.api.runs_here("controller-manager", || false);
    let list = get(&client, PATH, &[]).await;
    assert_eq!(
        list.header("warning"),
        "299 - \"v1 ComponentStatus is deprecated in v1.19+\""
    );
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    let told: Vec<_> = list["items"].as_array().unwrap().iter().collect();
    let told: Vec<_> = told
        .iter()
        .map(|c| {
            (
                c["metadata"]["name"].as_str().unwrap(),
                c["conditions"][0]["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("controller-manager", "False"),
            ("scheduler", "True"),
            ("etcd-0", "True")
        ]
    );
    let some = get(
        &client,
        &format!("{PATH}?fieldSelector=metadata.name%3Detcd-0"),
        &[],
    )
    .await;
    let some: Value = serde_json::from_slice(&some.body).unwrap();
    assert_eq!(some["items"].as_array().unwrap().len(), 1);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let rows = get(&client, PATH, &[("accept", table)]).await;
    let rows: Value = serde_json::from_slice(&rows.body).unwrap();
    assert_eq!(
        rows["rows"][2]["cells"],
        json!(["etcd-0", "Healthy", "ok", ""])
    );
    server.stop().await;
}
