//! Requests that lead out of the API: logs, exec, attach and port-forward to kubelets; proxies to nodes, pods, services.

use http::Method;

use crate::{
    KubeletClient, Outcome,
    body::{RequestBody, Response},
    chain::Call,
    respond,
    rest::Target,
};

/// Connections to kubelets.
pub(crate) struct Kubelets {
    _client: Option<KubeletClient>,
}

impl Kubelets {
    pub fn new(client: Option<KubeletClient>) -> Result<Self, String> {
        Ok(Kubelets { _client: client })
    }
}

/// Whether such a subresource takes this method.
pub fn takes(name: &str, method: &Method) -> bool {
    match name {
        "log" => method == Method::GET,
        "exec" | "attach" | "portforward" => matches!(*method, Method::GET | Method::POST),
        _ => true,
    }
}

/// # Errors
/// 503 while there is no way to kubelets.
pub async fn answer(_call: &Call, _target: &Target, _body: RequestBody) -> Outcome<Response> {
    Err(respond::general(503, "ServiceUnavailable", "no way to kubelets").into())
}
