//! Clients that mean no good: none takes more than its share, and others are served all the while.

mod common;

use std::{path::Path, sync::Arc};

use common::Server;
use futures::{StreamExt, future::join_all};
use k8s_openapi::api::core::v1::ConfigMap;
use knarr_apiserver::UserInfo;
use knarr_json::json;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn start(dir: &Path) -> Server {
    Server::start_with(dir, |config| {
        let admin = UserInfo::new("admin", ["system:masters"]);
        config.static_tokens.push(("root".into(), admin));
    })
    .await
}

/// A connection on which nothing was said yet.
async fn connect(server: &Server, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.ca()).unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::from(server.address.ip());
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

/// A request of HTTP/1.1 by the administrator.
fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer root\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// The whole of a GET by the administrator, as HTTP/2 has it.
fn headers(stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    for (name, text) in [(0x04, path), (0x01, "a")] {
        block.extend([name, u8::try_from(text.len()).unwrap()]);
        block.extend(text.as_bytes());
    }
    let token = "Bearer root";
    // Never indexed, name 23: `authorization`.
    block.extend([0x1f, 23 - 15, u8::try_from(token.len()).unwrap()]);
    block.extend(token.as_bytes());
    frame(1, 5, stream, &block)
}

/// The codes of the answers on a connection of HTTP/1.1 that ends.
async fn codes(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u16> {
    let mut told = Vec::new();
    // It may end without a farewell of TLS.
    let _ = stream.read_to_end(&mut told).await;
    let told = String::from_utf8_lossy(&told);
    let heads = told.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head[..3].parse().unwrap()).collect()
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

async fn is_served(server: &Server) {
    let maps: Api<ConfigMap> = Api::namespaced(server.admin().await, "default");
    maps.list(&ListParams::default()).await.unwrap();
}

/// Each change is 16 KB, of which 40 watchers that do not read would soon hold more than a gigabyte.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_never_read_hold_nothing() {
    const CHANGES: usize = 2000;
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let maps: Api<ConfigMap> = Api::namespaced(server.admin().await, "default");
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "0"}});
    let map: ConfigMap = knarr_json::from_value(map).unwrap();
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    let from = made.resource_version().unwrap();
    let path = format!("{MAPS}?watch=1&resourceVersion={from}");
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&server, b"http/1.1").await;
        let asked = request("GET", &path, "");
        stream.write_all(asked.as_bytes()).await.unwrap();
        deaf.push(stream);
        let mut stream = connect(&server, b"h2").await;
        let asked = [PREFACE, &frame(4, 0, 0, &[]), &headers(1, &path)].concat();
        stream.write_all(&asked).await.unwrap();
        deaf.push(stream);
    }
    let before = resident();
    let reading = {
        let (maps, from) = (maps.clone(), from.clone());
        tokio::spawn(async move {
            let changes = maps.watch(&WatchParams::default(), &from).await.unwrap();
            let changes = changes
                .filter(|event| std::future::ready(matches!(event, Ok(WatchEvent::Modified(_)))));
            changes.take(CHANGES).count().await
        })
    };
    for n in 1..=CHANGES {
        let data = format!("{n}{}", "x".repeat(16 << 10));
        let patch = Patch::Merge(json!({"data": {"k": data}}));
        maps.patch("a", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    assert_eq!(reading.await.unwrap(), CHANGES);
    let grown = resident().saturating_sub(before) >> 20;
    assert!(grown < 300, "{grown} MiB");
    // Whoever begins to read now has missed too much.
    let mut late = deaf.swap_remove(0);
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains("\"code\":410") {
        let mut piece = vec![0; 1 << 16];
        let count = late.read(&mut piece).await.unwrap();
        assert!(count > 0, "the watch ended without a word");
        // Changes may be long, errors are short.
        told = [&told[told.len().saturating_sub(1 << 10)..], &piece[..count]].concat();
    }
    drop((deaf, late));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_wait_for_answers_are_done_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
    let one = format!("{MAPS}/a");
    let round = [
        request("POST", MAPS, map),
        request("GET", &one, ""),
        request("DELETE", &one, ""),
        request("GET", &one, ""),
    ]
    .concat();
    let (mut read, mut write) = tokio::io::split(connect(&server, b"http/1.1").await);
    let asked = async {
        write.write_all(round.repeat(100).as_bytes()).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (_, got) = tokio::join!(asked, codes(&mut read));
    assert_eq!(got, [201, 200, 200, 404].repeat(100));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_of_thousands_of_conditions_keep_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let maps: Api<ConfigMap> = Api::namespaced(server.admin().await, "default");
    for n in 0..500 {
        let labels = json!({"a": "b", "c": "d", "e": "f"});
        let map = json!({"metadata": {"name": format!("m{n}"), "labels": labels}});
        let map: ConfigMap = knarr_json::from_value(map).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let labels: String = (0..6000).map(|n| format!("!n{n},")).collect();
    let fields: String = (0..1500).map(|n| format!("metadata.name!=n{n},")).collect();
    let selections = [
        ListParams::default().labels(labels.trim_end_matches(',')),
        ListParams::default().fields(fields.trim_end_matches(',')),
    ];
    let many: Vec<_> = (0..16)
        .map(|n| {
            let (maps, selection) = (maps.clone(), selections[n % 2].clone());
            tokio::spawn(async move { maps.list(&selection).await.unwrap().items.len() })
        })
        .collect();
    tokio::task::yield_now().await;
    is_served(&server).await;
    for count in join_all(many).await {
        assert!(count.unwrap() >= 500);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let long = format!("{MAPS}?labelSelector={}", "a,".repeat(100_000));
    let mut stream = connect(&server, b"http/1.1").await;
    stream
        .write_all(request("GET", &long, "").as_bytes())
        .await
        .unwrap();
    assert_eq!(codes(&mut stream).await, [414]);
    let mut stream = connect(&server, b"http/1.1").await;
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(5000)
    );
    stream.write_all(many.as_bytes()).await.unwrap();
    assert_eq!(codes(&mut stream).await, [431]);
    is_served(&server).await;
    server.stop().await;
}

/// Long headers are served as long as the original serves them: a token names all groups of its user.
#[tokio::test(flavor = "multi_thread")]
async fn headers_may_be_long() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let client = server.admin().await;
    let request = http::Request::get("/version")
        .header("x-long", "y".repeat(200_000))
        .body(Vec::new())
        .unwrap();
    client.request_text(request).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let (mut read, mut write) = tokio::io::split(connect(&server, b"h2").await);
    let told = tokio::spawn(async move {
        let mut told = Vec::new();
        let _ = read.read_to_end(&mut told).await;
        told
    });
    let sent = flood(&mut write).await;
    assert!(sent < FLOOD, "all {sent} streams were taken");
    let told = told.await.unwrap();
    // GOAWAY, because of too much: ENHANCE_YOUR_CALM.
    let away = [7, 0, 0, 0, 0, 0];
    assert!(told.windows(6).any(|bytes| bytes == away));
    assert!(told.windows(4).any(|bytes| bytes == [0, 0, 0, 11]));
    is_served(&server).await;
    server.stop().await;
}

const FLOOD: u32 = 200_000;

/// Opens streams and resets each at once; gives how many before the server had enough.
async fn flood(write: &mut (impl AsyncWrite + Unpin)) -> u32 {
    let begin = [PREFACE, &frame(4, 0, 0, &[])].concat();
    write.write_all(&begin).await.unwrap();
    for n in 0..FLOOD {
        let stream = 2 * n + 1;
        let reset = frame(3, 0, stream, &8u32.to_be_bytes());
        let both = [headers(stream, MAPS), reset].concat();
        if write.write_all(&both).await.is_err() {
            return n;
        }
    }
    FLOOD
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_are_nobodys_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut greeted = Vec::new();
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let some = (0..50).map(|_| connect(&server, protocol));
        greeted.extend(join_all(some).await);
    }
    is_served(&server).await;
    server.stop().await;
}
