//! HTTP as probes and hooks speak it: one connection per request, any certificate accepted.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use tokio::net::TcpStream;

use super::check::port;

/// As much of an answer as is read.
const MAX_BODY: usize = 10 * 1024;
const MAX_REDIRECTS: usize = 10;
const USER_AGENT: &str = "kube-probe/1.36";

/// Where a request goes and what it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    location: Option<String>,
}

impl Target {
    /// The target of an action on a container of a pod with that address.
    pub fn of(
        get: &HTTPGetAction,
        container: &Container,
        pod_ip: Option<IpAddr>,
    ) -> Result<Self, String> {
        let own = || pod_ip.map(|ip| ip.to_string());
        let host = get
            .host
            .clone()
            .filter(|h| !h.is_empty())
            .or_else(own)
            .ok_or("the pod has no address")?;
        let path = get.path.clone().unwrap_or_default();
        let headers = get
            .http_headers
            .iter()
            .flatten()
            .map(|h| (h.name.clone(), h.value.clone()));
        Ok(Target {
            tls: get
                .scheme
                .as_deref()
                .is_some_and(|s| s.eq_ignore_ascii_case("https")),
            host,
            port: port(&get.port, container)?,
            path: if path.starts_with('/') {
                path
            } else {
                format!("/{path}")
            },
            headers: headers.collect(),
        })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn url(&self) -> String {
        format!(
            "{}://{}{}",
            if self.tls { "https" } else { "http" },
            self.authority(),
            self.path
        )
    }

    /// Where a redirect leads.
    fn redirected(&self, location: &str) -> Option<Target> {
        if let Some(path) = location.strip_prefix('/').filter(|p| !p.starts_with('/')) {
            return Some(Target {
                path: format!("/{path}"),
                ..self.clone()
            });
        }
        let uri: Uri = location.parse().ok()?;
        let tls = uri.scheme_str()? == "https";
        Some(Target {
            tls,
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
            headers: self.headers.clone(),
        })
    }
}

/// An I/O error in the kernel's words, without Rust's additions.
pub fn plain(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// One GET within `timeout`.
///
/// # Errors
/// Why there was no answer.
pub async fn get(target: &Target, timeout: Duration) -> Result<Answer, String> {
    match tokio::time::timeout(timeout, exchange(target)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!(
            "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            target.url()
        )),
    }
}

/// A probe: good is every status from 200 to 399, after redirects within the same host.
///
/// # Errors
/// Why it failed.
pub async fn probe(target: &Target, timeout: Duration) -> Result<String, String> {
    let mut target = target.clone();
    for _ in 0..MAX_REDIRECTS {
        let answer = get(&target, timeout).await?;
        match answer.status {
            301 | 302 | 303 | 307 | 308 => match answer
                .location
                .as_deref()
                .and_then(|l| target.redirected(l))
            {
                Some(next) if next.host == target.host => target = next,
                // Another host is none of the probe's business.
                _ => return Ok(answer.body),
            },
            200..400 => return Ok(answer.body),
            status => return Err(format!("HTTP probe failed with statuscode: {status}")),
        }
    }
    Err(format!(
        "Get \"{}\": stopped after {MAX_REDIRECTS} redirects",
        target.url()
    ))
}

async fn exchange(target: &Target) -> Result<Answer, String> {
    let failed = |why: String| format!("Get \"{}\": {why}", target.url());
    let authority = target.authority();
    let tcp = TcpStream::connect(&authority)
        .await
        .map_err(|e| failed(format!("dial tcp {authority}: connect: {}", plain(&e))))?;
    let answer = if target.tls {
        let name = rustls::pki_types::ServerName::try_from(target.host.clone())
            .map_err(|e| failed(e.to_string()))?;
        let tls = tls_connector()
            .map_err(|e| failed(e.to_string()))?
            .connect(name, tcp)
            .await
            .map_err(|e| failed(e.to_string()))?;
        request(target, TokioIo::new(tls)).await
    } else {
        request(target, TokioIo::new(tcp)).await
    };
    answer.map_err(|e| failed(e.to_string()))
}

async fn request<I>(target: &Target, io: I) -> anyhow::Result<Answer>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(build(target)?).await?;
    let status = response.status().as_u16();
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    connection.abort();
    let body = body
        .map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned())
        .unwrap_or_default();
    Ok(Answer {
        status,
        body,
        location,
    })
}

fn build(target: &Target) -> anyhow::Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(target.path.parse::<Uri>()?);
    let has = |name: &str| {
        target
            .headers
            .iter()
            .any(|(k, _)| k.eq_ignore_ascii_case(name))
    };
    for (name, default) in [
        ("host", target.authority().as_str()),
        ("user-agent", USER_AGENT),
        ("accept", "*/*"),
        ("connection", "close"),
    ] {
        if !has(name) {
            request = request.header(name, default);
        }
    }
    for (name, value) in target.headers.iter().filter(|(_, v)| !v.is_empty()) {
        request = request.header(name, value);
    }
    Ok(request.body(Empty::new())?)
}

fn tls_connector() -> Result<tokio_rustls::TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

/// Probes ask whether somebody answers, not who.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Answers each connection with the next of `answers`.
    async fn serve(answers: Vec<String>) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("listen");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("accept");
                let mut request = [0u8; 2048];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    fn target(port: u16) -> Target {
        Target {
            tls: false,
            host: "127.0.0.1".into(),
            port,
            path: "/".into(),
            headers: vec![],
        }
    }

    fn answer(status: &str, extra: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{extra}Content-Length: 2\r\nConnection: close\r\n\r\nok")
    }

    #[tokio::test]
    async fn statuses_and_redirects() {
        let second = Duration::from_secs(1);
        let good = serve(vec![
            answer("204 No Content", "")
                .replace("Content-Length: 2\r\n", "")
                .replace("ok", ""),
        ])
        .await;
        assert!(probe(&target(good), second).await.is_ok());
        let bad = serve(vec![answer("500 Oh", "")]).await;
        assert_eq!(
            probe(&target(bad), second).await,
            Err("HTTP probe failed with statuscode: 500".into())
        );
        let inside = serve(vec![
            answer("302 Found", "Location: /x\r\n"),
            answer("404 Not Found", ""),
        ])
        .await;
        assert!(probe(&target(inside), second).await.is_err());
        let outside = serve(vec![answer(
            "302 Found",
            "Location: http://example.com/x\r\n",
        )])
        .await;
        assert!(probe(&target(outside), second).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("listen");
        let port = listener.local_addr().expect("address").port();
        drop(listener);
        let error = probe(&target(port), Duration::from_secs(1))
            .await
            .expect_err("refused");
        assert_eq!(
            error,
            format!(
                "Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused"
            )
        );
    }
}
