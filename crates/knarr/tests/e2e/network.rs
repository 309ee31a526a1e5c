//! Ways to a pod that examples do not go: from itself through its Service, over UDP, through the node's own ports.

use std::{net::UdpSocket, time::Duration};

use knarr_testkit::{Cluster, can_run, eventually};

use crate::{PATIENCE, cluster};

const ECHO: &str = "apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  containers:
  - name: c
    image: knarr.io/demo:latest
    imagePullPolicy: IfNotPresent
    command: [/demo, serve, --udp-port, '9000']
    ports: [{containerPort: 8080, hostPort: 8099}]
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: NodePort
  selector: {app: echo}
  ports:
  - {name: tcp, port: 80, targetPort: 8080, nodePort: 30180}
  - {name: udp, port: 90, targetPort: 9000, protocol: UDP, nodePort: 30190}
---
apiVersion: v1
kind: Pod
metadata: {name: on-node}
spec:
  hostNetwork: true
  containers:
  - name: c
    image: knarr.io/demo:latest
    imagePullPolicy: IfNotPresent
    command: [/demo, serve, --port, '8098']
";

/// What comes back over UDP, sent from the node.
fn udp(cluster: &Cluster, to: String) -> std::io::Result<String> {
    cluster.namespace.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.send_to(b"ping", to)?;
        let mut buffer = [0; 1500];
        let (length, _) = socket.recv_from(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
}

#[test]
fn every_way_to_one_pod() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    cluster.apply(ECHO);
    cluster.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod/echo",
        "pod/on-node",
        "--timeout=60s",
    ]);
    let service = cluster.kubectl(&["get", "svc", "echo", "-o", "jsonpath={.spec.clusterIP}"]);
    for to in [format!("{service}:90"), "172.30.0.2:30190".to_owned()] {
        eventually(&format!("UDP to {to} is answered"), PATIENCE, || {
            udp(&cluster, to.clone()).is_ok_and(|answer| answer.contains("ping"))
        });
    }
    for (address, who) in [
        (format!("{service}:80"), "echo"),
        ("172.30.0.2:30180".to_owned(), "echo"),
        ("172.30.0.2:8099".to_owned(), "echo"),
    ] {
        eventually(&format!("{address} is answered by {who}"), PATIENCE, || {
            let answer = cluster.get(&address, "x", "/");
            answer.is_ok_and(|(code, body)| code == 200 && body.contains(&format!("host {who}")))
        });
    }
    // A pod that is the only endpoint of its Service reaches itself through it (`echo` alone is its own host name).
    let itself = cluster.kubectl(&[
        "exec",
        "echo",
        "--",
        "/demo",
        "get",
        "http://echo.default/self",
    ]);
    assert!(itself.contains("uri /self"), "{itself}");
    // A pod on the node's network listens on the node itself and has the node's address.
    let (code, _) = cluster.get("127.0.0.1:8098", "x", "/").expect("an answer");
    assert_eq!(code, 200);
    let ip = cluster.kubectl(&["get", "pod", "on-node", "-o", "jsonpath={.status.podIP}"]);
    assert_eq!(ip, "172.30.0.2");
}
