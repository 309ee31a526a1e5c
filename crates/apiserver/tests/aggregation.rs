//! An API group that another server serves, from its APIService on.

mod common;

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use common::Server;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use knarr_json::{Value, json};
use kube::client::Body;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// What another server answers: its resources, and who asked.
async fn things(
    request: Request<Incoming>,
    certified: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| {
        let values = request.headers().get_all(name).iter();
        values
            .map(|v| v.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let answer = match request.uri().path() {
        "/apis/x.example.com/v1" => {
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "x.example.com/v1",
            "resources": [{"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get", "list"], "shortNames": ["th"]}]})
        }
        "/openapi/v3" => {
            json!({"paths": {"apis/x.example.com/v1": {"serverRelativeURL": "/openapi/v3/apis/x.example.com/v1?hash=AB"}}})
        }
        "/openapi/v3/apis/x.example.com/v1" => {
            json!({"openapi": "3.0.0", "info": {"title": "theirs"}})
        }
        "/openapi/v2" => {
            json!({"paths": {"/apis/x.example.com/v1/": {"get": {}}}, "definitions": {"com.example.Thing": {"type": "object"}}})
        }
        path if path.starts_with("/apis/x.example.com/v1/") => {
            json!({"path": path, "query": request.uri().query(), "certified": certified,
            "user": header("x-remote-user"), "groups": header("x-remote-group"), "authorization": header("authorization")})
        }
        _ => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            return Ok(response);
        }
    };
    let mut response = Response::new(Full::from(answer.to_string()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

/// Serves [`things`] with a certificate for `things.default.svc`; returns the port and the authority.
async fn serve(server: &Server) -> (u16, String) {
    let (tls, authority) = server.serving(&["things.default.svc"]);
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject;
    roots
        .add(rustls_pki_types::CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(tls.certificates, tls.key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let certified = stream.get_ref().1.peer_certificates().is_some();
                let service = hyper::service::service_fn(move |request| things(request, certified));
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (port, authority)
}

async fn ask(
    client: &kube::Client,
    method: &str,
    path: &str,
    accept: &str,
    body: Option<Value>,
) -> (u16, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, accept)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(
            body.map_or_else(Vec::new, |b| b.to_string().into_bytes()),
        ))
        .unwrap();
    let response = client.send(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8_lossy(&bytes).into_owned())
}

async fn get(client: &kube::Client, path: &str) -> Value {
    let (_, body) = ask(client, "GET", path, "application/json", None).await;
    serde_json::from_str(&body).unwrap_or(Value::from(body))
}

async fn reason(client: &kube::Client, wanted: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..150 {
        last = get(client, &format!("{SERVICES}/v1.x.example.com")).await;
        if last["status"]["conditions"][0]["reason"] == wanted {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never {wanted}: {last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_another_server_is_served_as_if_it_were_here() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let (port, authority) = serve(&server).await;
    let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.x.example.com"}, "spec": {
        "group": "x.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10, "caBundle": STANDARD.encode(&authority),
        "service": {"name": "things", "namespace": "default", "port": port}}});
    let (code, body) = ask(&client, "POST", SERVICES, "application/json", Some(service)).await;
    assert_eq!(code, 201, "{body}");
    let said = reason(&client, "ServiceNotFound").await;
    assert_eq!(
        said["status"]["conditions"][0]["message"],
        "service/things in \"default\" is not present"
    );
    let (code, body) = ask(
        &client,
        "GET",
        "/apis/x.example.com/v1/things",
        "application/json",
        None,
    )
    .await;
    assert_eq!((code, body.as_str()), (503, "service unavailable\n"));

    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "things"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    let (code, body) = ask(
        &client,
        "POST",
        "/api/v1/namespaces/default/services",
        "application/json",
        Some(service),
    )
    .await;
    assert_eq!(code, 201, "{body}");
    let said = reason(&client, "Passed").await;
    assert_eq!(
        said["status"]["conditions"][0]["message"],
        "all checks passed"
    );

    let got = get(
        &client,
        "/apis/x.example.com/v1/namespaces/a/things/b?x=y%20z",
    )
    .await;
    assert_eq!(got["path"], "/apis/x.example.com/v1/namespaces/a/things/b");
    assert_eq!(
        (&got["query"], &got["certified"]),
        (&json!("x=y%20z"), &json!(true))
    );
    assert_eq!(
        (&got["user"], &got["authorization"]),
        (&json!(["admin"]), &json!([]))
    );
    assert_eq!(
        got["groups"],
        json!(["system:masters", "system:authenticated"])
    );
    let outsider = server.client("ali", &[]).await;
    let (code, _) = ask(
        &outsider,
        "GET",
        "/apis/x.example.com/v1/things",
        "application/json",
        None,
    )
    .await;
    assert_eq!(code, 403);

    let groups = get(&client, "/apis").await;
    let names: Vec<&str> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|g| g["name"].as_str())
        .collect();
    assert!(
        names.contains(&"x.example.com") && names.contains(&"apps"),
        "{names:?}"
    );
    let group = get(&client, "/apis/x.example.com").await;
    assert_eq!(
        group["preferredVersion"]["groupVersion"],
        "x.example.com/v1"
    );
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let (_, body) = ask(&client, "GET", "/apis", aggregated, None).await;
    let document: Value = serde_json::from_str(&body).unwrap();
    let items = document["items"].as_array().unwrap();
    let ours = items
        .iter()
        .find(|i| i["metadata"]["name"] == "x.example.com")
        .unwrap();
    assert_eq!(
        ours["versions"][0]["resources"][0]["responseKind"]["kind"],
        "Thing"
    );
    assert_eq!(ours["versions"][0]["freshness"], "Current");

    let index = get(&client, "/openapi/v3").await;
    assert_eq!(
        index["paths"]["apis/x.example.com/v1"]["serverRelativeURL"],
        "/openapi/v3/apis/x.example.com/v1?hash=AB"
    );
    assert_eq!(
        get(&client, "/openapi/v3/apis/x.example.com/v1").await["info"]["title"],
        "theirs"
    );
    let whole = get(&client, "/openapi/v2").await;
    assert!(
        whole["definitions"]["com.example.Thing"].is_object()
            && whole["paths"]["/apis/x.example.com/v1/"].is_object()
    );

    let (code, _) = ask(
        &client,
        "DELETE",
        &format!("{SERVICES}/v1.x.example.com"),
        "application/json",
        None,
    )
    .await;
    assert_eq!(code, 200);
    for _ in 0..50 {
        if ask(
            &client,
            "GET",
            "/apis/x.example.com",
            "application/json",
            None,
        )
        .await
        .0 == 404
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        ask(
            &client,
            "GET",
            "/apis/x.example.com/v1/things",
            "application/json",
            None
        )
        .await
        .0,
        404
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_here_has_apiservices_and_others_are_told_whom_to_believe() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let apps = get(&client, &format!("{SERVICES}/v1.apps")).await;
    assert_eq!(
        apps["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
    );
    assert_eq!(
        apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"],
        "onstart"
    );
    assert_eq!(
        get(&client, &format!("{SERVICES}/v1.")).await["spec"]["groupPriorityMinimum"],
        18000
    );
    let told = get(
        &client,
        "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
    )
    .await;
    assert_eq!(
        told["data"]["requestheader-username-headers"],
        "[\"X-Remote-User\"]"
    );
    assert!(
        told["data"]["client-ca-file"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE")
    );
    server.stop().await;
}
