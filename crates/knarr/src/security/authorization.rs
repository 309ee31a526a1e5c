//! Flags of authorization, and of how many requests are worked on.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use knarr_apiserver::{
    Config,
    authorization::{Policies, Webhook, modes, parse},
};

use super::{duration, read};

#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Flags {
    /// Who is asked, in order: AlwaysAllow, AlwaysDeny, ABAC, Webhook, RBAC, Node.
    #[arg(long, value_name = "MODES", value_delimiter = ',')]
    authorization_mode: Vec<String>,
    /// AuthorizationConfiguration (apiserver.config.k8s.io/v1) in place of the modes; read again when it changes.
    #[arg(long, value_name = "FILE", conflicts_with = "authorization_mode")]
    authorization_config: Option<PathBuf>,
    /// Policies of the mode ABAC, one a line.
    #[arg(long, value_name = "FILE")]
    authorization_policy_file: Option<PathBuf>,
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
        let policies = self.policies()?;
        let authorization = &mut config.authorization;
        if let Some(path) = &self.authorization_config {
            let told = |e| anyhow!("{}: {e}", path.display());
            authorization.modes = parse(&read(path)?, policies.as_ref()).map_err(told)?;
            authorization.file = Some(path.clone());
        } else if !self.authorization_mode.is_empty() {
            let modes = modes(&self.authorization_mode, self.webhook(), policies.clone());
            authorization.modes = modes.map_err(|e| anyhow!(e))?;
        }
        ensure!(
            policies.is_none() || authorization.modes.iter().any(|m| m.name() == "ABAC"),
            "cannot specify --authorization-policy-file without mode ABAC"
        );
        authorization.policies = policies;
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

    fn policies(&self) -> Result<Option<Arc<Policies>>> {
        let Some(path) = &self.authorization_policy_file else {
            return Ok(None);
        };
        let told = |e| anyhow!("{}: {e}", path.display());
        let policies = Policies::parse(&read(path)?).map_err(told)?;
        Ok(Some(Arc::new(policies)))
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
