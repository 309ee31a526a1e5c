//! What answers behind a Service's port: its endpoints, straight, not through the Service's address.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointSlice},
};

use crate::route::{BackendRef, PortRef};

/// The endpoints of one Service port. Requests take them in turn.
#[derive(Debug, Default)]
pub struct Backend {
    pub endpoints: Vec<SocketAddr>,
    /// The Service says that its endpoints speak HTTP/2 without TLS (`appProtocol: kubernetes.io/h2c`).
    pub http2: bool,
    next: AtomicUsize,
}

impl Backend {
    pub fn new(endpoints: Vec<SocketAddr>, http2: bool) -> Self {
        Backend {
            endpoints,
            http2,
            next: AtomicUsize::new(0),
        }
    }

    /// The endpoints in the order to try them, beginning with the one whose turn it is.
    pub fn in_turn(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let count = self.endpoints.len();
        let first = if count == 0 {
            0
        } else {
            self.next.fetch_add(1, Ordering::Relaxed) % count
        };
        (0..count).map(move |i| self.endpoints[(first + i) % count])
    }
}

/// The endpoints behind a reference: those that are ready, or while there is none those that still serve while they end.
pub fn resolve<'a>(
    reference: &BackendRef,
    service: &Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Backend {
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let port = ports.into_iter().find(|p| match &reference.port {
        PortRef::Name(name) => p.name.as_deref() == Some(name),
        PortRef::Number(number) => p.port == i32::from(*number),
    });
    let Some(port) = port else {
        return Backend::default();
    };
    let name = port.name.as_deref().unwrap_or_default();
    let (mut ready, mut ending) = (Vec::new(), Vec::new());
    for slice in slices {
        let found = slice
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_deref().unwrap_or_default() == name);
        let Some(number) = found
            .and_then(|p| p.port)
            .and_then(|p| u16::try_from(p).ok())
        else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let list = match state(endpoint) {
                State::Ready => &mut ready,
                State::Ending => &mut ending,
                State::Unready => continue,
            };
            let addresses = endpoint.addresses.iter().filter_map(|a| a.parse().ok());
            list.extend(addresses.map(|ip| SocketAddr::new(ip, number)));
        }
    }
    let mut endpoints = if ready.is_empty() { ending } else { ready };
    endpoints.sort();
    endpoints.dedup();
    Backend::new(
        endpoints,
        port.app_protocol.as_deref() == Some("kubernetes.io/h2c"),
    )
}

enum State {
    Ready,
    Ending,
    Unready,
}

fn state(endpoint: &Endpoint) -> State {
    let Some(conditions) = &endpoint.conditions else {
        return State::Ready;
    };
    match (
        conditions.ready.unwrap_or(true),
        conditions.serving.unwrap_or(false),
        conditions.terminating.unwrap_or(false),
    ) {
        (true, _, _) => State::Ready,
        (false, true, true) => State::Ending,
        _ => State::Unready,
    }
}

/// A backend that can be looked at while it is replaced.
pub type Shared = Arc<arc_swap::ArcSwap<Backend>>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(endpoints: serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({"metadata": {}, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}]})).unwrap()
    }

    fn found(port: PortRef, endpoints: serde_json::Value) -> Vec<String> {
        let service: Service =
            serde_json::from_value(json!({"spec": {"ports": [{"name": "http", "port": 80}]}}))
                .unwrap();
        let reference = BackendRef {
            namespace: "d".into(),
            service: "s".into(),
            port,
        };
        resolve(&reference, &service, [&slice(endpoints)])
            .endpoints
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn ready_endpoints_or_else_those_that_end() {
        let ready = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}});
        let ending = json!({"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}});
        let unready =
            json!({"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": false}});
        let all = json!([ready, ending, unready]);
        assert_eq!(found(PortRef::Number(80), all.clone()), ["10.0.0.1:8080"]);
        assert_eq!(
            found(PortRef::Name("http".into()), json!([ending, unready])),
            ["10.0.0.2:8080"]
        );
        assert!(found(PortRef::Number(81), all).is_empty());
        assert!(found(PortRef::Number(80), json!([unready])).is_empty());
    }

    #[test]
    fn endpoints_take_turns() {
        let backend = Backend::new(
            vec!["10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap()],
            false,
        );
        let firsts: Vec<_> = (0..4)
            .filter_map(|_| backend.in_turn().next())
            .map(|a| a.ip().to_string())
            .collect();
        assert_eq!(firsts, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]);
        assert_eq!(backend.in_turn().count(), 2);
        assert_eq!(Backend::default().in_turn().count(), 0);
    }
}
