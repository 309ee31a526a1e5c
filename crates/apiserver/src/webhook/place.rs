//! Where a `clientConfig` leads.

use std::sync::Arc;

use knarr_json::Value;
use knarr_store::{Range, Store};

const DEFAULT_PORT: u16 = 443;

/// A `clientConfig`: who is asked, and whom we believe that it is he.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientConfig {
    pub place: Place,
    /// PEM, base64-encoded as objects hold it; empty means the authorities of the system.
    pub ca_bundle: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Url(Arc<str>),
    Service {
        namespace: Arc<str>,
        name: Arc<str>,
        port: u16,
        /// Starts with `/`.
        path: Arc<str>,
    },
    /// Neither is told.
    Nowhere,
}

impl ClientConfig {
    /// From the `clientConfig` of a webhook.
    pub fn of(config: &Value) -> Self {
        let ca_bundle = config["caBundle"].as_str().unwrap_or_default().into();
        let text = |value: &Value| -> Arc<str> { value.as_str().unwrap_or_default().into() };
        let service = &config["service"];
        let place = if service.is_object() {
            let path = service["path"].as_str().unwrap_or_default();
            Place::Service {
                namespace: text(&service["namespace"]),
                name: text(&service["name"]),
                port: port(&service["port"]).unwrap_or(DEFAULT_PORT),
                path: format!("/{}", path.trim_start_matches('/')).into(),
            }
        } else {
            match config["url"].as_str() {
                Some(url) if !url.is_empty() => Place::Url(url.into()),
                _ => Place::Nowhere,
            }
        };
        ClientConfig { place, ca_bundle }
    }

    /// What requests are sent to, without query.
    ///
    /// # Errors
    /// When neither a service nor a URL is told.
    pub fn url(&self) -> Result<String, String> {
        match &self.place {
            Place::Url(url) => Ok(url.to_string()),
            Place::Service {
                namespace,
                name,
                port,
                path,
            } => Ok(format!("https://{name}.{namespace}.svc:{port}{path}")),
            Place::Nowhere => {
                Err("webhook configuration must have either service or URL".to_owned())
            }
        }
    }

    /// The name that the server's certificate must be for, when it is not the host of the URL.
    pub fn server_name(&self) -> Option<String> {
        match &self.place {
            Place::Service {
                namespace, name, ..
            } => Some(format!("{name}.{namespace}.svc")),
            _ => None,
        }
    }
}

fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|p| u16::try_from(p).ok())
}

/// Where a Service is reached from here: one of its ready endpoints, drawn by lot, or the name it stands for. Endpoints are
/// taken rather than the cluster IP, so that this works where no proxy runs.
///
/// # Errors
/// When there is no such Service, port or endpoint.
pub(crate) fn resolve(
    store: &Store,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<(String, u16), String> {
    let stored = store.get(&format!("/registry/services/specs/{namespace}/{name}"));
    let stored = stored.ok_or_else(|| format!("service {name:?} not found"))?;
    let service: Value = serde_json::from_slice(&stored.json).map_err(|e| e.to_string())?;
    let spec = &service["spec"];
    if spec["type"] == "ExternalName" {
        let host = spec["externalName"].as_str().unwrap_or_default();
        return Ok((host.to_owned(), port));
    }
    let wanted = spec["ports"].as_array().into_iter().flatten();
    let wanted = wanted
        .filter(|p| p["port"].as_u64() == Some(port.into()))
        .find(|p| matches!(p["protocol"].as_str(), None | Some("TCP")));
    let wanted =
        wanted.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let port_name = wanted["name"].as_str().unwrap_or_default();
    let found = endpoints(store, namespace, name, port_name);
    if found.is_empty() {
        return Err(format!("no endpoints available for service {name:?}"));
    }
    Ok(found[rand::random_range(0..found.len())].clone())
}

/// Ready endpoints of a port of a Service.
fn endpoints(store: &Store, namespace: &str, service: &str, port: &str) -> Vec<(String, u16)> {
    let listing = store.list(Range {
        prefix: &format!("/registry/endpointslices/{namespace}/"),
        ..Range::default()
    });
    let slices = listing.map(|l| l.items).unwrap_or_default();
    let own =
        |s: &&Arc<knarr_store::Stored>| s.head.label("kubernetes.io/service-name") == Some(service);
    let mut out = Vec::new();
    for stored in slices.iter().filter(own) {
        let slice: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
        out.extend(of_slice(&slice, port));
    }
    out
}

fn of_slice(slice: &Value, port_name: &str) -> Vec<(String, u16)> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let number = ports
        .filter(|p| p["name"].as_str().unwrap_or_default() == port_name)
        .find_map(|p| port(&p["port"]));
    let Some(number) = number else {
        return Vec::new();
    };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints
        .filter(|e| e["conditions"]["ready"] != false)
        .filter_map(|e| e["addresses"][0].as_str())
        .map(|address| (address.to_owned(), number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn configs_lead_somewhere() {
        let table = [
            (json!({"url": "https://h:1/p?x=1"}), Ok("https://h:1/p?x=1")),
            (
                json!({"service": {"namespace": "n", "name": "s"}}),
                Ok("https://s.n.svc:443/"),
            ),
            (
                json!({"service": {"namespace": "n", "name": "s", "port": 8443, "path": "/a/b"}}),
                Ok("https://s.n.svc:8443/a/b"),
            ),
            (
                json!({}),
                Err("webhook configuration must have either service or URL"),
            ),
        ];
        for (config, wanted) in table {
            let url = ClientConfig::of(&config).url();
            assert_eq!(url.as_deref().map_err(String::as_str), wanted, "{config}");
        }
    }

    #[test]
    fn only_ready_endpoints_of_the_port_count() {
        let slice = json!({
            "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"]},
            ],
        });
        assert_eq!(
            of_slice(&slice, "b"),
            [("10.0.0.1".to_owned(), 2), ("10.0.0.3".to_owned(), 2)]
        );
        assert!(of_slice(&slice, "").is_empty());
    }
}
