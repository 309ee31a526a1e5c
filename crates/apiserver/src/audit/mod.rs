//! Audit: what was asked by whom and answered how, as a policy wants it, into a file or to a service.
//!
//! When it is off, a request pays for one test of an `Option`.

mod batch;
mod delivery;
mod event;
mod log;
pub mod policy;
mod record;
mod webhook;

use std::{path::PathBuf, time::Duration};

use knarr_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use delivery::{BatchConfig, DeliveryConfig, Mode, Throttle};
pub use log::LogConfig;
pub use record::{Record, begin, body, unauthenticated};
pub use webhook::WebhookConfig;

/// Where audit events go, and which there are. Without a policy or a backend there are none.
#[derive(Debug, Clone, Default)]
pub struct AuditConfig {
    /// `--audit-policy-file`
    pub policy: Option<policy::Policy>,
    /// `--audit-log-*`
    pub log: Option<LogConfig>,
    /// `--audit-webhook-*`
    pub webhook: Option<WebhookConfig>,
}

/// A policy with its backends.
pub(crate) struct Audit {
    policy: policy::Policy,
    sinks: Vec<delivery::Sink>,
}

impl Audit {
    /// None when nothing is to be audited.
    ///
    /// # Errors
    /// When the file or the service's kubeconfig cannot be opened.
    pub async fn new(
        config: AuditConfig,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Option<Self>, String> {
        let Some(policy) = config.policy else {
            return Ok(None);
        };
        if config.log.is_none() && config.webhook.is_none() {
            return Ok(None);
        }
        let mut sinks = Vec::new();
        let mut add = |backend, delivery| {
            sinks.push(delivery::Sink::new(backend, delivery, stop, tasks));
        };
        if let Some(config) = config.log {
            let delivery = config.delivery.clone();
            add(delivery::Backend::Log(log::Log::open(config)?), delivery);
        }
        if let Some(config) = config.webhook {
            let webhook = webhook::Webhook::new(&config).await?;
            add(delivery::Backend::Webhook(webhook), config.delivery);
        }
        Ok(Some(Audit { policy, sinks }))
    }

    /// Tells all of an event; false when the request may not go on without it.
    async fn emit(&self, event: &Value) -> bool {
        let mut done = true;
        for sink in &self.sinks {
            done &= sink.process(event).await;
        }
        done
    }
}

impl LogConfig {
    /// A file (`-` is standard output) with the original's defaults: it grows to 100 MB, old ones are kept.
    pub fn new(path: PathBuf) -> Self {
        LogConfig {
            path,
            max_bytes: 100 << 20,
            max_backups: 0,
            max_age: Duration::ZERO,
            legacy: false,
            delivery: DeliveryConfig {
                mode: Mode::Blocking,
                batch: BatchConfig {
                    buffer: 10_000,
                    size: 1,
                    wait: Duration::ZERO,
                    throttle: None,
                },
                largest: None,
            },
        }
    }
}
