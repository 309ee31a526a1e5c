//! Flags of audit.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use knarr_apiserver::{Config, LogConfig, WebhookConfig, parse_audit_policy};

use super::{duration, read};

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// Policy (audit.k8s.io/v1) that says which requests are told of. Without it none are.
    #[arg(long, value_name = "FILE")]
    audit_policy_file: Option<PathBuf>,
    /// File for audit events, one a line; `-` is standard output.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    audit_log_path: Option<PathBuf>,
    /// json or legacy.
    #[arg(long, value_name = "FORMAT", value_parser = ["json", "legacy"])]
    audit_log_format: Option<String>,
    /// Megabytes at which the file is put aside; 100 unless given, 0 never does it.
    #[arg(long, value_name = "MB")]
    audit_log_maxsize: Option<u64>,
    /// How many files are kept aside; 100 unless given, 0 keeps all.
    #[arg(long, value_name = "COUNT")]
    audit_log_maxbackup: Option<usize>,
    /// Days that they are kept; 366 unless given, 0 is for good.
    #[arg(long, value_name = "DAYS")]
    audit_log_maxage: Option<u64>,
    /// kubeconfig of a service that audit events are sent to.
    #[arg(long, value_name = "FILE")]
    audit_webhook_config_file: Option<PathBuf>,
    /// Events that wait for being sent; what comes beyond is dropped.
    #[arg(long, value_name = "COUNT")]
    audit_webhook_batch_buffer_size: Option<usize>,
    /// Events sent at a time.
    #[arg(long, value_name = "COUNT")]
    audit_webhook_batch_max_size: Option<usize>,
    /// How long an event waits for others.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    audit_webhook_batch_max_wait: Option<Duration>,
}

impl Flags {
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        let audit = &mut config.audit;
        if let Some(path) = &self.audit_policy_file {
            let told = |e| anyhow!("{}: {e}", path.display());
            audit.policy = Some(parse_audit_policy(&read(path)?).map_err(told)?);
        }
        audit.log = self.log().or(audit.log.take());
        if let Some(path) = &self.audit_webhook_config_file {
            let mut webhook = WebhookConfig::new(path.clone());
            webhook.buffer = self
                .audit_webhook_batch_buffer_size
                .unwrap_or(webhook.buffer);
            webhook.batch = self.audit_webhook_batch_max_size.unwrap_or(webhook.batch);
            webhook.wait = self.audit_webhook_batch_max_wait.unwrap_or(webhook.wait);
            ensure!(
                webhook.batch > 0,
                "--audit-webhook-batch-max-size must be positive"
            );
            audit.webhook = Some(webhook);
        }
        Ok(())
    }

    fn log(&self) -> Option<LogConfig> {
        const YEAR: u64 = 366;
        let mut log = LogConfig::new(self.audit_log_path.clone()?);
        log.max_bytes = match self.audit_log_maxsize {
            None => log.max_bytes,
            Some(0) => u64::MAX,
            Some(size) => size << 20,
        };
        log.max_backups = self.audit_log_maxbackup.unwrap_or(100);
        log.max_age = Duration::from_secs(self.audit_log_maxage.unwrap_or(YEAR) * 24 * 3600);
        log.legacy = self.audit_log_format.as_deref() == Some("legacy");
        Some(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_does_not_fill_the_disk_unless_told_to() {
        let unset = Flags {
            audit_log_path: Some("x".into()),
            ..Flags::default()
        };
        let endless = Flags {
            audit_log_maxsize: Some(0),
            audit_log_maxbackup: Some(0),
            audit_log_maxage: Some(0),
            ..unset.clone()
        };
        for (flags, bytes, backups, days) in
            [(unset, 100 << 20, 100, 366), (endless, u64::MAX, 0, 0)]
        {
            let log = flags.log().unwrap();
            assert_eq!(
                (log.max_bytes, log.max_backups, log.max_age.as_secs()),
                (bytes, backups, days * 24 * 3600)
            );
        }
        assert!(Flags::default().log().is_none());
    }
}
