//! `healthCheckNodePort`: what a load balancer asks to learn which nodes have endpoints of a Service with
//! `externalTrafficPolicy: Local`.

use std::{collections::HashMap, convert::Infallible, net::Ipv6Addr, sync::Arc};

use http_body_util::Full;
use hyper::{Response, StatusCode, body::Bytes, header, service::service_fn};
use hyper_util::rt::TokioIo;
use knarr_client::informer::Key;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::map::HealthCheck;

struct Running {
    port: u16,
    local_endpoints: watch::Sender<usize>,
    task: JoinHandle<()>,
}

/// The health check servers of this node, one for each Service that has one.
#[derive(Default)]
pub struct HealthChecks {
    running: HashMap<Key, Running>,
}

impl HealthChecks {
    /// Starts, changes or stops the server of a Service.
    pub fn set(&mut self, service: &Key, wanted: Option<HealthCheck>) {
        if self
            .running
            .get(service)
            .is_some_and(|r| Some(r.port) != wanted.as_ref().map(|w| w.port))
        {
            self.running.remove(service);
        }
        let Some(HealthCheck {
            port,
            local_endpoints,
        }) = wanted
        else {
            return;
        };
        if let Some(running) = self.running.get(service) {
            running.local_endpoints.send_replace(local_endpoints);
            return;
        }
        let (sender, receiver) = watch::channel(local_endpoints);
        let task = tokio::spawn(listen_and_serve(port, service.clone(), receiver));
        self.running.insert(
            service.clone(),
            Running {
                port,
                local_endpoints: sender,
                task,
            },
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// On all addresses; without IPv6 in the kernel, on those of IPv4.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(e) if e.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            TcpListener::bind(("0.0.0.0", port)).await
        }
        other => other,
    }
}

/// Serves as soon as the port can be had: whoever held it may just be about to end.
async fn listen_and_serve(port: u16, service: Key, local_endpoints: watch::Receiver<usize>) {
    let mut told = false;
    loop {
        match listen(port).await {
            Ok(listener) => return serve(listener, service, local_endpoints).await,
            Err(error) if !told => {
                told = true;
                tracing::warn!(%service, port, %error, "cannot serve the Service's health check node port yet");
            }
            Err(_) => {}
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn serve(listener: TcpListener, service: Key, local_endpoints: watch::Receiver<usize>) {
    let service = Arc::new(service);
    // Connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(connection(stream, service.clone(), local_endpoints.clone())); }
                Err(error) => {
                    tracing::debug!(%error, "health check connection not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, service: Arc<Key>, local_endpoints: watch::Receiver<usize>) {
    let respond = service_fn(move |_| {
        let response = answer(&service, *local_endpoints.borrow());
        async move { Ok::<_, Infallible>(response) }
    });
    // A client that goes away is no error.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), respond)
        .await;
}

fn answer(service: &Key, local_endpoints: usize) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "service": { "namespace": service.namespace, "name": service.name },
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": true,
    });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    if local_endpoints == 0 {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    headers.insert(
        "x-content-type-options",
        header::HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        "x-load-balancing-endpoint-weight",
        header::HeaderValue::from(local_endpoints),
    );
    response
}
