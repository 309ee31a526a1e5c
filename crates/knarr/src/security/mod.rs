//! Who may come in, what they may do, what is told of it and how it is kept: flags of the API server by kube-apiserver's
//! names.

mod audit;
mod authentication;
mod authorization;
mod encryption;
mod serving;

use anyhow::{Context, Result};
use clap::Args;
use knarr_apiserver::Config;

pub use encryption::{Encryption, follow};

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    #[command(flatten)]
    authentication: authentication::Flags,
    #[command(flatten)]
    authorization: authorization::Flags,
    #[command(flatten)]
    audit: audit::Flags,
    #[command(flatten)]
    encryption: encryption::Flags,
    #[command(flatten)]
    serving: serving::Flags,
}

impl Flags {
    /// Puts into a configuration what the flags say; what they do not say stays.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        self.authentication.apply(config)?;
        self.authorization.apply(config)?;
        self.audit.apply(config)?;
        self.serving.apply(config)
    }

    /// What the store is to encrypt with.
    pub fn encryption(&self, registry: &knarr_api::Registry) -> Result<Option<Encryption>> {
        self.encryption.open(registry)
    }

    /// The serving certificate, when it is not Knarr's own.
    pub fn serving(&self) -> Result<Option<knarr_apiserver::Tls>> {
        self.serving.tls()
    }
}

fn read(path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// A duration as kube-apiserver's flags take it: `1h30m`, `5s`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    knarr_apiserver::authorization::duration(text)
}

fn certificates(path: &std::path::Path) -> Result<Vec<rustls_pki_types::CertificateDer<'static>>> {
    use rustls_pki_types::pem::PemObject;
    let all: Result<Vec<_>, _> = rustls_pki_types::CertificateDer::pem_file_iter(path)
        .map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?
        .collect();
    let all = all.map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    anyhow::ensure!(!all.is_empty(), "{} holds no certificate", path.display());
    Ok(all)
}
