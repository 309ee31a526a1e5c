//! Speaks the distribution protocol with registries, over HTTPS, and over plain HTTP with those that are named insecure or
//! are on this machine.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode, Uri,
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT, WWW_AUTHENTICATE,
    },
};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;

use super::{challenge::Challenge, reference::Reference};
use crate::types::{Error, RegistryAuth, Result};

/// Until the head of an answer is there.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Manifests, tokens and errors are smaller than this.
const DOCUMENT_LIMIT: usize = 8 << 20;
const REDIRECTS: usize = 5;

/// Which registries are asked how.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// Those (`host` or `host:port`) that are spoken to without TLS, besides those on this machine.
    pub insecure: Vec<String>,
    /// For a registry, where to ask first: base URLs such as `https://mirror.example.com`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// `<certs>/<host[:port]>/ca.crt` holds the authorities of that registry, in PEM; it then is spoken to with TLS
    /// wherever it is.
    pub certs: Option<PathBuf>,
}

impl RegistryConfig {
    /// Base URLs for a registry in the order in which they are asked, each with whether credentials go there.
    fn endpoints(&self, registry: &str) -> Vec<(String, bool)> {
        let mirrors = self.mirrors.get(registry).into_iter().flatten();
        let mut all: Vec<_> = mirrors
            .map(|m| (m.trim_end_matches('/').to_owned(), false))
            .collect();
        let host = if registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            registry
        };
        let scheme = if self.plain(registry) {
            "http"
        } else {
            "https"
        };
        all.push((format!("{scheme}://{host}"), true));
        all
    }

    /// The authorities named for a registry alone, in PEM.
    fn authorities(&self, registry: &str) -> Option<Vec<u8>> {
        // A host is one component of a path; `..` and the like are none.
        if registry.contains('/') || registry.starts_with('.') {
            return None;
        }
        std::fs::read(self.certs.as_ref()?.join(registry).join("ca.crt")).ok()
    }

    fn plain(&self, registry: &str) -> bool {
        let host = match registry.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or(v6),
            None => registry.split(':').next().unwrap_or(registry),
        };
        let local = matches!(host, "localhost" | "::1") || host.starts_with("127.");
        (local && self.authorities(registry).is_none())
            || self.insecure.iter().any(|i| i == registry || i == host)
    }
}

/// One registry as one pull sees it: with credentials and the token that it gave for them.
pub(super) struct Session<'a> {
    http: &'a Client,
    endpoint: String,
    reference: &'a Reference,
    auth: Option<&'a RegistryAuth>,
    token: Mutex<Option<HeaderValue>>,
}

type Connections = Http<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Connections to registries.
pub(super) struct Client {
    http: Connections,
    /// Connections to those with authorities of their own, which are kept to notice when they change.
    own: Mutex<HashMap<String, (Vec<u8>, Connections)>>,
    pub(super) config: RegistryConfig,
}

impl Client {
    pub(super) fn new(config: RegistryConfig) -> anyhow::Result<Self> {
        Ok(Self {
            http: connections(None)?,
            own: Mutex::default(),
            config,
        })
    }

    /// The connections to use for a host, with the authorities it has now.
    fn connections(&self, host: &str) -> anyhow::Result<Connections> {
        let Some(pem) = self.config.authorities(host) else {
            return Ok(self.http.clone());
        };
        let mut own = self.own.lock();
        if let Some((known, http)) = own.get(host)
            && *known == pem
        {
            return Ok(http.clone());
        }
        let http = connections(Some(&pem)).with_context(|| format!("ca.crt of {host}"))?;
        own.insert(host.to_owned(), (pem, http.clone()));
        Ok(http)
    }

    /// Sessions to try, mirrors first.
    pub(super) fn sessions<'a>(
        &'a self,
        reference: &'a Reference,
        auth: Option<&'a RegistryAuth>,
    ) -> Vec<Session<'a>> {
        let session = |(endpoint, own): (String, bool)| Session {
            http: self,
            endpoint,
            reference,
            auth: auth.filter(|_| own),
            token: Mutex::default(),
        };
        self.config
            .endpoints(&reference.registry)
            .into_iter()
            .map(session)
            .collect()
    }

    async fn send(
        &self,
        method: &Method,
        uri: &Uri,
        accept: Option<&str>,
        token: Option<HeaderValue>,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(USER_AGENT, concat!("knarr/", env!("CARGO_PKG_VERSION")));
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Empty::new()).context("request")?;
        let what = |error: &dyn std::fmt::Display| {
            Error::Image(format!("failed to do request: {method} \"{uri}\": {error}"))
        };
        let host = uri.authority().map_or("", |a| a.as_str());
        let http = self.connections(host)?;
        match tokio::time::timeout(HEAD_TIMEOUT, http.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(what(&chain(&error))),
            Err(_) => Err(what(&"timeout awaiting response headers")),
        }
    }
}

