//! What the server shows clients before they can ask anything: certificates, by the name that a client asks for, and read
//! again when their files change; versions and ciphers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{authn::x509, serve::Tls, server::Shared};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Beyond the certificate itself.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Where the serving certificate came from (certificate, key), for reading it again.
    pub files: Option<(PathBuf, PathBuf)>,
    /// Further certificates with the names (`*.` for any label) that they are shown for; none are the certificate's own.
    pub sni: Vec<Sni>,
    /// `VersionTLS12` (the default) or `VersionTLS13`.
    pub min_version: Option<String>,
    /// Names of cipher suites; empty means all sound ones. Those of TLS 1.3 are always there.
    pub cipher_suites: Vec<String>,
}

/// A certificate for some names.
#[derive(Debug, Clone)]
pub struct Sni {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub names: Vec<String>,
}

impl Sni {
    /// Reads `CERTIFICATE,KEY[:NAME,NAME…]`.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (files, names) = text.split_once(':').unwrap_or((text, ""));
        let (certificate, key) = files
            .split_once(',')
            .ok_or("expected comma separated certificate and key file paths")?;
        let names = names.split(',').filter(|n| !n.is_empty());
        Ok(Sni {
            certificate: certificate.into(),
            key: key.into(),
            names: names.map(str::to_ascii_lowercase).collect(),
        })
    }
}

/// Chooses the certificate for a connection.
#[derive(Debug)]
struct Chooser(ArcSwap<Shown>);

#[derive(Debug)]
struct Shown {
    usual: Arc<CertifiedKey>,
    named: Vec<(String, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.load();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let found = name.and_then(|n| choose(&shown.named, &n).cloned());
        Some(found.unwrap_or_else(|| shown.usual.clone()))
    }
}

/// The whole name first, then any label.
fn choose<'a, T>(named: &'a [(String, T)], name: &str) -> Option<&'a T> {
    let any = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    let find = |wanted: &str| named.iter().find(|(n, _)| n == wanted).map(|(_, c)| c);
    find(name).or_else(|| find(&any?))
}

/// The configuration of TLS; follows changes of the files until the server stops.
pub(crate) fn server_config(shared: &Arc<Shared>, tls: Tls) -> Result<ServerConfig, rustls::Error> {
    let options = &shared.tls;
    let provider = Arc::new(provider(&options.cipher_suites)?);
    let usual = Arc::new(CertifiedKey::from_der(
        tls.certificates,
        tls.key,
        &provider,
    )?);
    let named = read_named(&options.sni, &provider)?;
    let chooser = Arc::new(Chooser(ArcSwap::from_pointee(Shown { usual, named })));
    let listener = x509::Listener::new(&shared.client_cas, provider.clone());
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions(options.min_version.as_deref())?)?
        .with_client_cert_verifier(Arc::new(listener))
        .with_cert_resolver(chooser.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if options.files.is_some() || !options.sni.is_empty() {
        shared
            .tasks
            .spawn(follow(shared.clone(), chooser, provider));
    }
    Ok(config)
}

fn versions(
    least: Option<&str>,
) -> Result<&'static [&'static SupportedProtocolVersion], rustls::Error> {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    static NEW: [&SupportedProtocolVersion; 1] = [&TLS13];
    match least {
        None | Some("" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12") => Ok(&BOTH),
        Some("VersionTLS13") => Ok(&NEW),
        Some(other) => Err(rustls::Error::General(format!(
            "unknown tls version {other:?}"
        ))),
    }
}

fn provider(names: &[String]) -> Result<CryptoProvider, rustls::Error> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if names.is_empty() {
        return Ok(provider);
    }
    let name_of = |suite: &rustls::SupportedCipherSuite| {
        let debug = format!("{:?}", suite.suite());
        // Ours of TLS 1.3 are told apart by their prefix.
        debug.replace("TLS13_", "TLS_")
    };
    let known: Vec<String> = provider.cipher_suites.iter().map(name_of).collect();
    for name in names {
        // Names of old may or may not tell the hash.
        if !known
            .iter()
            .any(|k| k == name || k.starts_with(&format!("{name}_")))
        {
            let why = format!("Cipher suite {name} not supported or doesn't exist");
            return Err(rustls::Error::General(why));
        }
    }
    provider.cipher_suites.retain(|suite| {
        let name = name_of(suite);
        suite.tls13().is_some()
            || names
                .iter()
                .any(|n| *n == name || name.starts_with(&format!("{n}_")))
    });
    Ok(provider)
}

