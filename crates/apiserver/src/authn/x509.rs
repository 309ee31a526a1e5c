//! Client certificates: the common name is the user, each organization a group.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::UserInfo;

/// Subject attribute that holds a user's uid (KEP-5284's neighbour, v1.34).
const UID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

/// What a connection's certificate tells.
#[derive(Debug, Clone, Default)]
pub enum Shown {
    #[default]
    None,
    /// Signed by an authority of clients, of front proxies, or both, until a time (seconds since the epoch).
    Verified {
        /// Signed by an authority of clients.
        client: bool,
        /// The client; none when the certificate has no common name.
        user: Option<Arc<UserInfo>>,
        proxy: Option<String>,
        until: i64,
    },
    /// By nobody we trust.
    Refused,
}

impl Shown {
    fn holds(&self) -> bool {
        match self {
            Shown::Verified { until, .. } => jiff::Timestamp::now().as_second() <= *until,
            _ => false,
        }
    }

    pub fn user(&self) -> Option<&Arc<UserInfo>> {
        match self {
            Shown::Verified { user, .. } if self.holds() => user.as_ref(),
            _ => None,
        }
    }

    pub fn proxy(&self) -> Option<&str> {
        match self {
            Shown::Verified { proxy, .. } if self.holds() => proxy.as_deref(),
            _ => None,
        }
    }

    /// A certificate was shown that is no client's, or does not hold any more.
    pub fn refused(&self) -> bool {
        match self {
            Shown::None => false,
            Shown::Refused => true,
            Shown::Verified { client, .. } => !client || !self.holds(),
        }
    }

    #[cfg(test)]
    pub fn of_proxy(name: &str) -> Self {
        Shown::Verified {
            client: false,
            user: None,
            proxy: Some(name.into()),
            until: i64::MAX,
        }
    }
}

/// The authorities of clients and of front proxies.
pub struct Authorities {
    clients: Option<Arc<dyn ClientCertVerifier>>,
    proxies: Option<Arc<dyn ClientCertVerifier>>,
}

impl Authorities {
    /// # Errors
    /// When a certificate is none.
    pub fn new(
        clients: &[CertificateDer<'static>],
        proxies: &[CertificateDer<'static>],
    ) -> Result<Self, rustls::Error> {
        Ok(Authorities {
            clients: verifier(clients)?,
            proxies: verifier(proxies)?,
        })
    }

    /// What the certificates of a connection, leaf first, tell.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Shown {
        let Some((leaf, rest)) = chain.split_first() else {
            return Shown::None;
        };
        let holds = |verifier: &Option<Arc<dyn ClientCertVerifier>>| {
            verifier
                .as_ref()
                .is_some_and(|v| v.verify_client_cert(leaf, rest, UnixTime::now()).is_ok())
        };
        let (client, proxy) = (holds(&self.clients), holds(&self.proxies));
        if !client && !proxy {
            return Shown::Refused;
        }
        let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
            return Shown::Refused;
        };
        let name = common_name(&parsed);
        Shown::Verified {
            client,
            user: client.then(|| user(leaf, &parsed)).flatten().map(Arc::new),
            proxy: proxy.then(|| name.unwrap_or_default()),
            until: parsed.validity().not_after.timestamp(),
        }
    }
}

fn verifier(
    cas: &[CertificateDer<'static>],
) -> Result<Option<Arc<dyn ClientCertVerifier>>, rustls::Error> {
    if cas.is_empty() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca.clone())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
    Ok(Some(verifier))
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

/// None without a common name.
fn user(der: &CertificateDer<'_>, certificate: &X509Certificate<'_>) -> Option<UserInfo> {
    let name = common_name(certificate).filter(|n| !n.is_empty())?;
    let subject = certificate.subject();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok());
    let mut user = UserInfo::new(&name, groups);
    let uid = subject.iter_attributes().find(|a| {
        a.attr_type()
            .iter()
            .is_some_and(|mut oid| oid.by_ref().eq(UID.iter().copied()))
    });
    user.uid = uid
        .and_then(|a| a.as_str().ok())
        .unwrap_or_default()
        .to_owned();
    let sum = Sha256::digest(der);
    let hex: String = sum.iter().map(|b| format!("{b:02x}")).collect();
    user.extra.insert(
        "authentication.kubernetes.io/credential-id".into(),
        vec![format!("X509SHA256={hex}")],
    );
    Some(user)
}

/// Lets every certificate through the handshake whose key the client holds: what it is worth is judged per request, so
/// that a bad one is answered 401 and a token beside it still counts, as with the original.
#[derive(Debug)]
pub struct Listener {
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl Listener {
    pub fn new(cas: &[CertificateDer<'static>], provider: Arc<CryptoProvider>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(cas.iter().cloned());
        Listener {
            hints: roots.subjects(),
            provider,
        }
    }
}

impl ClientCertVerifier for Listener {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
