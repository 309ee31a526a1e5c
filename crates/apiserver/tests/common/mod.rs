//! A server on a free port of the loopback, with a PKI and a directory of its own.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Once,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_apiserver::{ApiServer, Config, ProxyClient, Tls, TokenConfig, UserInfo};
use knarr_store::{Options, Store};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

pub mod hook;
pub mod request;
pub mod site;

pub struct Server {
    pub api: ApiServer,
    pub store: Store,
    pub address: SocketAddr,
    authority: Authority,
    serving: tokio::task::JoinHandle<()>,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: rcgen::Certificate,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "test-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub fn issue(
        &self,
        name: &str,
        groups: &[&str],
        names: &[&str],
        purpose: ExtendedKeyUsagePurpose,
    ) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params
                .distinguished_name
                .push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

pub fn crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

impl Server {
    /// Starts a server whose store is in `dir`.
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, |_| {}).await
    }

    /// The same with a configuration that `change` has seen.
    pub async fn start_with(dir: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let options = Options::new(&dir.join("store"));
        let heads = knarr_apiserver::head_of(&knarr_api::builtin::registry());
        let store = Store::open(options, heads).await.unwrap();
        Self::start_on(store, change).await
    }

    /// Starts a server on a store that is open.
    pub async fn start_on(store: Store, change: impl FnOnce(&mut Config)) -> Self {
        crypto();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let registry = knarr_api::builtin::registry();
        let authority = Authority::new();
        let mut config = Config::new(
            store.clone(),
            registry,
            vec!["10.96.0.0/16".parse().unwrap()],
        );
        config.advertise = Some(SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 6443));
        config.client_cas = vec![authority.certificate.der().clone()];
        config.static_tokens = vec![("sesame".into(), UserInfo::new("ali", ["forty"]))];
        config.tokens = Some(TokenConfig {
            signing_key_pem: KeyPair::generate().unwrap().serialize_pem(),
            issuer: "https://kubernetes.default.svc".into(),
            audiences: vec!["https://kubernetes.default.svc".into()],
            ..TokenConfig::default()
        });
        change(&mut config);
        let (certificate, key) = authority.issue(
            "front-proxy-client",
            &[],
            &[],
            ExtendedKeyUsagePurpose::ClientAuth,
        );
        config.proxy_client = Some(ProxyClient {
            certificates: vec![certificate.der().clone()],
            key: PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        });
        config.extension_authentication.client_ca = authority.certificate.pem();
        config.extension_authentication.front_proxy_ca = authority.certificate.pem();
        config.shutdown_delay = std::time::Duration::from_millis(200);
        let api = ApiServer::new(config).await.unwrap();
        let (certificate, key) = authority.issue(
            "kube-apiserver",
            &[],
            &["127.0.0.1"],
            ExtendedKeyUsagePurpose::ServerAuth,
        );
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let tls = Tls {
            certificates: vec![certificate.der().clone()],
            key,
        };
        let server = api.clone();
        let serving = tokio::spawn(async move { server.serve(listener, tls).await.unwrap() });
        Server {
            api,
            store,
            address,
            authority,
            serving,
        }
    }

    /// A serving certificate for these names, and the authority behind it, PEM.
    pub fn serving(&self, names: &[&str]) -> (Tls, String) {
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        let (certificate, key) = self.authority.issue("server", &[], names, purpose);
        let tls = Tls {
            certificates: vec![certificate.der().clone()],
            key: PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        };
        (tls, self.authority.certificate.pem())
    }

    /// A kubeconfig for a user with a client certificate.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> String {
        let (certificate, key) =
            self.authority
                .issue(user, groups, &[], ExtendedKeyUsagePurpose::ClientAuth);
        let user = format!(
            "client-certificate-data: {}, client-key-data: {}",
            STANDARD.encode(certificate.pem()),
            STANDARD.encode(key.serialize_pem())
        );
        self.kubeconfig_with(&user)
    }

    fn kubeconfig_with(&self, user: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: t, clusters: [{{name: t, cluster: {{server: 'https://{}', certificate-authority-data: {}}}}}], contexts: [{{name: t, context: {{cluster: t, user: t}}}}], users: [{{name: t, user: {{{user}}}}}]}}",
            self.address,
            STANDARD.encode(self.authority.certificate.pem()),
        )
    }

    /// A kubeconfig for this server with a client certificate of another one's authority.
    pub fn kubeconfig_of(&self, other: &Server, user: &str, groups: &[&str]) -> String {
        let purpose = ExtendedKeyUsagePurpose::ClientAuth;
        let (certificate, key) = other.authority.issue(user, groups, &[], purpose);
        self.kubeconfig_with(&format!(
            "client-certificate-data: {}, client-key-data: {}",
            STANDARD.encode(certificate.pem()),
            STANDARD.encode(key.serialize_pem())
        ))
    }

    async fn client_of(kubeconfig: &str) -> kube::Client {
        let parsed = Kubeconfig::from_yaml(kubeconfig).unwrap();
        let mut config =
            kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
                .await
                .unwrap();
        // Refusals are what is looked at.
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    /// Over HTTPS, with a client certificate.
    pub async fn client(&self, user: &str, groups: &[&str]) -> kube::Client {
        Self::client_of(&self.kubeconfig(user, groups)).await
    }

    pub async fn admin(&self) -> kube::Client {
        self.client("admin", &["system:masters"]).await
    }

    /// Over HTTPS, without credentials.
    pub async fn nobody(&self) -> kube::Client {
        Self::client_of(&self.kubeconfig_with("")).await
    }

    /// The authority of clients and servers.
    pub fn ca(&self) -> rustls_pki_types::CertificateDer<'static> {
        self.authority.certificate.der().clone()
    }

    /// Over HTTPS, with a bearer token.
    pub async fn bearer(&self, token: &str) -> kube::Client {
        Self::client_of(&self.kubeconfig_with(&format!("token: {token}"))).await
    }

    pub async fn stop(self) {
        self.api.stop().await;
        let _ = self.serving.await;
        drop(self.api);
        self.store.close().await;
    }
}

/// A client by a kubeconfig.
pub async fn client_of(kubeconfig: &str) -> kube::Client {
    Server::client_of(kubeconfig).await
}
