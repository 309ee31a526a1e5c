//! Connections of the load: plain hyper over TLS, as little as can be between the load and the server.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::{
    Config,
    client::ConfigExt,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Options;

/// Where the server is and how it is talked to.
#[derive(Clone)]
pub struct Target {
    authority: String,
    name: ServerName<'static>,
    tls: rustls::ClientConfig,
    token: Option<String>,
}

impl Target {
    pub async fn new(options: &Options) -> Result<Target> {
        let kubeconfig = Kubeconfig::read_from(&options.kubeconfig)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let url = &config.cluster_url;
        ensure!(url.scheme_str() == Some("https"), "{url} is not https");
        let host = url.host().context("the server has no host")?;
        let port = url.port_u16().unwrap_or(443);
        Ok(Target {
            authority: format!("{host}:{port}"),
            name: ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?,
            tls: config.rustls_client_config()?,
            token: options.token.clone(),
        })
    }

    /// A connection of its own; HTTP/2 can be shared by cloning.
    pub async fn connect(&self, http2: bool) -> Result<Sender> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![if http2 {
            b"h2".to_vec()
        } else {
            b"http/1.1".to_vec()
        }];
        let tcp = TcpStream::connect(&self.authority).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(tls));
        let io = TokioIo::new(connector.connect(self.name.clone(), tcp).await?);
        let kind = if http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(16 << 20)
                .handshake(io)
                .await?;
            tokio::spawn(connection);
            Kind::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Kind::One(sender)
        };
        Ok(Sender {
            kind,
            authority: self.authority.clone(),
            token: self.token.clone(),
        })
    }
}

enum Kind {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

pub struct Sender {
    kind: Kind,
    authority: String,
    token: Option<String>,
}

impl Sender {
    /// Another one on the same connection; none with HTTP/1.1.
    pub fn share(&self) -> Option<Sender> {
        let Kind::Two(sender) = &self.kind else {
            return None;
        };
        Some(Sender {
            kind: Kind::Two(sender.clone()),
            authority: self.authority.clone(),
            token: self.token.clone(),
        })
    }

    /// Sends a request; the answer's body is still to be read.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "knarr-bench");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let (kind, bytes) = body.unwrap_or_default();
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if matches!(self.kind, Kind::One(_)) {
            request = request.header(header::HOST, &self.authority);
        }
        let request = request.body(Full::new(bytes))?;
        Ok(match &mut self.kind {
            Kind::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Kind::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }

    /// Sends a request and reads the answer. `Err` when it is none of 200, 201, 202.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Bytes> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let text = || String::from_utf8_lossy(&bytes[..bytes.len().min(500)]).into_owned();
        ensure!(status.is_success(), "{path}: {status}: {}", text());
        Ok(bytes)
    }
}
