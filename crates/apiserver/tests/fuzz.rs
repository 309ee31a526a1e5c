//! Requests that are almost right: whatever is sent, the server answers, and not with a failure of its own.

#[path = "../../api/tests/common/fuzz.rs"]
mod bytes;
mod common;

use common::Server;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use knarr_apiserver::UserInfo;
use kube::client::Body;
use tower::ServiceExt;

/// Sends requests made from changed bytes and looks at the answers.
fn run(seeds: &[&[u8]], words: &[&[u8]], make: impl Fn(&str) -> Option<Request<Body>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = runtime.block_on(Server::start(dir.path()));
    let service = server
        .api
        .service(UserInfo::new("admin", ["system:masters"]));
    bytes::run(seeds, words, |input| {
        let text = String::from_utf8_lossy(input);
        let Some(request) = make(&text) else {
            return;
        };
        let service = service.clone();
        let (code, body) = runtime.block_on(async move {
            let response = service.oneshot(request).await.unwrap();
            let code = response.status().as_u16();
            let read = response.into_body().collect();
            let read = tokio::time::timeout(std::time::Duration::from_millis(20), read).await;
            (
                code,
                read.map_or_else(|_| Default::default(), |b| b.unwrap().to_bytes()),
            )
        });
        let told = String::from_utf8_lossy(&body);
        assert!(
            !told.contains("the request could not be handled"),
            "{code} {told}"
        );
    });
    runtime.block_on(server.stop());
}

fn get(path: &str) -> Option<Request<Body>> {
    Request::get(path).body(Body::empty()).ok()
}

#[test]
fn paths_and_queries() {
    let words: &[&[u8]] = &[
        b"%2F",
        b"%00",
        b"%ff",
        b"//",
        b"..",
        b"&limit=",
        b"&continue=",
        b"&watch=1&timeoutSeconds=1",
        b"=",
        b"apis",
        b"/proxy/",
        b"?",
        b"/log",
    ];
    let seeds: &[&[u8]] = &[
        b"/api/v1/namespaces/default/configmaps?limit=1&labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&resourceVersion=1&resourceVersionMatch=Exact&pretty=1",
        b"/apis/apps/v1/namespaces/default/deployments/d/scale?dryRun=All&fieldManager=m&fieldValidation=Strict",
        b"/api/v1/nodes/n:10250/proxy/x?y",
        b"/readyz?verbose&exclude=etcd",
        b"/openapi/v3/apis/apps/v1?hash=AB",
        b"/api/v1/namespaces/default/pods/p/log?container=c&tailLines=5&sinceTime=2024-05-06T07:08:09Z",
    ];
    run(seeds, words, |text| {
        get(&format!("/{}", text.trim_start_matches('/')))
    });
}

#[test]
fn continue_tokens() {
    let token = |json: &str| {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        URL_SAFE_NO_PAD.encode(json)
    };
    let path = |token: &str| get(&format!("/api/v1/namespaces?limit=1&continue={token}"));
    let seed = r#"{"v":"meta.k8s.io/v1","rv":3,"start":"default\u0000"}"#;
    run(
        &[seed.as_bytes()],
        &[b"-1", b"..", b"/", b"18446744073709551616"],
        |text| path(&token(text)),
    );
    run(&[token(seed).as_bytes()], &[b"=", b"-", b"_"], path);
}

#[test]
fn headers_and_bodies() {
    let types = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];
    let seeds: &[&[u8]] = &[
        br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","finalizers":["x/y"],"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u"}]},"data":{"k":"v"}}"#,
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {x: y}}\n",
        br#"[{"op":"replace","path":"/data/k","value":1}]"#,
    ];
    let words: &[&[u8]] = &[
        b"null",
        b"\"metadata\":",
        b"{",
        b"]",
        b"managedFields",
        b"application/json;as=Table;v=v1;g=meta.k8s.io",
        b";q=",
        b",",
        b"k8s\0",
    ];
    run(seeds, words, |text| {
        let pick = text.len() % types.len();
        let accept: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
        let (method, path) = if pick > 2 {
            (Method::PATCH, "/a")
        } else {
            (Method::POST, "")
        };
        Request::builder()
            .method(method)
            .uri(format!(
                "/api/v1/namespaces/default/configmaps{path}?fieldManager=f"
            ))
            .header(header::CONTENT_TYPE, types[pick])
            .header(header::ACCEPT, accept)
            .body(Body::from(text.as_bytes().to_vec()))
            .ok()
    });
}
