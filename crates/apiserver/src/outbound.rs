//! Requests of this server to others: webhooks that a kubeconfig describes, documents of issuers.

use std::{path::Path, time::Duration};

use http::{Method, Request, header};
use http_body_util::BodyExt;
use knarr_json::Value;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// The largest answer that is read.
const LARGEST: usize = 8 << 20;
/// Tries of one question, and the pause before the second.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// Whose certificates are believed.
pub(crate) enum Trust {
    System,
    Only(Vec<CertificateDer<'static>>),
}

impl Trust {
    /// # Errors
    /// When there is no certificate in it.
    pub fn pem(text: &[u8]) -> Result<Self, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        match certificates {
            Ok(list) if !list.is_empty() => Ok(Trust::Only(list)),
            Ok(_) => Err("no certificate in the authority's PEM".into()),
            Err(e) => Err(e.to_string()),
        }
    }
}

type Http = hyper_util::client::legacy::Client<
    hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>,
    http_body_util::Full<bytes::Bytes>,
>;

/// Gets documents over HTTPS.
pub(crate) struct Fetcher(Http);

impl Fetcher {
    /// # Errors
    /// When a certificate is none.
    pub fn new(trust: &Trust) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        match trust {
            Trust::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)
            }
            Trust::Only(list) => roots.add_parsable_certificates(list.iter().cloned()),
        };
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_all_versions()
            .build();
        let executor = hyper_util::rt::TokioExecutor::new();
        Ok(Fetcher(
            hyper_util::client::legacy::Client::builder(executor).build(connector),
        ))
    }

    /// # Errors
    /// When there is no answer, or it is no JSON.
    pub async fn get_json(&self, url: &str) -> Result<Value, String> {
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .body(http_body_util::Full::default())
            .map_err(|e| format!("{url}: {e}"))?;
        let told = |e: &dyn std::fmt::Display| format!("{url}: {e}");
        let response = self.0.request(request).await.map_err(|e| told(&e))?;
        if !response.status().is_success() {
            return Err(told(&response.status()));
        }
        let body = http_body_util::Limited::new(response.into_body(), LARGEST);
        let bytes = body.collect().await.map_err(|e| told(&e))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|e| told(&e))
    }
}

/// A service that a kubeconfig's current cluster describes.
pub(crate) struct Webhook {
    client: kube::Client,
    path: String,
    timeout: Duration,
}

impl Webhook {
    /// # Errors
    /// When the file is none.
    pub async fn from_kubeconfig(file: &Path, timeout: Duration) -> Result<Self, String> {
        let told = |e: kube::config::KubeconfigError| format!("{}: {e}", file.display());
        let parsed = Kubeconfig::read_from(file).map_err(told)?;
        let options = KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(parsed, &options)
            .await
            .map_err(told)?;
        // The client would put a slash behind a path of the base.
        let path = config.cluster_url.path().to_owned();
        let mut parts = config.cluster_url.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        config.cluster_url = http::Uri::from_parts(parts).map_err(|e| e.to_string())?;
        config.connect_timeout = Some(timeout);
        config.read_timeout = Some(timeout);
        let client = kube::Client::try_from(config).map_err(|e| e.to_string())?;
        Ok(Webhook {
            client,
            path,
            timeout,
        })
    }

    /// Posts a question, again when the service is out of reach or says that it is overloaded.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, question: &Value) -> Result<Value, String> {
        let work = async {
            let mut pause = PAUSE;
            for _ in 1..TRIES {
                match self.once(question).await {
                    Err(Failure::Passing(why)) => {
                        tracing::debug!(why, "webhook is asked again");
                        tokio::time::sleep(pause).await;
                        pause = pause.mul_f64(1.5);
                    }
                    Err(Failure::Lasting(why)) => return Err(why),
                    Ok(answer) => return Ok(answer),
                }
            }
            self.once(question).await.map_err(Failure::into_text)
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(answer) => answer,
            Err(_) => Err("context deadline exceeded".into()),
        }
    }

    /// Posts what needs no answer but that it was taken, again after pauses that grow, whatever the failure.
    ///
    /// # Errors
    /// Why it was not taken in the end.
    pub async fn tell(&self, message: &Value, mut pause: Duration) -> Result<(), String> {
        for tries in 1.. {
            let done = tokio::time::timeout(self.timeout, self.post(message)).await;
            let why = match done {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failure)) => failure.into_text(),
                Err(_) => "context deadline exceeded".into(),
            };
            if tries == TRIES {
                return Err(why);
            }
            tracing::debug!(why, "webhook is told again");
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(1.5);
        }
        Ok(())
    }

    async fn once(&self, question: &Value) -> Result<Value, Failure> {
        let bytes = self.post(question).await?;
        serde_json::from_slice(&bytes).map_err(|e| Failure::Lasting(e.to_string()))
    }

    async fn post(&self, question: &Value) -> Result<bytes::Bytes, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver")
            .body(kube::client::Body::from(question.to_string().into_bytes()))
            .map_err(|e| Failure::Lasting(e.to_string()))?;
        let passing = |e: &dyn std::fmt::Display| Failure::Passing(e.to_string());
        let response = self.client.send(request).await.map_err(|e| passing(&e))?;
        let status = response.status();
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(passing(&status));
        }
        if !status.is_success() {
            return Err(Failure::Lasting(status.to_string()));
        }
        let body = http_body_util::Limited::new(response.into_body(), LARGEST);
        let body = body.collect().await.map_err(|e| passing(&e))?;
        Ok(body.to_bytes())
    }
}

/// Why there was no answer, and whether asking again may help.
enum Failure {
    Passing(String),
    Lasting(String),
}

impl Failure {
    fn into_text(self) -> String {
        match self {
            Failure::Passing(why) | Failure::Lasting(why) => why,
        }
    }
}
