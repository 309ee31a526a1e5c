//! Connections to kubelets and to what runs in pods.

use std::{sync::Arc, time::Duration};

use http::{Request, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use knarr_api::Status;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{KubeletClient, Outcome, body::RequestBody, serve, webhook::dial_words};

/// How long a backend may take to accept a connection.
pub(crate) const DIAL: Duration = Duration::from_secs(30);
/// How long it may take for TLS after that.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
pub(crate) const HANDSHAKE_TIMEOUT: &str = "net/http: TLS handshake timeout";

/// How kubelets and HTTPS backends are spoken to.
pub(crate) struct Kubelets {
    kubelet: Option<TlsConnector>,
    /// For pods and services, whose certificates nobody here can judge.
    unchecked: TlsConnector,
}

impl Kubelets {
    /// # Errors
    /// When the client certificate cannot be used.
    pub fn new(client: Option<KubeletClient>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let unchecked = unchecked(&provider)?.with_no_client_auth();
        let kubelet = client.map(|c| kubelet_config(&provider, c)).transpose()?;
        let connector = |config: ClientConfig| TlsConnector::from(Arc::new(config));
        Ok(Kubelets {
            kubelet: kubelet.map(connector),
            unchecked: connector(unchecked),
        })
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn unchecked(provider: &Arc<CryptoProvider>) -> Result<Builder, String> {
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let verifier = Arc::new(Unchecked(provider.clone()));
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn kubelet_config(
    provider: &Arc<CryptoProvider>,
    client: KubeletClient,
) -> Result<ClientConfig, String> {
    let builder = if client.cas.is_empty() {
        unchecked(provider)?
    } else {
        let mut roots = RootCertStore::empty();
        for ca in client.cas {
            roots.add(ca).map_err(|e| e.to_string())?;
        }
        ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
    };
    builder
        .with_client_auth_cert(client.certificates, client.key)
        .map_err(|e| e.to_string())
}

/// Takes any certificate: encryption without knowing with whom, as proxies to pods have always had it.
#[derive(Debug)]
pub(crate) struct Unchecked(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Where a request is sent on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backend {
    pub host: String,
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Https,
    /// HTTPS with this server's own certificate.
    Kubelet,
}

impl Backend {
    /// The address as a URL has it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Sends a request; its path is the backend's.
    ///
    /// # Errors
    /// 503 when the backend cannot be reached, or this server has no way to kubelets.
    pub async fn send(
        &self,
        kubelets: &Kubelets,
        request: Request<RequestBody>,
    ) -> Outcome<http::Response<Incoming>> {
        self.ask(kubelets, request).await.map_err(|why| {
            let message = format!("error trying to reach service: {why}");
            Box::new(Status::failure(503, "ServiceUnavailable", message))
        })
    }

    /// [`Backend::send`], for who has other words around what goes wrong.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(
        &self,
        kubelets: &Kubelets,
        request: Request<RequestBody>,
    ) -> Result<http::Response<Incoming>, String> {
        let dial = TcpStream::connect((self.host.trim_matches(['[', ']']), self.port));
        let failed = |why: String| format!("dial tcp {}: {why}", self.authority());
        let stream = tokio::time::timeout(DIAL, dial)
            .await
            .map_err(|_| failed("i/o timeout".to_owned()))?
            .map_err(|error| failed(dial_words(&error)))?;
        serve::prepare(&stream);
        let connector = match self.protocol {
            Protocol::Http => return exchange(stream, request).await,
            Protocol::Https => &kubelets.unchecked,
            Protocol::Kubelet => kubelets
                .kubelet
                .as_ref()
                .ok_or("this server has no client certificate for kubelets")?,
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
        let shaken = tokio::time::timeout(HANDSHAKE, connector.connect(name, stream)).await;
        let stream = shaken
            .map_err(|_| HANDSHAKE_TIMEOUT)?
            .map_err(|e| e.to_string())?;
        exchange(stream, request).await
    }
}

pub(crate) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<RequestBody>,
) -> Result<http::Response<Incoming>, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a backend");
        }
    });
    sender
        .send_request(request)
        .await
        .map_err(|e| e.to_string())
}

/// A path and query as a URI.
///
/// # Errors
/// 400 when it is none.
pub(crate) fn uri(path_and_query: &str) -> Outcome<Uri> {
    path_and_query
        .parse()
        .map_err(|e| Status::bad_request(format!("{path_and_query}: {e}")).into())
}

/// The answer of a backend as this server's.
pub(crate) fn passed(response: http::Response<Incoming>) -> crate::body::Response {
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}
