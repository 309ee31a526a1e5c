//! Flags of audit.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use knarr_apiserver::{
    AuditBatch, AuditDelivery, AuditMode, AuditThrottle, Config, LogConfig, WebhookConfig,
    parse_audit_policy,
};

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
    /// batch, blocking (answers wait until their events are kept) or blocking-strict (requests that cannot be told of
    /// are refused); blocking unless given.
    #[arg(long, value_name = "MODE", value_parser = mode)]
    audit_log_mode: Option<AuditMode>,
    /// Events that wait in the mode batch; what comes beyond is dropped.
    #[arg(long, value_name = "COUNT")]
    audit_log_batch_buffer_size: Option<usize>,
    /// Events written at a time in the mode batch.
    #[arg(long, value_name = "COUNT")]
    audit_log_batch_max_size: Option<usize>,
    /// How long an event waits for others in the mode batch.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    audit_log_batch_max_wait: Option<Duration>,
    /// Whether batches are kept from following each other too fast.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    audit_log_batch_throttle_enable: Option<bool>,
    /// Batches a second; 10 unless given.
    #[arg(long, value_name = "RATE")]
    audit_log_batch_throttle_qps: Option<f64>,
    /// Batches at once after a pause; 15 unless given.
    #[arg(long, value_name = "COUNT")]
    audit_log_batch_throttle_burst: Option<usize>,
    /// Whether large events are told without the objects in them.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    audit_log_truncate_enabled: Option<bool>,
    /// Bytes from which an event is large; 102400 unless given.
    #[arg(long, value_name = "BYTES")]
    audit_log_truncate_max_event_size: Option<usize>,
    /// Bytes that events may have together; 10485760 unless given. Events are told one by one, so it only has to be no less.
    #[arg(long, value_name = "BYTES")]
    audit_log_truncate_max_batch_size: Option<usize>,
    /// Version of the events.
    #[arg(long, value_name = "VERSION", value_parser = ["audit.k8s.io/v1"])]
    audit_log_version: Option<String>,
    /// kubeconfig of a service that audit events are sent to.
    #[arg(long, value_name = "FILE")]
    audit_webhook_config_file: Option<PathBuf>,
    /// How long to wait before what failed is sent again for the first time; 10s unless given.
    #[arg(long, value_name = "DURATION", value_parser = duration, alias = "audit-webhook-batch-initial-backoff")]
    audit_webhook_initial_backoff: Option<Duration>,
    /// batch, blocking (answers wait until their events are kept) or blocking-strict (requests that cannot be told of
    /// are refused); batch unless given.
    #[arg(long, value_name = "MODE", value_parser = mode)]
    audit_webhook_mode: Option<AuditMode>,
    /// Events that wait in the mode batch; what comes beyond is dropped.
    #[arg(long, value_name = "COUNT")]
    audit_webhook_batch_buffer_size: Option<usize>,
    /// Events sent at a time in the mode batch.
    #[arg(long, value_name = "COUNT")]
    audit_webhook_batch_max_size: Option<usize>,
    /// How long an event waits for others in the mode batch.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    audit_webhook_batch_max_wait: Option<Duration>,
    /// Whether batches are kept from following each other too fast.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    audit_webhook_batch_throttle_enable: Option<bool>,
    /// Batches a second; 10 unless given.
    #[arg(long, value_name = "RATE")]
    audit_webhook_batch_throttle_qps: Option<f64>,
    /// Batches at once after a pause; 15 unless given.
    #[arg(long, value_name = "COUNT")]
    audit_webhook_batch_throttle_burst: Option<usize>,
    /// Whether large events are told without the objects in them.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    audit_webhook_truncate_enabled: Option<bool>,
    /// Bytes from which an event is large; 102400 unless given.
    #[arg(long, value_name = "BYTES")]
    audit_webhook_truncate_max_event_size: Option<usize>,
    /// Bytes that events may have together; 10485760 unless given. Events are told one by one, so it only has to be no less.
    #[arg(long, value_name = "BYTES")]
    audit_webhook_truncate_max_batch_size: Option<usize>,
    /// Version of the events.
    #[arg(long, value_name = "VERSION", value_parser = ["audit.k8s.io/v1"])]
    audit_webhook_version: Option<String>,
}

