//! An API server alone, with a store and a throw-away PKI: for trying it with kubectl and for comparisons.
//!
//! `cargo run -p knarr-apiserver --example serve -- --data-dir DIR [--port PORT]` writes `DIR/admin.kubeconfig`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_apiserver::{ApiServer, Config, Tls, TokenConfig};
use knarr_store::{Options, Store};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

struct Arguments {
    data_dir: PathBuf,
    port: u16,
    old_versions: bool,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut found = Arguments {
        data_dir: PathBuf::new(),
        port: 0,
        old_versions: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| anyhow::anyhow!("{word} needs a value"))
        };
        match word.as_str() {
            "--data-dir" => found.data_dir = value()?.into(),
            "--legacy-api-versions" => found.old_versions = value()?.parse()?,
            "--port" => found.port = value()?.parse()?,
            other => anyhow::bail!("unknown argument {other}"),
        }
    }
    anyhow::ensure!(
        !found.data_dir.as_os_str().is_empty(),
        "--data-dir is needed"
    );
    Ok(found)
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "knarr-example-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Authority {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    fn issue(
        &self,
        name: &str,
        group: &str,
        names: Vec<String>,
        purpose: ExtendedKeyUsagePurpose,
    ) -> anyhow::Result<(rcgen::Certificate, KeyPair)> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        if !group.is_empty() {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }

    fn kubeconfig(&self, address: SocketAddr, dir: &Path) -> anyhow::Result<()> {
        let (certificate, key) = self.issue(
            "admin",
            "system:masters",
            Vec::new(),
            ExtendedKeyUsagePurpose::ClientAuth,
        )?;
        let encode = |text: String| STANDARD.encode(text);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: knarr\nclusters:\n- name: knarr\n  cluster:\n    server: https://{address}\n    certificate-authority-data: {}\ncontexts:\n- name: knarr\n  context: {{cluster: knarr, user: admin}}\nusers:\n- name: admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
            encode(self.certificate.pem()),
            encode(certificate.pem()),
            encode(key.serialize_pem()),
        );
        std::fs::write(dir.join("admin.kubeconfig"), text)?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    std::fs::create_dir_all(&arguments.data_dir)?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await?;
    let address = listener.local_addr()?;
    let registry = knarr_api::builtin::registry();
    let store = Store::open(
        Options::new(&arguments.data_dir.join("store")),
        knarr_apiserver::head_of(&registry),
    )
    .await?;
    let authority = Authority::new()?;
    let mut config = Config::new(store, registry, vec!["10.96.0.0/16".parse()?]);
    config.advertise = Some(SocketAddr::new(
        Ipv4Addr::new(192, 0, 2, 1).into(),
        address.port(),
    ));
    // As the original, unless asked otherwise: this is for comparisons.
    config.old_versions = arguments.old_versions;
    config.client_cas = vec![authority.certificate.der().clone()];
    config.tokens = Some(TokenConfig {
        signing_key_pem: KeyPair::generate()?.serialize_pem(),
        issuer: "https://kubernetes.default.svc".into(),
        audiences: vec!["https://kubernetes.default.svc".into()],
        ..TokenConfig::default()
    });
    let server = ApiServer::new(config).await?;
    let names = vec![
        "localhost".to_owned(),
        "127.0.0.1".into(),
        "kubernetes.default.svc".into(),
    ];
    let (certificate, key) = authority.issue(
        "kube-apiserver",
        "",
        names,
        ExtendedKeyUsagePurpose::ServerAuth,
    )?;
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    authority.kubeconfig(address, &arguments.data_dir)?;
    println!(
        "serving on https://{address}, kubeconfig in {}",
        arguments.data_dir.join("admin.kubeconfig").display()
    );
    let tls = Tls {
        certificates: vec![certificate.der().clone()],
        key,
    };
    tokio::select! {
        ended = server.serve(listener, tls) => ended?,
        _ = tokio::signal::ctrl_c() => server.stop().await,
    }
    Ok(())
}
