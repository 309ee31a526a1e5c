//! Which certificate a TLS client sees: by the name it asks for (SNI), from Secrets of type `kubernetes.io/tls`.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Secret;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Certificates by host, lower case; wildcards as `*.example.com`.
pub type ByHost = HashMap<String, Arc<CertifiedKey>>;

/// Picks certificates. What it holds can be replaced while it serves.
#[derive(Debug)]
pub struct Certificates {
    by_host: ArcSwap<ByHost>,
    /// Shown where no certificate fits, so that the client sees what is wrong rather than a broken connection.
    fallback: Arc<CertifiedKey>,
}

impl Certificates {
    /// # Errors
    /// When the fallback certificate cannot be made.
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["ingress.knarr.invalid".to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|e| anyhow::anyhow!("{e}"))?;
        let fallback = certified(vec![made.cert.der().clone()], key)?;
        Ok(Certificates {
            by_host: ArcSwap::default(),
            fallback: Arc::new(fallback),
        })
    }

    pub fn replace(&self, by_host: ByHost) {
        self.by_host.store(Arc::new(by_host));
    }

    fn pick(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let by_host = self.by_host.load();
        let found = name.and_then(|name| {
            let wildcard = || {
                name.find('.')
                    .and_then(|dot| by_host.get(&format!("*{}", &name[dot..])))
            };
            by_host.get(name).or_else(wildcard)
        });
        found.unwrap_or(&self.fallback).clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pick(hello.server_name().map(str::to_ascii_lowercase).as_deref()))
    }
}

/// Server settings: HTTP/2 and HTTP/1.1 by ALPN, certificates by SNI.
///
/// # Errors
/// When the crypto library lacks a protocol version, which it does not.
pub fn server_config(certificates: Arc<Certificates>) -> Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificate of a Secret.
///
/// # Errors
/// When `tls.crt` or `tls.key` is missing or does not parse, or they do not belong together.
pub fn from_secret(secret: &Secret) -> Result<Arc<CertifiedKey>> {
    let field = |name: &str| {
        let data = secret.data.as_ref().and_then(|d| d.get(name));
        data.map(|bytes| bytes.0.as_slice())
            .with_context(|| format!("no {name}"))
    };
    let chain = CertificateDer::pem_slice_iter(field("tls.crt")?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| anyhow::anyhow!("tls.crt: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(field("tls.key")?)
        .map_err(|e| anyhow::anyhow!("tls.key: {e}"))?;
    Ok(Arc::new(certified(chain, key)?))
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey> {
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
    certified.keys_match().context("key and certificate")?;
    Ok(certified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(host: &str) -> Secret {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
        let data = [
            ("tls.crt", made.cert.pem()),
            ("tls.key", made.signing_key.serialize_pem()),
        ];
        Secret {
            data: Some(
                data.map(|(k, v)| (k.to_owned(), ByteString(v.into_bytes())))
                    .into(),
            ),
            ..Secret::default()
        }
    }

    #[test]
    fn names_pick_exact_then_wildcard_then_fallback() {
        let certificates = Certificates::new().unwrap();
        let (exact, wild) = (
            from_secret(&secret("a.test")).unwrap(),
            from_secret(&secret("*.test")).unwrap(),
        );
        certificates.replace(
            [
                ("a.test".to_owned(), exact.clone()),
                ("*.test".to_owned(), wild.clone()),
            ]
            .into(),
        );
        assert!(Arc::ptr_eq(&certificates.pick(Some("a.test")), &exact));
        assert!(Arc::ptr_eq(&certificates.pick(Some("b.test")), &wild));
        for other in [Some("b.c.test"), Some("test"), None] {
            assert!(
                Arc::ptr_eq(&certificates.pick(other), &certificates.fallback),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_bad_secret_is_an_error() {
        let (mut a, b) = (secret("a.test"), secret("b.test"));
        assert!(from_secret(&Secret::default()).is_err());
        let key = b.data.unwrap().remove("tls.key").unwrap();
        a.data.as_mut().unwrap().insert("tls.key".to_owned(), key);
        assert!(from_secret(&a).is_err());
    }
}
