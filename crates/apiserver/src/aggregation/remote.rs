//! A server that serves an API group for this one, as its APIService describes it.

use std::{cmp::Reverse, sync::Arc};

use knarr_json::Value;
use rustls::{ClientConfig, crypto::CryptoProvider};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsConnector;

use crate::{proxy::backend::Unchecked, webhook};

/// This server's identity towards servers that it sends requests on to (`--proxy-client-cert-file`,
/// `--proxy-client-key-file`), and what they are told about whom to believe.
pub struct ProxyClient {
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

pub(crate) struct Remote {
    /// Name of the APIService: version, dot, group.
    pub name: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub service: String,
    pub port: u16,
    pub available: bool,
    /// TLS as the APIService wants it, or why there is none.
    pub connector: Result<TlsConnector, String>,
    group_priority: i64,
    version_priority: i64,
}

/// The port of an APIService that tells none.
const DEFAULT_PORT: u16 = 443;

impl Remote {
    /// None for an APIService that is served here.
    pub fn new(object: &Value, identity: Option<&ProxyClient>) -> Option<Self> {
        let spec = &object["spec"];
        let service = spec["service"].as_object()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let port = service.get("port").and_then(Value::as_u64);
        let conditions = object["status"]["conditions"].as_array();
        let available = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Available" && c["status"] == "True");
        let skip = spec["insecureSkipTLSVerify"] == true;
        let bundle = spec["caBundle"].as_str().unwrap_or_default();
        Some(Remote {
            name: text(&object["metadata"]["name"]),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            namespace: text(service.get("namespace")?),
            service: text(service.get("name")?),
            port: port
                .and_then(|p| u16::try_from(p).ok())
                .unwrap_or(DEFAULT_PORT),
            available,
            connector: connector((!skip).then_some(bundle), identity),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
        })
    }

    /// The name that the server's certificate must be for.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// `/apis/GROUP/VERSION`.
    pub fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }

    /// What remotes are sorted by.
    pub fn order(&self) -> (Reverse<i64>, &str, Reverse<i64>, &str) {
        (
            Reverse(self.group_priority),
            &self.group,
            Reverse(self.version_priority),
            &self.version,
        )
    }
}

/// TLS that believes the authorities of a bundle, or anyone when there is none to check with.
pub fn connector(
    bundle: Option<&str>,
    identity: Option<&ProxyClient>,
) -> Result<TlsConnector, String> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match bundle {
        Some(bundle) => builder.with_root_certificates(webhook::roots(bundle)?),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked(provider))),
    };
    let config = match identity {
        Some(own) => builder
            .with_client_auth_cert(own.certificates.clone(), own.key.clone_key())
            .map_err(|e| e.to_string())?,
        None => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn only_services_are_remote() {
        assert!(Remote::new(&json!({"spec": {"group": "apps", "version": "v1"}}), None).is_none());
        let object = json!({"metadata": {"name": "v1.x.io"}, "spec": {"group": "x.io", "version": "v1", "insecureSkipTLSVerify": true,
            "service": {"name": "s", "namespace": "n"}}, "status": {"conditions": [{"type": "Available", "status": "True"}]}});
        let remote = Remote::new(&object, None).unwrap();
        assert_eq!(
            (remote.port, remote.available, remote.server_name().as_str()),
            (443, true, "s.n.svc")
        );
        assert!(remote.connector.is_ok());
        let mut broken = object;
        broken["spec"]["insecureSkipTLSVerify"] = false.into();
        broken["spec"]["caBundle"] = "bm90IGEgY2VydA==".into();
        assert!(Remote::new(&broken, None).unwrap().connector.is_err());
    }
}
