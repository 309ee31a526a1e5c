//! Whom a webhook's client believes.

use std::sync::{Arc, OnceLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// TLS that takes certificates of the authorities in `ca_bundle` (base64 of PEM), or of the system's when it is empty.
///
/// # Errors
/// When the bundle holds no certificate that can be read.
pub fn config(ca_bundle: &str) -> Result<ClientConfig, String> {
    let roots = roots(ca_bundle)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The authorities of a bundle (base64 of PEM), or the system's when it is empty.
///
/// # Errors
/// As [`config`].
pub fn roots(ca_bundle: &str) -> Result<Arc<RootCertStore>, String> {
    if ca_bundle.is_empty() {
        return Ok(system().clone());
    }
    bundle(ca_bundle).map(Arc::new)
}

fn bundle(text: &str) -> Result<RootCertStore, String> {
    let unusable = || "unable to load root certificates: unable to parse bytes as PEM block";
    let pem = STANDARD.decode(text).map_err(|_| unusable())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| unusable())?;
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    if roots.is_empty() {
        return Err(unusable().to_owned());
    }
    Ok(roots)
}

/// The system's authorities, read once.
fn system() -> &'static Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    })
}
