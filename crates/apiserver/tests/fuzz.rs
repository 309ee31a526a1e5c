//! Requests that are almost right: whatever is sent, the server answers, and not with a failure of its own.

mod common;
#[path = "../../api/tests/common/fuzz.rs"]
mod fuzz;
#[path = "../../api/tests/common/objects.rs"]
mod objects;

use common::Server;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use knarr_api::{Schemas, builtin};
use knarr_apiserver::UserInfo;
use knarr_json::{Value, json};
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
    fuzz::run(seeds, words, |input| {
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
        b"&sendInitialEvents=true&allowWatchBookmarks=1&resourceVersionMatch=NotOlderThan",
        b"&labelSelector=",
        b"&fieldSelector=",
        b"&timeoutSeconds=-1",
        b"&resourceVersion=99999999999999999999",
    ];
    let seeds: &[&[u8]] = &[
        b"/api/v1/namespaces/default/configmaps?limit=1&labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&resourceVersion=1&resourceVersionMatch=Exact&pretty=1",
        b"/apis/apps/v1/namespaces/default/deployments/d/scale?dryRun=All&fieldManager=m&fieldValidation=Strict",
        b"/api/v1/nodes/n:10250/proxy/x?y",
        b"/api/v1/pods?watch=true&timeoutSeconds=1&resourceVersion=1&labelSelector=a%20in%20(b)&fieldSelector=spec.nodeName%3Dn&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        b"/api/v1/namespaces/default/pods/p/exec?command=a&stdin=1&tty=true&container=c",
        b"/api/v1/namespaces/default/services/https:s:p/proxy/a?b",
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

/// Every kind, with bodies that are of their type: admission and allocation take what strategies do.
#[test]
fn objects_of_every_kind() {
    let (schemas, registry) = (Schemas::default(), builtin::registry());
    let kinds: Vec<_> = registry.iter().collect();
    run(
        &[b"some bytes that become numbers", b"others"],
        &[],
        |text| {
            let seed = text
                .bytes()
                .fold(7u64, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
            let mut dice = fuzz::Dice::new(seed);
            let resource = kinds[dice.roll(kinds.len())];
            let version = &resource.versions[dice.roll(resource.versions.len())];
            let schema = schemas.by_kind(&resource.group, version, &resource.kind)?;
            let mut object = Value::Object(objects::object(&schema, &mut dice, 0));
            object["apiVersion"] = resource.api_version(version).into();
            object["kind"] = resource.kind.as_str().into();
            // Most should get as far as they can.
            let mut metadata = json!({"name": "a"});
            if dice.roll(3) == 0 && object["metadata"].is_object() {
                metadata = object["metadata"].clone();
                metadata["name"] = "a".into();
            }
            object["metadata"] = metadata;
            let root = match resource.group.as_str() {
                "" => "/api".to_owned(),
                group => format!("/apis/{group}"),
            };
            let namespace = if resource.namespaced {
                "/namespaces/default"
            } else {
                ""
            };
            let path = format!("{root}/{version}{namespace}/{}", resource.plural);
            let (method, path, kind) = match dice.roll(5) {
                0 | 1 => (Method::POST, path, "application/json"),
                2 => (Method::PUT, format!("{path}/a"), "application/json"),
                3 => (
                    Method::PATCH,
                    format!("{path}/a"),
                    "application/merge-patch+json",
                ),
                _ => (
                    Method::PATCH,
                    format!("{path}/a"),
                    "application/apply-patch+yaml",
                ),
            };
            let dry = if dice.roll(2) == 0 { "&dryRun=All" } else { "" };
            Request::builder()
                .method(method)
                .uri(format!("{path}?fieldManager=f&force=1{dry}"))
                .header(header::CONTENT_TYPE, kind)
                .body(Body::from(object.to_string().into_bytes()))
                .ok()
        },
    );
}

/// Headers that mean something: types of bodies, users to act as, upgrades.
#[test]
fn headers() {
    let names = [
        "content-type",
        "accept",
        "impersonate-user",
        "impersonate-group",
        "impersonate-extra-a%2fb",
        "impersonate-uid",
        "sec-websocket-protocol",
        "x-remote-user",
        "if-none-match",
        "accept-encoding",
        "content-encoding",
        "user-agent",
        "audit-id",
        "x-forwarded-for",
    ];
    let seeds: &[&[u8]] = &[
        b"application/json;as=Table;v=v1;g=meta.k8s.io, application/json;q=0.5, */*",
        b"application/vnd.kubernetes.protobuf;stream=watch;charset=utf-8",
        b"system:serviceaccount:default:default",
        b"v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.dG9rZW4",
        b"gzip;q=0, identity, *;q=0.1, \"abc\", W/\"x\"",
    ];
    let words: &[&[u8]] = &[
        b";",
        b",",
        b"=",
        b"q=",
        b"%",
        b"%2",
        b":",
        b"\"",
        b"*/*",
        b"system:",
        b"application/",
    ];
    run(seeds, words, |text| {
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        let name = names[text.len() % names.len()];
        let body = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"a"}}"#;
        let (method, path) = match text.len() % 3 {
            0 => (
                Method::POST,
                "/api/v1/namespaces/default/configmaps?dryRun=All",
            ),
            1 => (Method::GET, "/api/v1/namespaces?watch=1&timeoutSeconds=1"),
            _ => (Method::GET, "/apis"),
        };
        Request::builder()
            .method(method)
            .uri(path)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header(name, clean)
            .body(Body::from(body.to_vec()))
            .ok()
    });
}
