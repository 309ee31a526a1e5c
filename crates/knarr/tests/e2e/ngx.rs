//! `examples/ngx`: nginx behind a Service, a NodePort and an Ingress.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use knarr_testkit::{Cluster, can_run, eventually, images};

use crate::{PATIENCE, cluster, example};

/// The cluster with the example and a pod to ask from; `None` where nginx is not installed.
fn start() -> Option<Cluster> {
    let (Some(nginx), Some(busybox)) = (
        images::nginx("nginx:alpine"),
        images::busybox("busybox:test"),
    ) else {
        eprintln!("skipped: nginx or busybox is not installed");
        return None;
    };
    let cluster = cluster();
    cluster.import(&nginx);
    cluster.import(&busybox);
    cluster.kubectl(&["apply", "-f", &example("ngx")]);
    cluster.kubectl(&[
        "run",
        "client",
        "--image=busybox:test",
        "--image-pull-policy=IfNotPresent",
        "--",
        "sleep",
        "3600",
    ]);
    cluster.kubectl(&["rollout", "status", "deployment/ngx-dep", "--timeout=60s"]);
    cluster.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod/client",
        "--timeout=60s",
    ]);
    Some(cluster)
}

/// How often each server answered, out of `count` requests.
fn spread(count: usize, mut ask: impl FnMut() -> Option<String>) -> BTreeMap<String, usize> {
    let mut hosts = BTreeMap::new();
    for _ in 0..count {
        let body = ask().expect("an answer");
        let host = body
            .lines()
            .find_map(|l| l.strip_prefix("host: "))
            .expect("a host line")
            .to_owned();
        *hosts.entry(host).or_default() += 1;
    }
    hosts
}

fn both(hosts: &BTreeMap<String, usize>) {
    assert_eq!(hosts.len(), 2, "answers come from both pods: {hosts:?}");
}

#[test]
fn every_way_to_the_pods_works() {
    if !can_run() {
        return;
    }
    let Some(cluster) = start() else { return };
    let ip = cluster.kubectl(&["get", "svc", "ngx-svc", "-o", "jsonpath={.spec.clusterIP}"]);
    let names = [
        "ngx-svc",
        "ngx-svc.default",
        "ngx-svc.default.svc.cluster.local",
        ip.as_str(),
    ];
    eventually("the Service answers", PATIENCE, || {
        cluster.get(&format!("{ip}:8080"), "x", "/").is_ok()
    });
    for name in names {
        let url = format!("http://{name}:8080/some/path");
        let hosts = spread(16, || {
            Some(cluster.kubectl(&["exec", "client", "--", "/demo", "get", &url]))
        });
        assert!(hosts.values().sum::<usize>() == 16, "{name}");
    }
    both(&spread(30, || {
        cluster
            .get(&format!("{ip}:8080"), "ngx", "/")
            .ok()
            .map(|(_, body)| body)
    }));
    both(&spread(30, || {
        cluster
            .get("172.30.0.2:30080", "ngx", "/")
            .ok()
            .map(|(_, body)| body)
    }));
    both(&spread(30, || {
        cluster
            .get("127.0.0.1:80", "ngx.test", "/")
            .ok()
            .map(|(_, body)| body)
    }));
    let (code, body) = cluster
        .get("127.0.0.1:80", "ngx.test", "/docs/x?y=1")
        .unwrap();
    assert_eq!(code, 200);
    assert!(body.contains("uri : GET ngx.test /docs/x?y=1"), "{body}");
    assert_eq!(
        cluster.get("127.0.0.1:80", "ngx.test", "/other").unwrap().0,
        404
    );
    assert_eq!(
        cluster.get("127.0.0.1:80", "other.test", "/").unwrap().0,
        404
    );
    let address = cluster.kubectl(&[
        "get",
        "ingress",
        "ngx-ing",
        "-o",
        "jsonpath={.status.loadBalancer.ingress[0].ip}",
    ]);
    assert_eq!(address, "172.30.0.2");
}

#[test]
fn deleting_a_pod_under_load_loses_no_request() {
    if !can_run() {
        return;
    }
    let Some(cluster) = start() else { return };
    let ip = cluster.kubectl(&["get", "svc", "ngx-svc", "-o", "jsonpath={.spec.clusterIP}"]);
    eventually("the Service answers", PATIENCE, || {
        cluster.get(&format!("{ip}:8080"), "x", "/").is_ok()
    });
    let cluster = Arc::new(cluster);
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = [
        (format!("{ip}:8080"), "ngx-svc"),
        ("127.0.0.1:80".to_owned(), "ngx.test"),
    ]
    .into_iter()
    .map(|(address, host)| {
        let (cluster, stop) = (cluster.clone(), stop.clone());
        thread::spawn(move || {
            let (mut asked, mut lost) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                asked += 1;
                match cluster.get(&address, host, "/") {
                    Ok((200, _)) => {}
                    other => lost.push(format!("{other:?}")),
                }
            }
            (asked, lost)
        })
    })
    .collect();
    let pods = cluster.kubectl(&["get", "pods", "-l", "app=ngx-dep", "-o", "name"]);
    let first = pods.lines().next().expect("a pod").to_owned();
    thread::sleep(Duration::from_millis(300));
    cluster.kubectl(&["delete", &first, "--wait=true"]);
    cluster.kubectl(&["rollout", "status", "deployment/ngx-dep", "--timeout=60s"]);
    thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    for thread in asking {
        let (asked, lost) = thread.join().expect("asking thread");
        assert!(
            lost.is_empty(),
            "{} of {asked} requests were lost: {:?}",
            lost.len(),
            &lost[..lost.len().min(5)]
        );
        assert!(asked > 20, "only {asked} requests");
    }
}
