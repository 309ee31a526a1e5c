//! Knarr goes away and comes back: pods and connections live on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use knarr_testkit::{can_run, eventually};

use crate::{PATIENCE, cluster};

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
      - {name: web, image: 'knarr.io/demo:latest', imagePullPolicy: IfNotPresent, ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
";

/// One request on an open connection; the host that answered.
fn ask(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let (mut text, mut buffer) = (String::new(), [0; 2048]);
    while !text.contains("\nHost: web") {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    Ok(text
        .lines()
        .find_map(|l| l.strip_prefix("host "))
        .unwrap_or_default()
        .to_owned())
}

#[test]
fn a_killed_knarr_costs_no_connection_and_no_pod() {
    if !can_run() {
        return;
    }
    let mut cluster = cluster();
    cluster.apply(WEB);
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let ip = cluster.kubectl(&["get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    eventually("the Service answers", PATIENCE, || {
        cluster.get(&format!("{ip}:80"), "web", "/").is_ok()
    });
    let started = |cluster: &knarr_testkit::Cluster| {
        let path = "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
        let mut lines: Vec<String> = cluster
            .kubectl(&["get", "pods", "-l", "app=web", "-o", path])
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let before = started(&cluster);
    assert_eq!(before.len(), 2);
    let address = format!("{ip}:80");
    let mut stream = cluster.namespace.run(move || {
        let stream = TcpStream::connect(address).expect("connect through the Service");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("timeout");
        stream
    });
    let first = ask(&mut stream).expect("an answer before");
    cluster.kill();
    assert_eq!(
        ask(&mut stream).expect("an answer while Knarr is away"),
        first
    );
    assert!(
        cluster.get(&format!("{ip}:80"), "web", "/").is_ok(),
        "new connections too"
    );
    cluster.up(&[]);
    assert_eq!(ask(&mut stream).expect("an answer after"), first);
    // The kubelet has looked at its pods once it has renewed a status; nothing was started anew.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(started(&cluster), before);
    assert!(
        cluster
            .kubectl(&["get", "pods"])
            .lines()
            .filter(|l| l.contains("Running"))
            .count()
            == 2
    );
}
