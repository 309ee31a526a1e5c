//! Store, certificates and API server: what `knarr up` and `knarr apiserver` share.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result};
use ipnet::IpNet;
use knarr_api::{Registry, builtin};
use knarr_apiserver::{
    AdmissionConfig, ApiServer, Config, ExtensionAuthentication, FrontProxy, KubeletClient,
    ProxyClient, Tls, TokenConfig, UserInfo,
};
use knarr_bootstrap::{
    addons, files,
    kubeconfig::Entry,
    pki::{Names, Pair, Pki},
};
use knarr_store::{Store, Transformer};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::TcpListener;

use crate::paths::Paths;

/// What the control plane is told.
pub struct Options {
    pub port: u16,
    pub service_cidrs: Vec<IpNet>,
    pub node_name: String,
    /// Addresses of this machine, primary first.
    pub node_ips: Vec<IpAddr>,
    pub cluster_domain: String,
    /// Who signs tokens of service accounts, unless a flag says otherwise.
    pub issuer: String,
    /// Whether API versions are served that Kubernetes serves no more.
    pub legacy_api_versions: bool,
    /// Where objects are kept, when that is not the data directory.
    pub etcd: Option<knarr_store::EtcdOptions>,
    /// Which admission plugins are on.
    pub admission: AdmissionConfig,
    /// Authentication, authorization, audit, encryption.
    pub security: crate::security::Flags,
    /// The identity towards other servers, and how the server stops.
    pub serving: crate::serving::Flags,
}

/// A running control plane.
pub struct ControlPlane {
    pub api: ApiServer,
    pub store: Store,
    pub pki: Pki,
    pub server: String,
}

impl ControlPlane {
    /// Opens the store, starts the API server, listens, and writes the admin kubeconfig.
    pub async fn start(paths: &Paths, options: &Options) -> Result<Self> {
        let pki = Pki::load_or_create(&paths.pki(), &names(options)).context("certificates")?;
        let registry = builtin::registry();
        let heads = knarr_apiserver::head_of(&registry);
        let encryption = options.security.encryption(&registry)?;
        let keyring = encryption
            .as_ref()
            .map(|e| e.keyring.clone() as Arc<dyn Transformer>);
        let store = match &options.etcd {
            Some(etcd) => {
                let mut etcd = etcd.clone();
                etcd.transformer = keyring.clone();
                Store::connect(etcd, heads).await?
            }
            None => {
                let mut embedded = knarr_store::Options::new(&paths.store());
                embedded.transformer = keyring.clone();
                Store::open(embedded, heads).await?
            }
        };
        if let Some(encryption) = &encryption {
            crate::security::follow(encryption, &store);
        }
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.port));
        let listener = TcpListener::bind(any).await.with_context(|| {
            format!(
                "port {} for the API server is taken; free it or choose another",
                options.port
            )
        })?;
        let port = listener.local_addr()?.port();
        let mut config = config(options, &pki, store.clone(), registry, port)?;
        config.encryption = keyring;
        config.flags = crate::flags::shown();
        let api = ApiServer::new(config).await?;
        let tls = match options.security.serving()? {
            Some(tls) => tls,
            None => Tls {
                certificates: certificates(&pki.apiserver)?,
                key: key(&pki.apiserver)?,
            },
        };
        let serving = api.clone();
        tokio::spawn(async move {
            if let Err(error) = serving.serve(listener, tls).await {
                tracing::error!(%error, "the API server stopped serving");
            }
        });
        let server = format!("https://127.0.0.1:{port}");
        let plane = ControlPlane {
            api,
            store,
            pki,
            server,
        };
        let text = plane.kubeconfig_entry().render()?;
        files::write(&paths.admin_kubeconfig(), text.as_bytes(), 0o600)?;
        Ok(plane)
    }

    /// A client of this process for a component, which may do what the user and the group (if any) may.
    pub fn client(&self, user: &str, group: &str, agent: &'static str) -> kube::Client {
        let groups = Some(group).filter(|g| !g.is_empty());
        let user = UserInfo::new(user, groups);
        knarr_client::in_process(self.api.service(user), agent)
    }

    /// The admin's entry for kubeconfigs.
    pub fn kubeconfig_entry(&self) -> Entry<'_> {
        Entry {
            name: crate::kubeconfig::NAME,
            user: crate::kubeconfig::USER,
            server: &self.server,
            ca: &self.pki.ca,
            client: &self.pki.admin,
        }
    }

    /// Ends requests, then makes the store whole.
    pub async fn stop(self) {
        self.api.stop().await;
        self.store.close().await;
    }
}

fn names(options: &Options) -> Names {
    Names {
        node_name: options.node_name.clone(),
        node_ips: options.node_ips.clone(),
        service_ips: options
            .service_cidrs
            .iter()
            .map(|range| addons::api_address(*range))
            .collect(),
        cluster_domain: options.cluster_domain.clone(),
    }
}

fn config(
    options: &Options,
    pki: &Pki,
    store: Store,
    registry: Registry,
    port: u16,
) -> Result<Config> {
    let issuer = options.issuer.clone();
    let ca = CertificateDer::from_pem_slice(pki.ca.as_bytes())
        .map_err(|e| anyhow::anyhow!("ca.crt: {e}"))?;
    let mut config = Config::new(store, registry, options.service_cidrs.clone());
    config.advertise = options
        .node_ips
        .first()
        .map(|ip| SocketAddr::new(*ip, port));
    config.old_versions = options.legacy_api_versions;
    config.client_cas = vec![ca.clone()];
    config.tokens = Some(TokenConfig {
        signing_key_pem: pki.service_account_key.clone(),
        audiences: vec![issuer.clone()],
        issuer,
        ..TokenConfig::default()
    });
    config.admission = options.admission.clone();
    config.proxy_client = Some(ProxyClient {
        certificates: certificates(&pki.front_proxy_client)?,
        key: key(&pki.front_proxy_client)?,
    });
    config.extension_authentication = ExtensionAuthentication {
        client_ca: pki.ca.clone(),
        front_proxy_ca: pki.front_proxy_ca.clone(),
        front_proxy_names: vec!["front-proxy-client".into()],
    };
    config.kubelet = Some(KubeletClient {
        certificates: certificates(&pki.apiserver_kubelet_client)?,
        key: key(&pki.apiserver_kubelet_client)?,
        cas: vec![ca],
    });
    // Servers of other API groups and proxies of users' own are told apart by their authority.
    let front_proxy = CertificateDer::from_pem_slice(pki.front_proxy_ca.as_bytes())
        .map_err(|e| anyhow::anyhow!("front-proxy-ca.crt: {e}"))?;
    config.authentication.front_proxy = Some(FrontProxy {
        cas: vec![front_proxy],
        allowed_names: vec!["front-proxy-client".into()],
        username_headers: vec!["x-remote-user".into()],
        uid_headers: vec!["x-remote-uid".into()],
        group_headers: vec!["x-remote-group".into()],
        extra_prefixes: vec!["x-remote-extra-".into()],
    });
    options.security.apply(&mut config)?;
    options.serving.apply(&mut config)?;
    Ok(config)
}

/// The certificates of a pair, for rustls.
pub fn certificates(pair: &Pair) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| anyhow::anyhow!("certificate: {e}"))
}

/// The key of a pair, for rustls.
pub fn key(pair: &Pair) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|e| anyhow::anyhow!("key: {e}"))
}
