//! Flags for a store that an etcd cluster keeps, named as kube-apiserver names them.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use knarr_store::EtcdOptions;

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// Keep objects in this etcd cluster instead of the data directory (scheme://ip:port, comma separated).
    #[arg(long, value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// Authority that signed the certificates of etcd's members (PEM file).
    #[arg(long, requires = "etcd_servers")]
    etcd_cafile: Option<PathBuf>,
    /// Certificate to show to etcd (PEM file).
    #[arg(long, requires = "etcd_servers")]
    etcd_certfile: Option<PathBuf>,
    /// Key of that certificate (PEM file).
    #[arg(long, requires = "etcd_servers")]
    etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with.
    #[arg(long, default_value = "/registry")]
    etcd_prefix: String,
    /// Time between compactions of etcd's old revisions, such as 5m0s; 0 leaves them to others.
    #[arg(long, default_value = "5m0s", value_parser = duration)]
    etcd_compaction_interval: Duration,
}

impl Flags {
    /// `None` when no etcd is named.
    pub fn options(&self) -> Option<EtcdOptions> {
        if self.etcd_servers.is_empty() {
            return None;
        }
        Some(EtcdOptions {
            ca_file: self.etcd_cafile.clone(),
            cert_file: self.etcd_certfile.clone(),
            key_file: self.etcd_keyfile.clone(),
            prefix: self.etcd_prefix.clone(),
            compaction_interval: self.etcd_compaction_interval,
            ..EtcdOptions::new(self.etcd_servers.clone())
        })
    }
}

/// A duration as Go's programs take it: `5m0s`, `1h30m`, `300ms`, `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration such as 5m0s");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest == "0" {
        return Ok(total);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = rest.split_at(end.ok_or_else(bad)?);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let units = [
            ("ms", 1e-3),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ns", 1e-9),
            ("h", 3600.0),
            ("m", 60.0),
            ("s", 1.0),
        ];
        let (name, seconds) = units
            .into_iter()
            .find(|(name, _)| unit.starts_with(name))
            .ok_or_else(bad)?;
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
        rest = &unit[name.len()..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, milliseconds) in [
            ("5m0s", 300_000),
            ("1h30m", 5_400_000),
            ("300ms", 300),
            ("1.5s", 1500),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "5", "m", "5x", "-5s", "1e400s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
