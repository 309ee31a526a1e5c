//! Requests are passed on to pods and Services with their method and path.

use std::{net::IpAddr, sync::Arc};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use knarr_json::{Value, json};
use tokio_rustls::TlsAcceptor;

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

/// Answers on a free port of its own; with TLS if there is something to do it with.
async fn serve(ip: IpAddr, tls: Option<TlsAcceptor>) -> u16 {
    let listener = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(echo);
                let builder = hyper::server::conn::http1::Builder::new();
                let Some(tls) = tls else {
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    return;
                };
                if let Ok(stream) = tls.accept(stream).await {
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                }
            });
        }
    });
    port
}

fn acceptor(world: &World) -> TlsAcceptor {
    let (tls, _) = world.server.serving(&["nobody.asks"]);
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(tls.certificates, tls.key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A pod at this address with a port for each scheme, and a Service in front of it.
async fn setup(world: &World, ip: IpAddr, [plain, tls]: [u16; 2]) {
    let pod = json!({"metadata": {"name": "agnhost"}, "spec": {"nodeName": "n", "containers": [
        {"name": "c", "image": "i", "ports": [{"containerPort": plain}]}]}});
    world.make(&format!("{CORE}/pods"), pod).await;
    let ip = ip.to_string();
    let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
    let path = format!("{CORE}/pods/agnhost/status");
    world.patch(&path, STRATEGIC, status).await;
    let ports = json!([{"name": "portname1", "port": 80, "targetPort": plain}, {"name": "tlsportname1", "port": 443, "targetPort": tls}]);
    for (name, ports) in [("s", ports.clone()), ("single", json!([ports[0]]))] {
        let service = json!({"metadata": {"name": name}, "spec": {"ports": ports}});
        world.make(&format!("{CORE}/services"), service).await;
        let targets: Vec<Value> = ports
            .as_array()
            .unwrap()
            .iter()
            .map(|p| json!({"name": p["name"], "port": p["targetPort"]}))
            .collect();
        // Only pods are reached by a Service.
        let pod = json!({"kind": "Pod", "namespace": "default", "name": "agnhost"});
        let subsets = json!([{"addresses": [{"ip": ip, "targetRef": pod}], "ports": targets}]);
        let endpoints = json!({"metadata": {"name": name}, "subsets": subsets});
        world.make(&format!("{CORE}/endpoints"), endpoints).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_reaches_pods_and_services() {
    let Some(ip) = address() else {
        eprintln!("skipped: no address but the loopback");
        return;
    };
    let world = World::start().await;
    let tls = acceptor(&world);
    let ports = [serve(ip, None).await, serve(ip, Some(tls)).await];
    setup(&world, ip, ports).await;
    for what in ["pods/agnhost", "services/single"] {
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
    let [plain, tls] = ports;
    for named in [
        "pods/agnhost".to_owned(),
        format!("pods/agnhost:{plain}"),
        format!("pods/http:agnhost:{plain}"),
        format!("pods/https:agnhost:{tls}"),
        "services/s:portname1".to_owned(),
        "services/http:s:portname1".to_owned(),
        "services/https:s:tlsportname1".to_owned(),
        "services/s:80".to_owned(),
        "services/http:s:80".to_owned(),
        "services/https:s:443".to_owned(),
    ] {
        let answer: Value = world.get(&format!("{CORE}/{named}/proxy/")).await;
        assert_eq!(answer["body"], "foo", "{named}");
    }
    world.stop().await;
}
