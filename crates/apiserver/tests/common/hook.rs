//! A webhook server with TLS on the loopback.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use knarr_json::{Value, json};
use rcgen::ExtendedKeyUsagePurpose;
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use super::Authority;

type Answer = dyn Fn(&Value) -> Value + Send + Sync;

/// Answers every review with what a closure makes of its request, and remembers the reviews.
pub struct Hook {
    pub address: SocketAddr,
    pub ca_bundle: String,
    seen: Arc<Mutex<Vec<Value>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer that lets the request pass.
pub fn yes() -> Value {
    json!({"allowed": true})
}

/// An answer that changes the object.
pub fn patch(operations: Value) -> Value {
    let patch = STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}

impl Hook {
    /// Answers admission reviews: the closure makes the response of the request.
    pub async fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        Self::reviews(move |review| {
            let mut response = answer(&review["request"]);
            response["uid"] = review["request"]["uid"].clone();
            let (sleep, fail) = (response["sleep"].clone(), response["fail"].clone());
            json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response, "sleep": sleep, "fail": fail})
        })
        .await
    }

    /// Answers reviews of any kind: the closure makes the whole answer. Beside it may stand `sleep`, seconds to wait;
    /// `fail`, a code to fail with; `text`, a body in place of JSON.
    /// Its certificate is for the loopback and for the Service `hook` in `default`.
    pub async fn reviews(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        super::crypto();
        let authority = Authority::new();
        let names = ["127.0.0.1", "localhost", "hook.default.svc"];
        let (certificate, key) =
            authority.issue("hook", &[], &names, ExtendedKeyUsagePurpose::ServerAuth);
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Value>>>::default();
        let (acceptor, answer): (_, Arc<Answer>) =
            (TlsAcceptor::from(Arc::new(config)), Arc::new(answer));
        let kept = seen.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, seen) = (acceptor.clone(), answer.clone(), kept.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = hyper::service::service_fn(move |request| {
                        respond(request, answer.clone(), seen.clone())
                    });
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Hook {
            address,
            ca_bundle: STANDARD.encode(authority.certificate.pem()),
            seen,
            serving,
        }
    }

    /// A `clientConfig` that leads here by URL.
    pub fn by_url(&self) -> Value {
        json!({"url": format!("https://{}/review", self.address), "caBundle": self.ca_bundle})
    }

    /// The requests of the reviews so far.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }
}

async fn respond(
    request: http::Request<Incoming>,
    answer: Arc<Answer>,
    seen: Arc<Mutex<Vec<Value>>>,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let version = request.version();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let mut answered = answer(&review);
    if let Some(seconds) = answered["sleep"].as_u64() {
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    }
    let mut asked = review["request"].clone();
    asked["http"] = json!(format!("{version:?} {query} {}", review["apiVersion"]));
    seen.lock().unwrap().push(asked);
    if let Some(code) = answered["fail"].as_u64() {
        let failed = http::Response::builder().status(u16::try_from(code).unwrap());
        return Ok(failed.body(Full::new("no".into())).unwrap());
    }
    if let Some(text) = answered["text"].as_str() {
        return Ok(http::Response::new(Full::new(text.to_owned().into())));
    }
    for key in ["sleep", "fail", "text"] {
        answered.as_object_mut().unwrap().remove(key);
    }
    Ok(http::Response::new(Full::new(answered.to_string().into())))
}