fn read_named(
    sni: &[Sni],
    provider: &CryptoProvider,
) -> Result<Vec<(String, Arc<CertifiedKey>)>, rustls::Error> {
    let mut out = Vec::new();
    for entry in sni {
        let key = Arc::new(read(&entry.certificate, &entry.key, provider)?);
        let names = if entry.names.is_empty() {
            own_names(&key)
        } else {
            entry.names.clone()
        };
        out.extend(names.into_iter().map(|n| (n, key.clone())));
    }
    Ok(out)
}

/// The DNS names of a certificate.
fn own_names(key: &CertifiedKey) -> Vec<String> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let Some(leaf) = key.cert.first() else {
        return Vec::new();
    };
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
        return Vec::new();
    };
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names
        .map(|n| n.value.general_names.clone())
        .unwrap_or_default();
    let dns = names.iter().filter_map(|n| match n {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}

fn read(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, rustls::Error> {
    let told = |path: &Path, e: &dyn std::fmt::Display| {
        rustls::Error::General(format!("{}: {e}", path.display()))
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
        .map_err(|e| told(certificate, &e))?
        .collect();
    let chain = chain.map_err(|e| told(certificate, &e))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| told(key, &e))?;
    CertifiedKey::from_der(chain, private, provider)
}

/// When the files were last written.
fn times(options: &TlsOptions) -> Vec<Option<SystemTime>> {
    let own = options.files.iter().flat_map(|(c, k)| [c, k]);
    let named = options.sni.iter().flat_map(|s| [&s.certificate, &s.key]);
    own.chain(named)
        .map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
        .collect()
}

async fn follow(shared: Arc<Shared>, chooser: Arc<Chooser>, provider: Arc<CryptoProvider>) {
    let mut last = times(&shared.tls);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = times(&shared.tls);
        if now == last {
            continue;
        }
        match reread(&shared.tls, &chooser, &provider) {
            Ok(()) => {
                tracing::info!("serving certificates read again");
                last = now;
            }
            // Half written, perhaps: the old ones serve until both fit.
            Err(error) => tracing::warn!(%error, "serving certificates"),
        }
    }
}

fn reread(
    options: &TlsOptions,
    chooser: &Chooser,
    provider: &CryptoProvider,
) -> Result<(), rustls::Error> {
    let usual = match &options.files {
        Some((certificate, key)) => Arc::new(read(certificate, key, provider)?),
        None => chooser.0.load().usual.clone(),
    };
    let named = read_named(&options.sni, provider)?;
    chooser.0.store(Arc::new(Shown { usual, named }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_certificates() {
        let named = [("a.example".to_owned(), 1), ("*.example".to_owned(), 2)];
        assert_eq!(choose(&named, "a.example"), Some(&1));
        assert_eq!(choose(&named, "b.example"), Some(&2));
        assert_eq!(choose(&named, "b.a.example"), None);
        assert_eq!(choose(&named, "example"), None);
        let sni = Sni::parse("/c,/k:A.example,*.b").unwrap();
        assert_eq!(sni.names, ["a.example", "*.b"]);
        assert!(Sni::parse("/c").is_err());
    }

    #[test]
    fn versions_and_suites_are_known_by_name() {
        assert_eq!(versions(Some("VersionTLS13")).unwrap().len(), 1);
        assert!(versions(Some("TLS13")).is_err());
        let one = vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned()];
        let suites = provider(&one).unwrap().cipher_suites;
        assert_eq!(suites.iter().filter(|s| s.tls13().is_none()).count(), 1);
        assert!(provider(&["TLS_RSA_WITH_RC4_128_SHA".to_owned()]).is_err());
    }
}
