//! Audit events to a service.

use std::{path::PathBuf, time::Duration};

use knarr_json::{Value, json};

use super::delivery::{BatchConfig, DeliveryConfig, Mode, Throttle};
use crate::outbound;

/// Where events go, and how.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// A kubeconfig whose current cluster is the service.
    pub kubeconfig: PathBuf,
    /// How long to wait before what failed is sent again for the first time.
    pub backoff: Duration,
    pub delivery: DeliveryConfig,
}

impl WebhookConfig {
    /// With the original's defaults.
    pub fn new(kubeconfig: PathBuf) -> Self {
        WebhookConfig {
            kubeconfig,
            backoff: Duration::from_secs(10),
            delivery: DeliveryConfig {
                mode: Mode::Batch,
                batch: BatchConfig {
                    buffer: 10_000,
                    size: 400,
                    wait: Duration::from_secs(30),
                    throttle: Some(Throttle {
                        rate: 10.0,
                        burst: 15,
                    }),
                },
                largest: None,
            },
        }
    }
}

/// How long the service may take for one request.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Webhook {
    service: outbound::Webhook,
    backoff: Duration,
}

impl Webhook {
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn new(config: &WebhookConfig) -> Result<Self, String> {
        let service = outbound::Webhook::from_kubeconfig(&config.kubeconfig, TIMEOUT).await?;
        Ok(Webhook {
            service,
            backoff: config.backoff,
        })
    }

    /// # Errors
    /// Why the service does not have them, after several tries.
    pub async fn send(&self, events: Vec<Value>) -> Result<(), String> {
        let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events});
        self.service.tell(&list, self.backoff).await
    }
}
