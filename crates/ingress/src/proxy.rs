//! One request from client to endpoint and back.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, UPGRADE},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;

use crate::{
    backend::{Backend, Shared},
    route::{BackendRef, Routes},
};

const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(60);
const IDLE_PER_ENDPOINT: usize = 256;

/// Headers that concern one connection only (RFC 9110 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
    http::header::TRANSFER_ENCODING,
    UPGRADE,
];

type AnyBody = BoxBody<Bytes, hyper::Error>;

/// What requests are routed by, replaced while they run.
pub struct Proxy {
    pub routes: ArcSwap<Routes>,
    pub backends: RwLock<HashMap<Arc<BackendRef>, Shared>>,
    http1: Client<HttpConnector, SharedBody>,
    http2: Client<HttpConnector, SharedBody>,
}

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub address: IpAddr,
    pub tls: bool,
    /// Port of this server that the client came to.
    pub port: u16,
}

impl Default for Proxy {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_ENDPOINT);
        let http1 = builder.build(connector.clone());
        let http2 = builder.http2_only(true).build(connector);
        Proxy {
            routes: ArcSwap::default(),
            backends: RwLock::default(),
            http1,
            http2,
        }
    }
}

impl Proxy {
    /// Answers a request with what its endpoint answers, or with why there is none.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<AnyBody> {
        let host = host(&request).unwrap_or_default();
        match self.find(&host, request.uri().path()) {
            None => plain(StatusCode::NOT_FOUND, "no Ingress leads there\n"),
            Some((_, backend)) if !backend.endpoints.is_empty() => {
                self.forward(request, &backend, peer).await
            }
            Some((reference, _)) => {
                let text = format!(
                    "no endpoint of Service {}/{} is ready\n",
                    reference.namespace, reference.service
                );
                plain(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }

    /// Where a request goes now.
    fn find(&self, host: &str, path: &str) -> Option<(Arc<BackendRef>, Arc<Backend>)> {
        loop {
            let routes = self.routes.load_full();
            let reference = routes.find(host, path)?.clone();
            let backend = self.backends.read().get(&reference).map(|b| b.load_full());
            match backend {
                Some(backend) => return Some((reference, backend)),
                // Between the two looks the routes were replaced and the old ones' backends went.
                None if !Arc::ptr_eq(&routes, &self.routes.load()) => continue,
                None => return Some((reference, Arc::default())),
            }
        }
    }

    /// Tries the endpoints in turn. An endpoint that was never reached, or a safe request that got no answer, is no reason
    /// to fail: it may just have ended.
    async fn forward(
        &self,
        mut request: Request<Incoming>,
        backend: &Backend,
        peer: Peer,
    ) -> Response<AnyBody> {
        let upgrade = upgrade_of(&request);
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        prepare_headers(
            &mut parts.headers,
            &parts.uri,
            parts.version,
            peer,
            upgrade.as_ref(),
        );
        let body = SharedBody::new(body);
        let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS)
            && body.is_end_stream();
        let client = if backend.http2 {
            &self.http2
        } else {
            &self.http1
        };
        let mut last = None;
        for endpoint in backend.in_turn() {
            let mut outgoing = Request::new(body.again());
            *outgoing.method_mut() = parts.method.clone();
            *outgoing.uri_mut() = uri(&parts.uri, endpoint);
            *outgoing.headers_mut() = parts.headers.clone();
            if backend.http2 {
                *outgoing.version_mut() = Version::HTTP_2;
            }
            match client.request(outgoing).await {
                Ok(response) => return finish(response, client_side),
                Err(error) if (error.is_connect() || safe) && body.is_untouched() => {
                    last = Some(error)
                }
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
        }
        let why = last.map_or_else(String::new, |e| format!("{e}"));
        tracing::debug!(why, "no endpoint answered");
        plain(StatusCode::BAD_GATEWAY, "the endpoint did not answer\n")
    }
}

/// Passes the answer on; an accepted upgrade joins the two connections.
fn finish(
    mut response: Response<Incoming>,
    client_side: Option<hyper::upgrade::OnUpgrade>,
) -> Response<AnyBody> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client_side) = client_side else {
            return plain(StatusCode::BAD_GATEWAY, "unasked upgrade\n");
        };
        let endpoint_side = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let (Ok(client), Ok(endpoint)) = tokio::join!(client_side, endpoint_side) else {
                return;
            };
            let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await;
        });
    } else {
        for name in &HOP_BY_HOP {
            response.headers_mut().remove(name);
        }
    }
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, body.boxed())
}

/// The host a request is for, without port: HTTP/2's authority, else the Host header.
fn host<B>(request: &Request<B>) -> Option<String> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => Authority::from_maybe_shared(Bytes::copy_from_slice(
            request.headers().get(HOST)?.as_bytes(),
        ))
        .ok()?,
    };
    Some(authority.host().to_owned())
}

fn uri(original: &Uri, endpoint: SocketAddr) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Authority::try_from(endpoint.to_string()).ok();
    parts.path_and_query = Some(
        original
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/")),
    );
    Uri::from_parts(parts).unwrap_or_default()
}

/// The protocol a client wants to change to.
fn upgrade_of<B>(request: &Request<B>) -> Option<HeaderValue> {
    let asks = request
        .headers()
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let wanted = asks
        .flat_map(|v| v.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    wanted
        .then(|| request.headers().get(UPGRADE).cloned())
        .flatten()
}

fn prepare_headers(
    headers: &mut HeaderMap,
    uri: &Uri,
    version: Version,
    peer: Peer,
    upgrade: Option<&HeaderValue>,
) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    if version == Version::HTTP_2
        && let Some(host) = uri
            .authority()
            .and_then(|a| HeaderValue::from_str(a.as_str()).ok())
    {
        headers.insert(HOST, host);
    }
    let set = |headers: &mut HeaderMap, name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    // Clients are not believed: what they claim about those before them is replaced.
    set(headers, "x-forwarded-for", peer.address.to_string());
    set(headers, "x-real-ip", peer.address.to_string());
    set(
        headers,
        "x-forwarded-proto",
        if peer.tls { "https" } else { "http" }.to_owned(),
    );
    set(headers, "x-forwarded-port", peer.port.to_string());
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(HeaderName::from_static("x-forwarded-host"), host);
    }
}

fn plain(code: StatusCode, text: impl Into<String>) -> Response<AnyBody> {
    let body = Full::from(text.into())
        .map_err(|never| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

struct BodyState {
    body: Incoming,
    touched: bool,
}

/// A request's body that can be offered to another endpoint as long as none has taken anything of it.
pub struct SharedBody(Arc<Mutex<BodyState>>);

impl SharedBody {
    fn new(body: Incoming) -> Self {
        SharedBody(Arc::new(Mutex::new(BodyState {
            body,
            touched: false,
        })))
    }

    fn again(&self) -> Self {
        SharedBody(self.0.clone())
    }

    fn is_untouched(&self) -> bool {
        let state = self.0.lock();
        !state.touched || state.body.is_end_stream()
    }
}

impl Body for SharedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut state = self.0.lock();
        state.touched = true;
        Pin::new(&mut state.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.lock().body.size_hint()
    }
}
