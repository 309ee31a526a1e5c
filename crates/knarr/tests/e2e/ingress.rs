//! The Ingress while it changes, and connections that change their protocol.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use knarr_testkit::{Cluster, can_run, eventually};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::{PATIENCE, cluster};

const NODE: &str = "172.30.0.2";
const ECHO_PORT: u16 = 9123;

/// A Service that leads to a port of the node itself, and an Ingress in front of it.
fn echo_behind_ingress() -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec: {{ports: [{{name: ws, port: 80, targetPort: {ECHO_PORT}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: echo-1, labels: {{kubernetes.io/service-name: echo}}}}
addressType: IPv4
endpoints: [{{addresses: ['{NODE}']}}]
ports: [{{name: ws, port: {ECHO_PORT}}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: echo}}
spec:
  rules:
  - host: ws.test
    http: {{paths: [{{path: /talk, pathType: Prefix, backend: {{service: {{name: echo, port: {{number: 80}}}}}}}}]}}
"
    )
}

/// Gives back every message it gets.
async fn serve_echo(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                return;
            };
            while let Some(Ok(message)) = socket.next().await {
                if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err()
                {
                    return;
                }
            }
        });
    }
}

async fn dial() -> Option<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 80)).await.ok()?;
    let dialled = tokio_tungstenite::client_async("ws://ws.test/talk/to", stream).await;
    dialled.ok().map(|(socket, _)| socket)
}

async fn talk() -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ECHO_PORT))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(serve_echo(listener));
    let dialled = tokio::time::timeout(PATIENCE, async {
        loop {
            match dial().await {
                Some(socket) => return socket,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    let mut socket = dialled.await.map_err(|_| "no handshake in time")?;
    let large = vec![7; 1 << 20];
    for message in [
        Message::text("hello"),
        Message::binary(large),
        Message::text(""),
    ] {
        let sent = socket.send(message.clone()).await;
        sent.map_err(|e| e.to_string())?;
        match tokio::time::timeout(PATIENCE, socket.next()).await {
            Ok(Some(Ok(answer))) if answer == message => {}
            other => return Err(format!("{} bytes came back as {other:?}", message.len())),
        }
    }
    socket.close(None).await.map_err(|e| e.to_string())
}

#[test]
fn a_websocket_passes_through() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    cluster.apply(&echo_behind_ingress());
    let talked = cluster.namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        runtime.block_on(talk())
    });
    assert_eq!(talked, Ok(()));
}

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: knarr.io/demo:latest
        imagePullPolicy: IfNotPresent
        readinessProbe: {httpGet: {path: /readyz, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: two}
spec: {selector: {app: web}, ports: [{name: other, port: 81, targetPort: 8080}]}
";

fn web_ingress(service: &str, port: u16, path_type: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  rules:
  - host: web.test
    http: {{paths: [{{path: /, pathType: {path_type}, backend: {{service: {{name: {service}, port: {{number: {port}}}}}}}}}]}}
"
    )
}

fn others(count: usize) -> String {
    let one = |i| {
        format!(
            "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: other-{i}}}
spec:
  rules:
  - host: other-{i}.test
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: one, port: {{number: 80}}}}}}}}]}}
"
        )
    };
    (0..count).map(one).collect()
}

/// What an admin does to Ingresses while users are served.
fn change_ingresses(cluster: &Cluster) {
    for round in 0..4 {
        cluster.apply(&web_ingress("two", 81, "Prefix"));
        cluster.apply(&others(10));
        cluster.apply(&web_ingress("one", 80, "Prefix"));
        cluster.apply(&web_ingress("one", 80, "ImplementationSpecific"));
        let names: Vec<String> = (0..10).map(|i| format!("other-{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        cluster.kubectl(&[&["delete", "ingress"], names.as_slice()].concat());
        cluster.kubectl(&[
            "annotate",
            "ingress",
            "web",
            &format!("round=r{round}"),
            "--overwrite",
        ]);
    }
}

#[test]
fn changes_drop_no_request() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    cluster.import(&knarr_testkit::images::demo());
    cluster.apply(WEB);
    cluster.apply(&web_ingress("one", 80, "Prefix"));
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let get = || cluster.get("127.0.0.1:80", "web.test", "/hello");
    eventually("the Ingress answers", PATIENCE, || {
        get().is_ok_and(|(code, _)| code == 200)
    });
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let wrong = parking_lot::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    match get() {
                        Ok((200, _)) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        other => wrong.lock().push(format!("{other:?}")),
                    }
                }
            });
        }
        // Ends the load also when a change is refused.
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            change_ingresses(&cluster);
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = changed {
            std::panic::resume_unwind(panic);
        }
    });
    let wrong = wrong.into_inner();
    assert!(wrong.is_empty(), "{} requests lost: {wrong:?}", wrong.len());
    assert!(answered.load(Ordering::Relaxed) > 100);
}
