//! Flags about how the API server serves: its identity towards servers of other API groups, and how it stops.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use knarr_apiserver::{Config, ProxyClient};
use knarr_bootstrap::pki::Pair;

use crate::{
    control_plane::{certificates, key},
    etcd::duration,
};

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// Certificate that requests to servers of other API groups are sent with, PEM.
    #[arg(long, value_name = "FILE", requires = "proxy_client_key_file")]
    proxy_client_cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "proxy_client_cert_file")]
    proxy_client_key_file: Option<PathBuf>,
    /// How long requests are still taken after /readyz has begun to fail at the end, such as 20s.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    shutdown_delay_duration: Duration,
}

impl Flags {
    /// # Errors
    /// Files that cannot be read.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        if let (Some(certificate), Some(key_file)) =
            (&self.proxy_client_cert_file, &self.proxy_client_key_file)
        {
            let read = |path: &PathBuf| {
                std::fs::read_to_string(path).with_context(|| path.display().to_string())
            };
            let pair = Pair {
                certificate: read(certificate)?,
                key: read(key_file)?,
            };
            config.proxy_client = Some(ProxyClient {
                certificates: certificates(&pair)?,
                key: key(&pair)?,
            });
        }
        config.shutdown_delay = self.shutdown_delay_duration;
        Ok(())
    }
}
