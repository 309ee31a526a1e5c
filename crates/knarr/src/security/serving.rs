//! Flags of TLS.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use knarr_apiserver::{Config, Sni, Tls};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

use super::certificates;

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// Serving certificate, in place of Knarr's own; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    tls_cert_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
    /// A certificate and its key for some names: CERT,KEY[:NAMES]. May be repeated.
    #[arg(long, value_name = "CERT,KEY:NAMES", value_parser = Sni::parse)]
    tls_sni_cert_key: Vec<Sni>,
    /// VersionTLS12 or VersionTLS13.
    #[arg(long, value_name = "VERSION")]
    tls_min_version: Option<String>,
    /// Cipher suites below TLS 1.3.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    tls_cipher_suites: Vec<String>,
}

impl Flags {
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        let tls = &mut config.tls;
        if let (Some(certificate), Some(key)) = (&self.tls_cert_file, &self.tls_private_key_file) {
            tls.files = Some((certificate.clone(), key.clone()));
        }
        tls.sni = self.tls_sni_cert_key.clone();
        tls.min_version = self.tls_min_version.clone();
        tls.cipher_suites = self.tls_cipher_suites.clone();
        Ok(())
    }

    pub fn tls(&self) -> Result<Option<Tls>> {
        let (Some(certificate), Some(key)) = (&self.tls_cert_file, &self.tls_private_key_file)
        else {
            return Ok(None);
        };
        let told = |e| anyhow!("{}: {e}", key.display());
        Ok(Some(Tls {
            certificates: certificates(certificate)?,
            key: PrivateKeyDer::from_pem_file(key).map_err(told)?,
        }))
    }
}