/// Connections that trust the authorities in `pem`, else the public ones and those that this machine was told to trust.
fn connections(pem: Option<&[u8]>) -> anyhow::Result<Connections> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_secs(15)));
    connector.enforce_http(false);
    let tls = HttpsConnectorBuilder::new()
        .with_tls_config(tls_config(pem)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Http::builder(TokioExecutor::new()).build(tls))
}

fn tls_config(pem: Option<&[u8]>) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
        }
        None => {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS")?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The causes of an error, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        text = format!("{text}: {cause}");
        at = cause.source();
    }
    text
}

impl Session<'_> {
    /// A manifest or index with its media type.
    pub(super) async fn manifest(&self, selector: &str) -> Result<Bytes> {
        let path = format!("/v2/{}/manifests/{selector}", self.reference.repository);
        let response = self.get(&path, Some(super::manifest::ACCEPT)).await?;
        let old = response.headers().get(CONTENT_TYPE).is_some_and(|kind| {
            kind.to_str()
                .is_ok_and(|k| k.starts_with("application/vnd.docker.distribution.manifest.v1"))
        });
        if old {
            return Err(Error::Image(
                "the image is in the obsolete docker schema 1 format".into(),
            ));
        }
        document(response).await
    }

    /// A blob as it comes.
    pub(super) async fn blob(&self, digest: &str) -> Result<Response<Incoming>> {
        self.get(
            &format!("/v2/{}/blobs/{digest}", self.reference.repository),
            None,
        )
        .await
    }

    pub(super) async fn small_blob(&self, digest: &str) -> Result<Bytes> {
        document(self.blob(digest).await?).await
    }

    async fn get(&self, path: &str, accept: Option<&str>) -> Result<Response<Incoming>> {
        let uri: Uri = format!("{}{path}", self.endpoint)
            .parse()
            .context("registry address")?;
        let token = self.token.lock().clone();
        let response = self.follow(&uri, accept, token).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.check(&uri, response).await;
        }
        let Some(token) = self.authenticate(&response).await? else {
            return self.check(&uri, response).await;
        };
        *self.token.lock() = Some(token.clone());
        let response = self.follow(&uri, accept, Some(token)).await?;
        self.check(&uri, response).await
    }

    /// Blobs are often redirected to other hosts, which have no business with our token.
    async fn follow(
        &self,
        first: &Uri,
        accept: Option<&str>,
        token: Option<HeaderValue>,
    ) -> Result<Response<Incoming>> {
        let mut uri = first.clone();
        for _ in 0..REDIRECTS {
            let token = token
                .clone()
                .filter(|_| uri.authority() == first.authority());
            let response = self.http.send(&Method::GET, &uri, accept, token).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|l| l.to_str().ok());
            uri = redirect(&uri, location).ok_or_else(|| {
                Error::Image(format!(
                    "registry redirects {uri} to {}",
                    location.unwrap_or("nowhere")
                ))
            })?;
        }
        Err(Error::Image(format!(
            "registry redirects {first} too often"
        )))
    }

    /// Turns a refusal into the words that users of the original know.
    async fn check(&self, uri: &Uri, response: Response<Incoming>) -> Result<Response<Incoming>> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let name = self.reference.name();
        Err(Error::Image(match status {
            StatusCode::NOT_FOUND => format!("{}: not found", self.reference),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let reason = reasons(response).await;
                format!(
                    "pull access denied, repository does not exist or may require authorization: \
                     server message: {}",
                    if reason.is_empty() {
                        format!("{status} for {name}")
                    } else {
                        reason
                    }
                )
            }
            _ => {
                let reason = reasons(response).await;
                let reason = if reason.is_empty() {
                    String::new()
                } else {
                    format!(" - Server message: {reason}")
                };
                format!("unexpected status from GET request to {uri}: {status}{reason}")
            }
        }))
    }

    /// Answers a registry's challenge. `None` when there is nothing to answer it with.
    async fn authenticate(&self, response: &Response<Incoming>) -> Result<Option<HeaderValue>> {
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        for challenge in challenges
            .iter()
            .filter_map(|c| c.to_str().ok())
            .filter_map(Challenge::parse)
        {
            match challenge {
                Challenge::Bearer {
                    realm,
                    service,
                    scope,
                } => {
                    return self.token(&realm, &service, &scope).await.map(Some);
                }
                Challenge::Basic => {
                    if let Some(basic) = self.auth.and_then(basic) {
                        return Ok(Some(basic));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn token(&self, realm: &str, service: &str, scope: &str) -> Result<HeaderValue> {
        #[derive(Deserialize)]
        struct Token {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        let default_scope = format!("repository:{}:pull", self.reference.repository);
        let scope = if scope.is_empty() {
            &default_scope
        } else {
            scope
        };
        let join = if realm.contains('?') { '&' } else { '?' };
        let uri = format!(
            "{realm}{join}service={}&scope={}",
            quote(service),
            quote(scope)
        );
        let uri: Uri = uri.parse().context("token address")?;
        let auth = self.auth.and_then(basic);
        let response = self.follow(&uri, None, auth).await?;
        if !response.status().is_success() {
            let status = response.status();
            let reason = reasons(response).await;
            return Err(Error::Image(format!(
                "failed to authorize: failed to fetch {} token: unexpected status from GET request to {uri}: {status}{}",
                if self.auth.is_some() {
                    "oauth"
                } else {
                    "anonymous"
                },
                if reason.is_empty() {
                    String::new()
                } else {
                    format!(": {reason}")
                }
            )));
        }
        let token: Token = serde_json::from_slice(&document(response).await?).map_err(|error| {
            Error::Image(format!(
                "failed to authorize: token answer is damaged: {error}"
            ))
        })?;
        let token = if token.token.is_empty() {
            token.access_token
        } else {
            token.token
        };
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).context("token")?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn basic(auth: &RegistryAuth) -> Option<HeaderValue> {
    let (user, password) = match (&*auth.username, &*auth.identity_token) {
        ("", "") => return None,
        ("", token) => ("<token>", token),
        (user, _) => (user, &*auth.password),
    };
    let mut header = HeaderValue::try_from(format!(
        "Basic {}",
        STANDARD.encode(format!("{user}:{password}"))
    ))
    .ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Percent-encodes a query value.
fn quote(text: &str) -> String {
    let keep =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b':' | b'/');
    text.bytes()
        .map(|b| {
            if keep(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

fn redirect(from: &Uri, location: Option<&str>) -> Option<Uri> {
    let location = location?;
    if location.starts_with('/') {
        return format!("{}://{}{location}", from.scheme_str()?, from.authority()?)
            .parse()
            .ok();
    }
    let to: Uri = location.parse().ok()?;
    // Nobody may lead us from TLS to plain text.
    let safe = to.scheme_str() == Some("https") || to.scheme() == from.scheme();
    safe.then_some(to)
}

async fn document(response: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(response.into_body(), DOCUMENT_LIMIT).collect();
    match tokio::time::timeout(HEAD_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Error::Image(format!(
            "failed to read the registry's answer: {error}"
        ))),
        Err(_) => Err(Error::Image("timeout reading the registry's answer".into())),
    }
}

/// The messages of an error answer, as registries give them.
async fn reasons(response: Response<Incoming>) -> String {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(body) = document(response).await else {
        return String::new();
    };
    let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
        return String::new();
    };
    let texts: Vec<_> = answer
        .errors
        .iter()
        .map(|r| format!("{}: {}", r.code.to_lowercase(), r.message))
        .collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_in_order() {
        let config = RegistryConfig {
            insecure: vec!["plain.example:80".into()],
            mirrors: [(
                "docker.io".to_owned(),
                vec!["https://mirror.example/".to_owned()],
            )]
            .into(),
            certs: None,
        };
        let urls = |registry: &str| {
            config
                .endpoints(registry)
                .into_iter()
                .map(|(url, _)| url)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            urls("docker.io"),
            ["https://mirror.example", "https://registry-1.docker.io"]
        );
        assert_eq!(urls("localhost:5000"), ["http://localhost:5000"]);
        assert_eq!(urls("127.0.0.1:5000"), ["http://127.0.0.1:5000"]);
        assert_eq!(urls("[::1]:5000"), ["http://[::1]:5000"]);
        assert_eq!(urls("plain.example:80"), ["http://plain.example:80"]);
        assert_eq!(urls("quay.io"), ["https://quay.io"]);
    }

    #[test]
    fn redirects_stay_encrypted() {
        let from: Uri = "https://a.example/v2/x".parse().unwrap();
        let to = |location| redirect(&from, Some(location)).map(|u| u.to_string());
        assert_eq!(to("/y"), Some("https://a.example/y".into()));
        assert_eq!(
            to("https://b.example/z?q=1"),
            Some("https://b.example/z?q=1".into())
        );
        assert_eq!(to("http://b.example/z"), None);
        assert_eq!(redirect(&from, None), None);
    }
}
