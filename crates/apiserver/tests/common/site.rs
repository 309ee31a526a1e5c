//! An HTTPS server on the loopback that answers JSON: issuers of tokens, webhooks that are described by a kubeconfig.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use knarr_json::Value;
use rcgen::ExtendedKeyUsagePurpose;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use super::Authority;

/// What a site says to a path and a body; its own URL is given. A bare number is a code to fail with.
type Answer = dyn Fn(&str, &str, &Value) -> Value + Send + Sync;

pub struct Site {
    pub url: String,
    pub ca: String,
    seen: Arc<Mutex<Vec<Value>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Site {
    pub async fn start(
        answer: impl Fn(&str, &str, &Value) -> Value + Send + Sync + 'static,
    ) -> Self {
        super::crypto();
        let authority = Authority::new();
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        let (certificate, key) = authority.issue("site", &[], &["127.0.0.1"], purpose);
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::<Mutex<Vec<Value>>>::default();
        let (answer, kept, own): (Arc<Answer>, _, _) =
            (Arc::new(answer), seen.clone(), url.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, seen, own) =
                    (acceptor.clone(), answer.clone(), kept.clone(), own.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service =
                        hyper::service::service_fn(move |request: http::Request<Incoming>| {
                            let (answer, seen, own) = (answer.clone(), seen.clone(), own.clone());
                            async move {
                                let path = request.uri().path().to_owned();
                                let bytes = request.into_body().collect().await?.to_bytes();
                                let body = serde_json::from_slice(&bytes).unwrap_or_default();
                                let said = answer(&own, &path, &body);
                                seen.lock().unwrap().push(body);
                                let mut response =
                                    http::Response::new(Full::new(Bytes::from(said.to_string())));
                                let code = said.as_u64().and_then(|c| u16::try_from(c).ok());
                                if let Some(code) =
                                    code.and_then(|c| http::StatusCode::from_u16(c).ok())
                                {
                                    *response.status_mut() = code;
                                }
                                Ok::<_, hyper::Error>(response)
                            }
                        });
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Site {
            url,
            ca: authority.certificate.pem(),
            seen,
            serving,
        }
    }

    /// The bodies so far.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    /// Writes a kubeconfig that leads to `path` here.
    pub fn kubeconfig(&self, dir: &Path, path: &str) -> PathBuf {
        let file = dir.join(format!("site-{}.kubeconfig", path.trim_matches('/')));
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: t, clusters: [{{name: t, cluster: {{server: '{}{path}', certificate-authority-data: {}}}}}], contexts: [{{name: t, context: {{cluster: t, user: t}}}}], users: [{{name: t, user: {{}}}}]}}",
            self.url,
            STANDARD.encode(&self.ca)
        );
        std::fs::write(&file, text).unwrap();
        file
    }
}
