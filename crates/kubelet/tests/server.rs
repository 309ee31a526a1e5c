//! The kubelet's server over real TLS: logs, commands, attached streams, forwarded ports.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Cluster, can_run, shell, waiter};
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

async fn connect(c: &Cluster) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(c.address).await.expect("connect");
    c.tls_client()
        .connect("localhost".try_into().expect("name"), tcp)
        .await
        .expect("TLS")
}

async fn get(c: &Cluster, path: &str) -> (u16, String) {
    let io = TokioIo::new(connect(c).await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .expect("handshake");
    tokio::spawn(connection);
    let request = http::Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .expect("request");
    let response = sender.send_request(request).await.expect("response");
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("body")
        .to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn socket(c: &Cluster, path: &str, protocol: &str) -> WebSocketStream<TlsStream<TcpStream>> {
    let mut request = format!("wss://localhost{path}")
        .into_client_request()
        .expect("request");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol.parse().expect("header"));
    let (socket, response) = tokio_tungstenite::client_async(request, connect(c).await)
        .await
        .expect("upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
    socket
}

/// Everything a command says, by channel, and its final word.
async fn hear(mut socket: WebSocketStream<TlsStream<TcpStream>>) -> (String, String, Value) {
    let (mut out, mut err, mut last) = (Vec::new(), Vec::new(), Value::Null);
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else {
            continue;
        };
        match bytes[0] {
            1 => out.extend_from_slice(&bytes[1..]),
            2 => err.extend_from_slice(&bytes[1..]),
            3 => last = serde_json::from_slice(&bytes[1..]).expect("status"),
            other => panic!("channel {other}"),
        }
    }
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (text(out), text(err), last)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_asks_for() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    c.run("talker", json!({"containers": [shell("main", "echo one; echo two >&2; trap 'exit 0' TERM; while :; do sleep 0.05; done")]})).await;
    c.ready("talker").await;
    // It is ready before it has said anything.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, log) = get(&c, "/containerLogs/default/talker/main").await;
        assert_eq!(status, 200);
        let mut lines: Vec<&str> = log.lines().collect();
        lines.sort_unstable();
        if lines == ["one", "two"] {
            break;
        }
        assert!(Instant::now() < deadline, "{log:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        get(&c, "/containerLogs/default/talker/main?tailLines=1")
            .await
            .1
            .lines()
            .count(),
        1
    );
    assert_eq!(get(&c, "/containerLogs/default/talker/none").await.0, 400);
    assert_eq!(get(&c, "/containerLogs/default/none/main").await.0, 404);
    assert!(get(&c, "/pods").await.1.contains("\"talker\""));
    assert!(get(&c, "/stats/summary").await.1.contains("\"podRef\""));
    assert!(
        get(&c, "/metrics/resource")
            .await
            .1
            .contains("container_memory_working_set_bytes{container=\"main\"")
    );

    let ran = socket(&c, "/exec/default/talker/main?command=sh&command=-c&command=echo+hi;echo+no+%3E%262;exit+5&output=1&error=1", "v5.channel.k8s.io").await;
    let (out, err, last) = hear(ran).await;
    assert_eq!((out.as_str(), err.as_str()), ("hi\n", "no\n"));
    assert_eq!(
        (&last["reason"], &last["details"]["causes"][0]["message"]),
        (&json!("NonZeroExitCode"), &json!("5"))
    );

    let mut cat = socket(
        &c,
        "/exec/default/talker/main?command=cat&input=1&output=1",
        "v5.channel.k8s.io",
    )
    .await;
    cat.send(Message::Binary(Bytes::from_static(b"\x00through")))
        .await
        .expect("send");
    cat.send(Message::Binary(Bytes::from_static(b"\xff\x00")))
        .await
        .expect("send");
    let (out, _, last) = hear(cat).await;
    assert_eq!(
        (out.as_str(), &last["status"]),
        ("through", &json!("Success"))
    );

    let absent = socket(
        &c,
        "/exec/default/talker/main?command=absent&output=1",
        "v4.channel.k8s.io",
    )
    .await;
    let (_, _, last) = hear(absent).await;
    assert_eq!(last["status"], "Failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_and_strangers_refused() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    c.run("counter", json!({"restartPolicy": "Never", "containers": [shell("main", "for i in 1 2 3; do echo $i; sleep 0.3; done")]})).await;
    c.until("counter", "started", |p| {
        !p["status"]["containerStatuses"][0]["state"]["running"].is_null()
    })
    .await;
    // Ends by itself when the container has ended.
    assert_eq!(
        get(&c, "/containerLogs/default/counter/main?follow=true")
            .await
            .1,
        "1\n2\n3\n"
    );
    c.phase("counter", "Succeeded").await;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject;
    roots
        .add(rustls_pki_types::CertificateDer::from_pem_slice(c.pki.ca.as_bytes()).expect("ca"))
        .expect("ca");
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(c.address).await.expect("connect");
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let io = connector
        .connect("localhost".try_into().expect("name"), tcp)
        .await
        .expect("TLS");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
        .await
        .expect("handshake");
    tokio::spawn(connection);
    let request = http::Request::get("/pods")
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .expect("request");
    assert_eq!(
        sender
            .send_request(request)
            .await
            .expect("response")
            .status(),
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_streams() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    let mut main = shell("main", "read line; echo got $line; exit 0");
    main["stdin"] = json!(true);
    c.run(
        "reader",
        json!({"restartPolicy": "Never", "containers": [main, waiter("other")]}),
    )
    .await;
    c.until("reader", "started", |p| {
        p["status"]["containerStatuses"][0]["started"] == true
    })
    .await;
    let mut socket = socket(
        &c,
        "/attach/default/reader/main?input=1&output=1",
        "v5.channel.k8s.io",
    )
    .await;
    socket
        .send(Message::Binary(Bytes::from_static(b"\x00words\n")))
        .await
        .expect("send");
    let (out, _, _) = hear(socket).await;
    assert_eq!(out, "got words\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded_only_to_those_who_speak_the_protocol() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    c.run("web", json!({"containers": [waiter("main")]})).await;
    c.ready("web").await;
    let tunnel = socket(
        &c,
        "/portForward/default/web",
        "SPDY/3.1+portforward.k8s.io",
    )
    .await;
    drop(tunnel);
    assert_eq!(get(&c, "/portForward/default/web").await.0, 400);
    assert_eq!(get(&c, "/portForward/default/none").await.0, 404);
}
