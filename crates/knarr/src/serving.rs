//! Flags about how the API server serves: its identity towards servers of other API groups, and how it stops.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

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
    /// How long events stay; 1h unless given.
    #[arg(long, value_name = "DURATION", value_parser = knarr_apiserver::authorization::duration)]
    event_ttl: Option<Duration>,
    /// Ports that Services of type NodePort get: 30000-32767 unless given; also 30000+2767.
    #[arg(long, value_name = "RANGE", value_parser = ports)]
    service_node_port_range: Option<RangeInclusive<u16>>,
}

/// A range of ports: `LOW-HIGH`, `LOW+MORE`, or one port.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("unable to parse port range: {text}");
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    let (low, high) = match (text.split_once('-'), text.split_once('+')) {
        (Some((low, high)), _) => (port(low)?, port(high)?),
        (_, Some((low, more))) => {
            let low = port(low)?;
            (low, low.saturating_add(port(more)?))
        }
        (None, None) => (port(text)?, port(text)?),
    };
    if low == 0 || high < low {
        return Err(wrong());
    }
    Ok(low..=high)
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
        config.event_ttl = self.event_ttl.unwrap_or(config.event_ttl);
        if let Some(range) = &self.service_node_port_range {
            config.node_ports = range.clone();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ports_are_read() {
        for (text, want) in [
            ("30000-32767", Some(30000..=32767)),
            ("30000+2767", Some(30000..=32767)),
            ("8080", Some(8080..=8080)),
            ("65000+1000", Some(65000..=65535)),
            ("0-10", None),
            ("10-9", None),
            ("a-b", None),
            ("", None),
            ("70000", None),
        ] {
            assert_eq!(ports(text).ok(), want, "{text}");
        }
    }
}
