//! `kube::Client` for every component, shared informers, work queues and event recording.
//!
//! In one process the client talks straight into the API server's service ([`in_process`]); a component that runs alone
//! uses a kubeconfig. The component code is the same.

pub mod events;
pub mod informer;
pub mod queue;

use tower::ServiceExt;

pub use informer::{Change, Informer, Informers};
pub use queue::Queue;

/// A client that calls `service` instead of opening connections. `agent` is its `User-Agent`, by which field owners are named.
pub fn in_process<S, B>(service: S, agent: &'static str) -> kube::Client
where
    S: tower::Service<http::Request<kube::client::Body>, Response = http::Response<B>>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let agent = http::HeaderValue::from_static(agent);
    let service = service.map_request(move |mut request: http::Request<kube::client::Body>| {
        let headers = request.headers_mut();
        headers.insert(http::header::USER_AGENT, agent.clone());
        request
    });
    kube::Client::new(service, "default")
}