impl Flags {
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        let audit = &mut config.audit;
        if let Some(path) = &self.audit_policy_file {
            let told = |e| anyhow!("{}: {e}", path.display());
            audit.policy = Some(parse_audit_policy(&read(path)?).map_err(told)?);
        }
        if let Some(path) = &self.audit_log_path {
            let mut log = self.log_file(path.clone());
            self.log().apply(&mut log.delivery)?;
            audit.log = Some(log);
        }
        if let Some(path) = &self.audit_webhook_config_file {
            let mut webhook = WebhookConfig::new(path.clone());
            webhook.backoff = self
                .audit_webhook_initial_backoff
                .unwrap_or(webhook.backoff);
            self.webhook().apply(&mut webhook.delivery)?;
            audit.webhook = Some(webhook);
        }
        Ok(())
    }

    fn log_file(&self, path: PathBuf) -> LogConfig {
        const YEAR: u64 = 366;
        let mut log = LogConfig::new(path);
        log.max_bytes = match self.audit_log_maxsize {
            None => log.max_bytes,
            Some(0) => u64::MAX,
            Some(size) => size << 20,
        };
        log.max_backups = self.audit_log_maxbackup.unwrap_or(100);
        log.max_age = Duration::from_secs(self.audit_log_maxage.unwrap_or(YEAR) * 24 * 3600);
        log.legacy = self.audit_log_format.as_deref() == Some("legacy");
        log
    }

    fn log(&self) -> Delivery {
        Delivery {
            name: "log",
            mode: self.audit_log_mode,
            buffer: self.audit_log_batch_buffer_size,
            size: self.audit_log_batch_max_size,
            wait: self.audit_log_batch_max_wait,
            throttle: self.audit_log_batch_throttle_enable,
            rate: self.audit_log_batch_throttle_qps,
            burst: self.audit_log_batch_throttle_burst,
            truncate: self.audit_log_truncate_enabled,
            largest: self.audit_log_truncate_max_event_size,
            largest_batch: self.audit_log_truncate_max_batch_size,
        }
    }

    fn webhook(&self) -> Delivery {
        Delivery {
            name: "webhook",
            mode: self.audit_webhook_mode,
            buffer: self.audit_webhook_batch_buffer_size,
            size: self.audit_webhook_batch_max_size,
            wait: self.audit_webhook_batch_max_wait,
            throttle: self.audit_webhook_batch_throttle_enable,
            rate: self.audit_webhook_batch_throttle_qps,
            burst: self.audit_webhook_batch_throttle_burst,
            truncate: self.audit_webhook_truncate_enabled,
            largest: self.audit_webhook_truncate_max_event_size,
            largest_batch: self.audit_webhook_truncate_max_batch_size,
        }
    }
}

/// What both backends have flags for.
struct Delivery {
    name: &'static str,
    mode: Option<AuditMode>,
    buffer: Option<usize>,
    size: Option<usize>,
    wait: Option<Duration>,
    throttle: Option<bool>,
    rate: Option<f64>,
    burst: Option<usize>,
    truncate: Option<bool>,
    largest: Option<usize>,
    largest_batch: Option<usize>,
}

impl Delivery {
    fn apply(&self, to: &mut AuditDelivery) -> Result<()> {
        to.mode = self.mode.unwrap_or(to.mode);
        let batch = &mut to.batch;
        batch.buffer = self.buffer.unwrap_or(batch.buffer);
        batch.size = self.size.unwrap_or(batch.size);
        batch.wait = self.wait.unwrap_or(batch.wait);
        let throttle = AuditThrottle {
            rate: self.rate.unwrap_or(10.0),
            burst: self.burst.unwrap_or(15),
        };
        let throttles = self.throttle.unwrap_or(batch.throttle.is_some());
        batch.throttle = throttles.then_some(throttle);
        if to.mode == AuditMode::Batch {
            self.check(batch)?;
        }
        let (largest, together) = (
            self.largest.unwrap_or(100 << 10),
            self.largest_batch.unwrap_or(10 << 20),
        );
        self.positive("truncate", "max event size", largest > 0, largest)?;
        ensure!(
            together >= largest,
            "invalid audit truncate {} max batch size {together}, must be greater than max event size ({largest})",
            self.name
        );
        to.largest = (self.truncate == Some(true)).then_some(largest);
        Ok(())
    }

