//! The whole proxy: objects written to an API server on one end, connections on the other.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use knarr_apiserver::{ApiServer, UserInfo};
use knarr_client::Informers;
use knarr_proxy::{Config, Mode};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::node::{Answer, NODE, on_a_node, tcp};

async fn api_server(dir: &std::path::Path) -> ApiServer {
    let registry = knarr_api::builtin::registry();
    let options = knarr_store::Options::new(&dir.join("store"));
    let store = knarr_store::Store::open(options, knarr_apiserver::head_of(&registry));
    let cidrs = vec!["10.96.0.0/16".parse().unwrap()];
    let config = knarr_apiserver::Config::new(store.await.unwrap(), registry, cidrs);
    ApiServer::new(config).await.unwrap()
}

fn client(server: &ApiServer) -> Client {
    knarr_client::in_process(
        server.service(UserInfo::new("test", ["system:masters"])),
        "test",
    )
}

fn config() -> Config {
    Config {
        node_name: "n1".into(),
        node_ips: vec![NODE.parse().unwrap()],
        cluster_cidrs: vec!["10.42.0.0/16".parse().unwrap()],
        mode: Mode::Nftables,
    }
}

fn service() -> Service {
    let port = json!({ "name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080 });
    let spec = json!({ "type": "LoadBalancer", "clusterIP": "10.96.0.10", "ports": [port], "healthCheckNodePort": 30081,
                       "externalTrafficPolicy": "Local", "selector": null });
    serde_json::from_value(json!({ "metadata": { "name": "web" }, "spec": spec })).unwrap()
}

fn endpoints(ips: &[IpAddr]) -> Value {
    let of = |ip: &IpAddr| json!({ "addresses": [ip.to_string()], "nodeName": "n1", "conditions": { "ready": true } });
    Value::Array(ips.iter().map(of).collect())
}

fn slice(ips: &[IpAddr]) -> EndpointSlice {
    let labels = json!({ "kubernetes.io/service-name": "web" });
    let object = json!({ "metadata": { "name": "web-1", "labels": labels }, "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }], "endpoints": endpoints(ips) });
    serde_json::from_value(object).unwrap()
}

/// Asks until the answer is right, and says how long that took.
fn until(right: impl Fn(&std::io::Result<Answer>) -> bool) -> Duration {
    let start = Instant::now();
    loop {
        let answer = tcp("10.96.0.10:80");
        if right(&answer) {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{answer:?}");
    }
}

fn health() -> std::io::Result<String> {
    let mut stream = TcpStream::connect("127.0.0.1:30081")?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks the health check until it answers with this code; its listener comes a moment after the rules.
fn health_until(code: &str) -> String {
    let start = Instant::now();
    loop {
        let answer = health();
        match answer {
            Ok(text) if text.starts_with(&format!("HTTP/1.1 {code}")) => return text,
            _ => assert!(start.elapsed() < Duration::from_secs(10), "{answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn objects_become_routes_at_once() {
    on_a_node(|w| {
        let dir = tempfile::tempdir().unwrap();
        // Its threads are on the node, as they are started here.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let (a, b) = ([w.a.ips[0]], [w.b.ips[0]]);
        let server = runtime.block_on(api_server(dir.path()));
        let api = client(&server);
        let services: Api<Service> = Api::namespaced(api.clone(), "default");
        let slices: Api<EndpointSlice> = Api::namespaced(api.clone(), "default");
        let proxy = runtime.spawn(knarr_proxy::run(Informers::new(api.clone()), config()));

        let create = PostParams::default();
        runtime
            .block_on(services.create(&create, &service()))
            .unwrap();
        runtime
            .block_on(slices.create(&create, &slice(&a)))
            .unwrap();
        until(|r| r.as_ref().is_ok_and(|r| r.server == "a"));
        assert_eq!(tcp("127.0.0.1:30080").unwrap().server, "a");
        let healthy = health_until("200");
        assert!(healthy.contains("\"localEndpoints\":1"), "{healthy}");

        let change = Patch::Merge(json!({ "endpoints": endpoints(&b) }));
        runtime
            .block_on(slices.patch("web-1", &PatchParams::default(), &change))
            .unwrap();
        let took = until(|r| r.as_ref().is_ok_and(|r| r.server == "b"));
        eprintln!("an endpoint is routed {took:?} after it was written");

        // Rules stay when the proxy ends, and the next one goes on with them.
        proxy.abort();
        let _ = runtime.block_on(proxy);
        assert_eq!(tcp("10.96.0.10:80").unwrap().server, "b");
        let proxy = runtime.spawn(knarr_proxy::run(Informers::new(api), config()));
        let none = Patch::Merge(json!({ "endpoints": [] }));
        runtime
            .block_on(slices.patch("web-1", &PatchParams::default(), &none))
            .unwrap();
        until(|r| {
            r.as_ref()
                .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
        });
        health_until("503");
        runtime
            .block_on(services.delete("web", &DeleteParams::default()))
            .unwrap();
        let gone = || TcpStream::connect("127.0.0.1:30081").is_err();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !gone() {
            assert!(
                Instant::now() < deadline,
                "the health check is still served"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!proxy.is_finished());
        proxy.abort();
        runtime.block_on(server.stop());
    });
}
