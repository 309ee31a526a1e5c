//! Flags of authorization, and of how many requests are worked on.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use knarr_apiserver::{
    Config,
    authorization::{Webhook, modes, parse},
};

use super::{duration, read};

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// Who is asked, in order: AlwaysAllow, AlwaysDeny, Webhook, RBAC, Node.
    #[arg(long, value_name = "MODES", value_delimiter = ',')]
    authorization_mode: Vec<String>,
    /// AuthorizationConfiguration (apiserver.config.k8s.io/v1) in place of the modes.
    #[arg(long, value_name = "FILE", conflicts_with = "authorization_mode")]
    authorization_config: Option<PathBuf>,
    /// kubeconfig of the service that the mode Webhook asks.
    #[arg(long, value_name = "FILE")]
    authorization_webhook_config_file: Option<PathBuf>,
    /// Version of SubjectAccessReview that it is asked with: v1beta1 or v1.
    #[arg(long, value_name = "VERSION")]
    authorization_webhook_version: Option<String>,
    /// How long its yes holds.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    authorization_webhook_cache_authorized_ttl: Option<Duration>,
    /// How long its no holds.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    authorization_webhook_cache_unauthorized_ttl: Option<Duration>,
    /// Sort requests by FlowSchemas into queues.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_priority_and_fairness: Option<bool>,
    /// Reads that are worked on at a time.
    #[arg(long, value_name = "COUNT")]
    max_requests_inflight: Option<u32>,
    /// Writes that are worked on at a time.
    #[arg(long, value_name = "COUNT")]
    max_mutating_requests_inflight: Option<u32>,
    /// How long a request may take that is no watch, log or stream.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    request_timeout: Option<Duration>,
    /// How likely a request over HTTP/2 ends its connection: 0 to 0.02.
    #[arg(long, value_name = "FRACTION")]
    goaway_chance: Option<f64>,
}

impl Flags {
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        if let Some(path) = &self.authorization_config {
            let told = |e| anyhow!("{}: {e}", path.display());
            config.authorization.modes = parse(&read(path)?).map_err(told)?;
        } else if !self.authorization_mode.is_empty() {
            let modes = modes(&self.authorization_mode, self.webhook());
            config.authorization.modes = modes.map_err(|e| anyhow!(e))?;
        }
        let flow = &mut config.flow;
        flow.fair = self.enable_priority_and_fairness.unwrap_or(flow.fair);
        flow.reads = self.max_requests_inflight.unwrap_or(flow.reads);
        flow.writes = self.max_mutating_requests_inflight.unwrap_or(flow.writes);
        if let Some(timeout) = self.request_timeout {
            ensure!(!timeout.is_zero(), "--request-timeout can not be zero");
            config.request_timeout = timeout;
            config.flow.wait = timeout / 4;
        }
        if let Some(chance) = self.goaway_chance {
            ensure!(
                (0.0..=0.02).contains(&chance),
                "--goaway-chance can not be less than 0 or greater than 0.02"
            );
            config.goaway_chance = chance;
        }
        Ok(())
    }

    fn webhook(&self) -> Option<Webhook> {
        let path = self.authorization_webhook_config_file.clone()?;
        let mut webhook = Webhook::new("default", path);
        if let Some(version) = &self.authorization_webhook_version {
            webhook.version = version.clone();
        }
        if let Some(hold) = self.authorization_webhook_cache_authorized_ttl {
            webhook.allowed_hold = hold;
        }
        if let Some(hold) = self.authorization_webhook_cache_unauthorized_ttl {
            webhook.refused_hold = hold;
        }
        Some(webhook)
    }
}