    fn check(&self, batch: &AuditBatch) -> Result<()> {
        self.positive("batch", "buffer size", batch.buffer > 0, batch.buffer)?;
        self.positive("batch", "max batch size", batch.size > 0, batch.size)?;
        if let Some(AuditThrottle { rate, burst }) = batch.throttle {
            self.positive("batch", "throttle QPS", rate > 0.0, rate)?;
            self.positive("batch", "throttle burst", burst > 0, burst)?;
        }
        Ok(())
    }

    fn positive(
        &self,
        of: &str,
        what: &str,
        is: bool,
        value: impl std::fmt::Display,
    ) -> Result<()> {
        let name = self.name;
        ensure!(
            is,
            "invalid audit {of} {name} {what} {value}, must be a positive number"
        );
        Ok(())
    }
}

fn mode(text: &str) -> Result<AuditMode, String> {
    match text {
        "batch" => Ok(AuditMode::Batch),
        "blocking" => Ok(AuditMode::Blocking),
        "blocking-strict" => Ok(AuditMode::BlockingStrict),
        _ => Err("allowed modes are \"batch,blocking,blocking-strict\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }

    /// What the flags make of the usual delivery of a webhook.
    fn delivery(flags: &[&str]) -> Result<AuditDelivery, String> {
        let words = std::iter::once("x").chain(flags.iter().copied());
        let command = Command::try_parse_from(words).map_err(|e| e.to_string())?;
        let mut out = WebhookConfig::new("x".into()).delivery;
        let done = command.flags.webhook().apply(&mut out);
        done.map(|()| out).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_say_how_events_are_delivered() {
        let usual = delivery(&[]).unwrap();
        assert_eq!(
            (usual.mode, usual.batch.size, usual.largest),
            (AuditMode::Batch, 400, None)
        );
        assert!(usual.batch.throttle.is_some_and(|t| t.burst == 15));
        let other = delivery(&[
            "--audit-webhook-mode=blocking-strict",
            "--audit-webhook-batch-throttle-enable=false",
            "--audit-webhook-truncate-enabled",
            "--audit-webhook-batch-max-size=0",
        ])
        .unwrap();
        assert_eq!(
            (other.mode, other.largest),
            (AuditMode::BlockingStrict, Some(100 << 10))
        );
        assert!(other.batch.throttle.is_none());
        for (flag, want) in [
            (
                "--audit-webhook-mode=now",
                "allowed modes are \"batch,blocking,blocking-strict\"",
            ),
            (
                "--audit-webhook-batch-max-size=0",
                "invalid audit batch webhook max batch size 0, must be a positive number",
            ),
            (
                "--audit-webhook-batch-buffer-size=0",
                "invalid audit batch webhook buffer size 0, must be a positive number",
            ),
            (
                "--audit-webhook-batch-throttle-qps=0",
                "invalid audit batch webhook throttle QPS 0, must be a positive number",
            ),
            (
                "--audit-webhook-batch-throttle-burst=0",
                "invalid audit batch webhook throttle burst 0, must be a positive number",
            ),
            (
                "--audit-webhook-truncate-max-event-size=0",
                "invalid audit truncate webhook max event size 0, must be a positive number",
            ),
            (
                "--audit-webhook-truncate-max-batch-size=5",
                "must be greater than max event size (102400)",
            ),
            (
                "--audit-webhook-version=audit.k8s.io/v1beta1",
                "audit.k8s.io/v1",
            ),
        ] {
            let refused = delivery(&[flag]).unwrap_err();
            assert!(refused.contains(want), "{flag}: {refused}");
        }
    }

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
            let log = flags.log_file("x".into());
            assert_eq!(
                (log.max_bytes, log.max_backups, log.max_age.as_secs()),
                (bytes, backups, days * 24 * 3600)
            );
        }
    }
}
