//! The kubelet's HTTPS server: what the API server asks nodes for.

mod auth;
mod exec;
mod logs;
mod port_forward;
mod stats;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use knarr_runtime::{ContainerState, ContainerStatus};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{context::Context, pods::Pods};

/// How long a client may take for its handshake and for a request's head.
const PATIENCE: Duration = Duration::from_secs(10);

pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// TLS settings that ask clients for a certificate of `clients` and let those without one try otherwise.
///
/// # Errors
/// When certificate and key do not fit, or there is no authority for clients.
pub fn tls(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: RootCertStore,
) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    // Streams are upgraded, which HTTP/2 cannot.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What requests are answered with.
#[derive(Clone)]
pub struct Server {
    ctx: Arc<Context>,
    pods: Pods,
    auth: Arc<auth::Auth>,
}

impl Server {
    pub fn new(ctx: Arc<Context>, pods: Pods) -> Self {
        let auth = Arc::new(auth::Auth::new(
            ctx.client().clone(),
            ctx.config.node_name.clone(),
        ));
        Server { ctx, pods, auth }
    }

    /// Takes connections, for ever.
    pub async fn run(self, listener: TcpListener) {
        let acceptor = TlsAcceptor::from(self.ctx.config.tls.clone());
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => drop(tokio::spawn(self.clone().connection(
                    acceptor.clone(),
                    stream,
                    peer,
                ))),
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            _ => return tracing::debug!(%peer, "TLS handshake failed"),
        };
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|c| c.first())
            .map(|c| c.clone().into_owned());
        let certificate = Arc::new(certificate);
        let service = service_fn(move |request| {
            let (server, certificate) = (self.clone(), certificate.clone());
            async move {
                Ok::<_, Infallible>(server.answer(request, certificate.as_ref().as_ref()).await)
            }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = served.await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/healthz" {
            return text(StatusCode::OK, "ok");
        }
        if let Err((status, why)) = self.auth.check(&request, certificate).await {
            return text(status, why);
        }
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let get = request.method() == Method::GET;
        let streams = get || request.method() == Method::POST;
        match parts.as_slice() {
            ["pods"] if get => self.list(),
            ["stats", "summary"] if get => stats::summary(&self.ctx, &self.pods).await,
            ["metrics", "resource"] if get => stats::metrics(&self.ctx, &self.pods).await,
            ["containerLogs", namespace, pod, container] if get => {
                logs::answer(self, namespace, pod, container, &Query::of(&request)).await
            }
            ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container]
                if streams =>
            {
                exec::answer(self, request, namespace, pod, container, exec::Mode::Exec).await
            }
            ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container]
                if streams =>
            {
                exec::answer(self, request, namespace, pod, container, exec::Mode::Attach).await
            }
            ["run", namespace, pod, container] | ["run", namespace, pod, _, container]
                if request.method() == Method::POST =>
            {
                exec::run(self, &Query::of(&request), namespace, pod, container).await
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] if streams => {
                port_forward::answer(self, request, namespace, pod).await
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    fn list(&self) -> Response<Body> {
        let pods: Vec<_> = self.pods.list();
        json(
            &serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}),
        )
    }

    /// The running container of that name.
    fn container(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<ContainerStatus, Response<Body>> {
        let not_found = |what: String| text(StatusCode::NOT_FOUND, what);
        let found = self
            .pods
            .find(namespace, pod)
            .ok_or_else(|| not_found(format!("pod {pod}_{namespace} does not exist")))?;
        let seen = self
            .ctx
            .view
            .observe(found.metadata.uid.as_deref().unwrap_or_default());
        let status = seen
            .latest(container)
            .filter(|c| c.state == ContainerState::Running);
        status
            .cloned()
            .ok_or_else(|| not_found(format!("container not found (\"{container}\")")))
    }
}

/// The parameters of a request.
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn of<B>(request: &Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let decode = |text: &str| percent(&text.replace('+', " "));
        let pair = |p: &str| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (decode(k), decode(v))
        };
        Query(
            query
                .split('&')
                .filter(|p| !p.is_empty())
                .map(pair)
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(k, _)| k == name)
            .map(|(_, v)| v.clone())
            .collect()
    }

    /// Whether any of these is set.
    pub fn is_set(&self, names: &[&str]) -> bool {
        names
            .iter()
            .any(|n| matches!(self.get(n), Some("1" | "true" | "True" | "TRUE" | "t")))
    }
}

/// Replaces `%xx`.
fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes
            .get(i + 1..i + 3)
            .filter(|_| bytes[i] == b'%')
            .and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        out.push(hex.unwrap_or(bytes[i]));
        i += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A plain answer.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(full(bytes));
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/json"),
            );
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let request = Request::get(
            "/exec/a/b/c?command=sh&command=-c&command=echo+a%20b%2Bc&input=1&tty=false&x",
        )
        .body(())
        .expect("request");
        let query = Query::of(&request);
        assert_eq!(query.all("command"), ["sh", "-c", "echo a b+c"]);
        assert!(
            query.is_set(&["stdin", "input"])
                && !query.is_set(&["tty"])
                && query.get("x") == Some("")
        );
        assert_eq!(percent("%zz%4"), "%zz%4");
    }
}
