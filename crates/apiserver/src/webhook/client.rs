//! Clients with their connections, one per place and authorities.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use knarr_store::Store;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::{
    ClientConfig,
    place::{Place, resolve},
    tls,
};

/// How many clients are kept; beyond it all are let go and made anew by who needs them.
const KEPT: usize = 200;
const DIAL: Duration = Duration::from_secs(30);
/// How long a connection that nobody uses stays open.
const IDLE: Duration = Duration::from_secs(90);
/// A connection whose other end is gone without a word would swallow every question until the kernel gives it up.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(15);
/// The longest answer that is read, in bytes.
const LONGEST: usize = 16 << 20;

type Https = Client<HttpsConnector<Dial>, Full<Bytes>>;

/// All clients of a server.
pub(crate) struct Clients {
    store: Store,
    known: Mutex<HashMap<ClientConfig, Https>>,
}

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// Nobody answered, in the words of the original.
    #[error("{0}")]
    Transport(String),
    /// An answer with a code that is none of success.
    #[error("{}", refusal(*code, body))]
    Answered { code: u16, body: String },
}

fn refusal(code: u16, body: &str) -> String {
    match code {
        404 => "the server could not find the requested resource".to_owned(),
        500..=599 if !body.is_empty() => {
            format!("an error on the server ({body:?}) has prevented the request from succeeding")
        }
        503 => "the server is currently unable to handle the request".to_owned(),
        500..=599 => {
            "an error on the server (\"\") has prevented the request from succeeding".to_owned()
        }
        _ => format!(
            "the server responded with the status code {code} but did not return more information"
        ),
    }
}

impl Clients {
    pub fn new(store: Store) -> Self {
        Clients {
            store,
            known: Mutex::default(),
        }
    }

    /// Sends JSON and returns the body of a successful answer. `timeout` is told to the server too, in whole seconds.
    ///
    /// # Errors
    /// When the place is unknown, does not answer in time, or answers with a failure.
    pub async fn post(
        &self,
        config: &ClientConfig,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, Failure> {
        let mut url = config.url().map_err(Failure::Config)?;
        let told = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&format!("timeout={told}s"));
        let uri: Uri = url
            .parse()
            .map_err(|e| Failure::Config(format!("Unparsable URL: {e}")))?;
        let client = self.client(config).map_err(Failure::Config)?;
        let failed = |why: String| Failure::Transport(format!("Post {url:?}: {why}"));
        let request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|e| Failure::Config(e.to_string()))?;
        let exchange = async {
            let response = client
                .request(request)
                .await
                .map_err(|e| failed(deepest(&e)))?;
            let code = response.status().as_u16();
            let body = Limited::new(response.into_body(), LONGEST).collect().await;
            let body = body.map_err(|e| failed(e.to_string()))?.to_bytes();
            if (200..300).contains(&code) {
                return Ok(body);
            }
            let body = String::from_utf8_lossy(&body).trim().to_owned();
            Err(Failure::Answered { code, body })
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(failed("context deadline exceeded".into())),
        }
    }

    fn client(&self, config: &ClientConfig) -> Result<Https, String> {
        if let Some(client) = self.known.lock().get(config) {
            return Ok(client.clone());
        }
        let client = self.make(config)?;
        let mut known = self.known.lock();
        if known.len() >= KEPT {
            known.clear();
        }
        Ok(known.entry(config.clone()).or_insert(client).clone())
    }

    fn make(&self, config: &ClientConfig) -> Result<Https, String> {
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(&config.ca_bundle)?)
            .https_only();
        let builder = match config.server_name() {
            Some(name) => {
                let name = ServerName::try_from(name).map_err(|e| e.to_string())?;
                builder.with_server_name_resolver(FixedServerNameResolver::new(name))
            }
            None => builder,
        };
        let dial = Dial {
            store: self.store.clone(),
            place: config.place.clone(),
        };
        let connector = builder.enable_all_versions().wrap_connector(dial);
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .build(connector))
    }
}

/// Why a connection did not come about, in the original's words where they are known.
pub(crate) fn connect_words(error: &(dyn std::error::Error + 'static)) -> String {
    match error
        .downcast_ref::<std::io::Error>()
        .and_then(|e| e.get_ref())
    {
        Some(inner) => deepest(inner),
        None => deepest(error),
    }
}

/// The innermost reason of an error, in the original's words where they are known.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    if let Some(error) = at.downcast_ref::<rustls::Error>() {
        return tls_words(error);
    }
    // rustls wraps its errors into an I/O error, which shows them without being their source.
    if let Some(error) = at
        .downcast_ref::<std::io::Error>()
        .and_then(|e| e.get_ref())
    {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return tls_words(error);
        }
        return error.to_string();
    }
    at.to_string()
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::{CertificateError as Bad, Error};
    match error {
        Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .to_owned()
        }
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
                .to_owned()
        }
        Error::InvalidCertificate(bad) => {
            format!("tls: failed to verify certificate: x509: {bad}")
        }
        other => format!("tls: {other}"),
    }
}

/// Makes connections to one place.
#[derive(Clone)]
struct Dial {
    store: Store,
    place: Place,
}

type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, DialError>> + Send>>;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DialError(String);

impl tower::Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let address = match &self.place {
            Place::Service {
                namespace,
                name,
                port,
                ..
            } => resolve(&self.store, namespace, name, *port),
            _ => {
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
                Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
            }
        };
        Box::pin(async move {
            let (host, port) = address.map_err(DialError)?;
            dial(&host, port).await.map_err(DialError)
        })
    }
}

async fn dial(host: &str, port: u16) -> Result<TokioIo<TcpStream>, String> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found
        .map_err(|_| format!("dial tcp: lookup {host}: no such host"))?
        .collect();
    let mut last = format!("dial tcp: lookup {host}: no such host");
    for address in found {
        match tokio::time::timeout(DIAL, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(TokioIo::new(stream));
            }
            Ok(Err(error)) => last = format!("dial tcp {address}: {}", dial_words(&error)),
            Err(_) => last = format!("dial tcp {address}: i/o timeout"),
        }
    }
    Err(last)
}

/// What an I/O error of connecting is called.
pub(crate) fn dial_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}
