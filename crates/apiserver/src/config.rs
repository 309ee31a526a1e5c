//! What an API server needs to be told.

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use ipnet::IpNet;
use knarr_api::Registry;
use knarr_store::{Store, Transformer};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{
    AuditConfig, AuthenticationConfig, AuthorizationConfig, FlowConfig, ProxyClient, TlsOptions,
    TokenConfig, UserInfo,
};

/// Everything an API server starts from. [`Config::new`] fills in what has a usual value.
pub struct Config {
    pub store: Store,
    pub registry: Registry,
    /// Ranges that cluster IPs come from, primary family first.
    pub service_cidrs: Vec<IpNet>,
    pub node_ports: RangeInclusive<u16>,
    /// Where clients reach this server from inside the cluster: the endpoint of the `kubernetes` Service.
    pub advertise: Option<SocketAddr>,
    /// Authorities of client certificates; empty means that none are taken.
    pub client_cas: Vec<CertificateDer<'static>>,
    pub tokens: Option<TokenConfig>,
    /// Bearer tokens known from the start, with their users.
    pub static_tokens: Vec<(String, UserInfo)>,
    /// This server's identity towards servers of other API groups (see APIService).
    pub proxy_client: Option<ProxyClient>,
    /// What servers of other API groups are told about whom to believe: the ConfigMap
    /// `kube-system/extension-apiserver-authentication`.
    pub extension_authentication: ExtensionAuthentication,
    /// Who is taken for whom, beyond client certificates and service account tokens.
    pub authentication: AuthenticationConfig,
    /// Who is asked whether a user may do something.
    pub authorization: AuthorizationConfig,
    /// What is told of requests, and where to.
    pub audit: AuditConfig,
    /// How many requests are worked on at a time.
    pub flow: FlowConfig,
    /// Certificates by name, versions, ciphers.
    pub tls: TlsOptions,
    /// How likely a request over HTTP/2 ends its connection, so that clients spread over servers; 0 to 0.02.
    pub goaway_chance: f64,
    /// What the store encrypts with, when it does.
    pub encryption: Option<Arc<dyn Transformer>>,
    /// How to reach kubelets; without it logs, exec and the other node proxies answer 503.
    pub kubelet: Option<KubeletClient>,
    /// Which admission plugins are on beyond or without the default ones.
    pub admission: AdmissionConfig,
    /// Whether versions are served that Kubernetes serves no more: `extensions/v1beta1` and the like.
    pub old_versions: bool,
    /// What the process was started with, for those who look at `/flagz`.
    pub flags: BTreeMap<String, String>,
    /// How long events stay after they were written last.
    pub event_ttl: Duration,
    /// After this time a request that is no watch, log or proxy is answered 504.
    pub request_timeout: Duration,
    /// How long requests are still taken after `/readyz` has begun to fail, when the server stops.
    pub shutdown_delay: Duration,
}

/// Admission plugins by their names in the original's flags.
#[derive(Debug, Clone, Default)]
pub struct AdmissionConfig {
    /// `--enable-admission-plugins`
    pub enable: Vec<String>,
    /// `--disable-admission-plugins`
    pub disable: Vec<String>,
    /// `--admission-control-config-file`: settings of PodSecurity, EventRateLimit and ResourceQuota.
    pub config_file: Option<std::path::PathBuf>,
}

/// Authorities, as PEM; empty ones are not told.
#[derive(Debug, Clone, Default)]
pub struct ExtensionAuthentication {
    /// Of client certificates.
    pub client_ca: String,
    /// Of front proxies, such as this server.
    pub front_proxy_ca: String,
    /// Common names that a front proxy may have; empty means any.
    pub front_proxy_names: Vec<String>,
}

/// This server's identity towards kubelets.
pub struct KubeletClient {
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// Authorities of the kubelets' serving certificates; empty means that they are not checked.
    pub cas: Vec<CertificateDer<'static>>,
}

impl Config {
    pub fn new(store: Store, registry: Registry, service_cidrs: Vec<IpNet>) -> Self {
        Config {
            store,
            registry,
            service_cidrs,
            node_ports: 30000..=32767,
            advertise: None,
            client_cas: Vec::new(),
            tokens: None,
            static_tokens: Vec::new(),
            proxy_client: None,
            extension_authentication: ExtensionAuthentication::default(),
            authentication: AuthenticationConfig::default(),
            authorization: AuthorizationConfig::default(),
            audit: AuditConfig::default(),
            flow: FlowConfig::default(),
            tls: TlsOptions::default(),
            goaway_chance: 0.0,
            encryption: None,
            kubelet: None,
            admission: AdmissionConfig::default(),
            old_versions: true,
            flags: BTreeMap::new(),
            event_ttl: Duration::from_secs(3600),
            request_timeout: Duration::from_secs(60),
            shutdown_delay: Duration::ZERO,
        }
    }
}
