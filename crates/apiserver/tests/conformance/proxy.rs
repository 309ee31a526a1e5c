//! Requests are passed on to pods and Services with their method and path.

use std::net::{IpAddr, SocketAddr};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::world::{STRATEGIC, World};

const CORE: &str = "/api/v1/namespaces/default";

/// An address of this machine that may stand for a pod's; None where there is only a loopback.
fn address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only says by which of its addresses it would be.
    socket.connect("198.51.100.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback()).then_some(ip)
}

async fn echo(
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, std::convert::Infallible> {
    let body = json!({"body": "foo", "method": request.method().as_str(), "path": request.uri().to_string()});
    Ok(http::Response::new(Full::from(body.to_string())))
}

async fn serve(ip: IpAddr) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(echo);
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A pod at this address, and a Service in front of it.
async fn setup(world: &World, address: SocketAddr) {
    let port = address.port();
    let pod = json!({"metadata": {"name": "agnhost"}, "spec": {"nodeName": "n", "containers": [
        {"name": "c", "image": "i", "ports": [{"containerPort": port}]}]}});
    world.make(&format!("{CORE}/pods"), pod).await;
    let ip = address.ip().to_string();
    let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
    let path = format!("{CORE}/pods/agnhost/status");
    world.patch(&path, STRATEGIC, status).await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "portname1", "port": 80, "targetPort": port}]}});
    world.make(&format!("{CORE}/services"), service).await;
    // Only pods are reached by a Service.
    let pod = json!({"kind": "Pod", "namespace": "default", "name": "agnhost"});
    let subsets = json!([{"addresses": [{"ip": ip, "targetRef": pod}], "ports": [{"name": "portname1", "port": port}]}]);
    let endpoints = json!({"metadata": {"name": "s"}, "subsets": subsets});
    world.make(&format!("{CORE}/endpoints"), endpoints).await;
    let slice = json!({"metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [ip], "targetRef": pod, "conditions": {"ready": true}}], "ports": [{"name": "portname1", "port": port}]});
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    world.make(path, slice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_reaches_pods_and_services() {
    let Some(ip) = address() else {
        eprintln!("skipped: no address but the loopback");
        return;
    };
    let world = World::start().await;
    let address = serve(ip).await;
    setup(&world, address).await;
    for what in ["pods/agnhost", "services/s"] {
        let proxy = format!("{CORE}/{what}/proxy");
        for method in ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"] {
            let path = format!("{proxy}/some/path/with/{method}");
            let (code, _, answer) = world.raw(method, &path, &[], Vec::new()).await;
            assert_eq!(code, 200, "{method} {path}: {answer}");
            if method != "HEAD" {
                let path = format!("/some/path/with/{method}");
                assert_eq!(
                    answer,
                    json!({"body": "foo", "method": method, "path": path})
                );
            }
        }
        // Without a path those that read are sent to the root; others go there.
        for method in ["DELETE", "OPTIONS", "PATCH", "POST", "PUT"] {
            let path = format!("{proxy}?method={method}");
            let (code, _, answer) = world.raw(method, &path, &[], Vec::new()).await;
            assert_eq!((code, &answer["method"]), (200, &json!(method)), "{answer}");
        }
        for method in ["GET", "HEAD"] {
            let path = format!("{proxy}?method={method}");
            let (code, headers, _) = world.raw(method, &path, &[], Vec::new()).await;
            assert_eq!(code, 301);
            assert_eq!(headers["location"], format!("{proxy}/?method={method}"));
        }
    }
    for named in [
        format!("pods/agnhost:{}", address.port()),
        format!("pods/http:agnhost:{}", address.port()),
        "services/s:portname1".to_owned(),
        "services/http:s:portname1".to_owned(),
        "services/s:80".to_owned(),
    ] {
        let answer: Value = world.get(&format!("{CORE}/{named}/proxy/")).await;
        assert_eq!(answer["body"], "foo", "{named}");
    }
    world.stop().await;
}
