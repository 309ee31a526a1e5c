//! Flags of encryption at rest.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use knarr_encryption::{Keyring, Kinds, parse};
use knarr_store::{Range, Store};

use super::read;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// EncryptionConfiguration (apiserver.config.k8s.io/v1): what is kept encrypted, and with which keys.
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
    /// Read it again when it changes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    encryption_provider_config_automatic_reload: Option<bool>,
}

/// Keys, and where they came from.
#[derive(Clone)]
pub struct Encryption {
    pub keyring: Arc<Keyring>,
    file: PathBuf,
    text: String,
    reload: bool,
}

impl Flags {
    pub fn open(&self, registry: &knarr_api::Registry) -> Result<Option<Encryption>> {
        let Some(file) = self.encryption_provider_config.clone() else {
            return Ok(None);
        };
        let text = read(&file)?;
        let told = |e: String| anyhow!("{}: {e}", file.display());
        let kinds: Kinds = registry
            .iter()
            .map(|r| (r.prefix(), qualified(&r.plural, &r.group)))
            .collect();
        let rules = parse(&text).map_err(told)?;
        let keyring = Keyring::new(&rules, kinds).map_err(told)?;
        Ok(Some(Encryption {
            keyring: Arc::new(keyring),
            file,
            text,
            reload: self.encryption_provider_config_automatic_reload == Some(true),
        }))
    }
}

fn qualified(plural: &str, group: &str) -> String {
    match group {
        "" => plural.to_owned(),
        group => format!("{plural}.{group}"),
    }
}

/// Follows the file for as long as the process lives, when it is to be read again.
pub fn follow(encryption: &Encryption, store: &Store) {
    if !encryption.reload {
        return;
    }
    let (encryption, store) = (encryption.clone(), store.clone());
    tokio::spawn(async move {
        let mut last = encryption.text.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let Ok(text) = tokio::fs::read_to_string(&encryption.file).await else {
                continue;
            };
            if text == last {
                continue;
            }
            match reload(&encryption, &store, &text) {
                Ok(()) => tracing::info!("encryption configuration read again"),
                Err(error) => tracing::warn!(%error, "encryption configuration"),
            }
            last = text;
        }
    });
}

fn reload(encryption: &Encryption, store: &Store, text: &str) -> Result<()> {
    let rules = parse(text).map_err(|e| anyhow!(e))?;
    let all = Range {
        prefix: "/registry/",
        ..Range::default()
    };
    let listed = store.list(all).context("listing what is stored")?;
    let keys = listed.items.iter().map(|s| s.key.to_string());
    encryption
        .keyring
        .replace(&rules, keys)
        .map_err(|e| anyhow!(e))
}
