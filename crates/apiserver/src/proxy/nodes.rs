//! Kubelets: where they are, and `nodes/proxy`.

use knarr_api::Status;
use knarr_json::Value;

use super::{
    Named,
    backend::{Backend, Protocol},
    forward, is_allowed,
};
use crate::{
    Outcome,
    body::{RequestBody, Response},
    chain::Call,
    rest::{Target, parse},
};

const DEFAULT_PORT: u16 = 10250;
/// Kinds of a node's addresses, best first.
const PREFERRED: [&str; 5] = [
    "InternalIP",
    "ExternalIP",
    "InternalDNS",
    "ExternalDNS",
    "Hostname",
];

/// Where the kubelet of a node listens.
///
/// # Errors
/// 404 for a node that is not there, 503 for one without an address.
pub fn kubelet(call: &Call, name: &str) -> Outcome<Backend> {
    let stored = call.shared.store.get(&format!("/registry/minions/{name}"));
    let stored = stored.ok_or_else(|| Box::new(Status::not_found("", "nodes", name)))?;
    let node = parse(&stored.json)?;
    let host = address(&node).ok_or_else(|| {
        let why = format!("no preferred addresses found; known addresses: [] for node {name:?}");
        Box::new(Status::failure(503, "ServiceUnavailable", why))
    })?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p > 0)
        .unwrap_or(DEFAULT_PORT);
    Ok(Backend {
        host,
        port,
        protocol: Protocol::Kubelet,
    })
}

fn address(node: &Value) -> Option<String> {
    let addresses = node["status"]["addresses"].as_array()?;
    let of_kind = |kind: &str| addresses.iter().find(|a| a["type"] == kind);
    let found = PREFERRED.iter().find_map(|kind| of_kind(kind))?;
    found["address"].as_str().map(str::to_owned)
}

/// `nodes/NAME/proxy/…`.
pub async fn answer(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let invalid = || {
        Box::new(Status::bad_request(format!(
            "invalid node request {:?}",
            target.name
        )))
    };
    let named = Named::parse(&target.name).ok_or_else(invalid)?;
    let mut backend = kubelet(call, named.name)?;
    if !named.port.is_empty() {
        let port: u16 = named.port.parse().map_err(|_| invalid())?;
        if port != backend.port {
            is_reachable(&backend.host).await?;
            let protocol = if named.is_https() {
                Protocol::Https
            } else {
                Protocol::Http
            };
            backend = Backend {
                port,
                protocol,
                ..backend
            };
        }
    }
    forward::to(call, &backend, body).await
}

/// Checks where a node's address leads, when it is not its kubelet that is asked.
///
/// # Errors
/// 400 for an address that requests are not sent on to.
async fn is_reachable(host: &str) -> Outcome<()> {
    let found = tokio::net::lookup_host((host, 0)).await;
    let found = found.map_err(|e| Box::new(Status::bad_request(e.to_string())))?;
    for address in found {
        if !is_allowed(&address.ip().to_string()) {
            return Err(Status::bad_request("address not allowed").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn internal_addresses_are_preferred() {
        let node = json!({"status": {"addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "1.2.3.4"}]}});
        assert_eq!(address(&node).as_deref(), Some("1.2.3.4"));
        assert_eq!(address(&json!({})), None);
    }
}
