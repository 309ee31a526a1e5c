//! Audit events to a service, many at a time.

use std::{path::PathBuf, time::Duration};

use knarr_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::outbound;

/// Where events go, and how many at a time.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// A kubeconfig whose current cluster is the service.
    pub kubeconfig: PathBuf,
    /// Events that wait at most; what comes beyond is dropped.
    pub buffer: usize,
    pub batch: usize,
    /// How long the first event of a batch waits for others.
    pub wait: Duration,
}

impl WebhookConfig {
    /// With the original's defaults.
    pub fn new(kubeconfig: PathBuf) -> Self {
        WebhookConfig {
            kubeconfig,
            buffer: 10_000,
            batch: 400,
            wait: Duration::from_secs(30),
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// No more than ten batches a second.
const PACE: Duration = Duration::from_millis(100);

pub(super) struct Webhook {
    queue: mpsc::Sender<Value>,
}

impl Webhook {
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn new(
        config: WebhookConfig,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Self, String> {
        let service = outbound::Webhook::from_kubeconfig(&config.kubeconfig, TIMEOUT).await?;
        let (queue, waiting) = mpsc::channel(config.buffer.max(1));
        tasks.spawn(run(service, config, waiting, stop.clone()));
        Ok(Webhook { queue })
    }

    pub fn send(&self, event: Value) {
        if self.queue.try_send(event).is_err() {
            tracing::warn!("the audit webhook is behind: an event is dropped");
        }
    }
}

async fn run(
    service: outbound::Webhook,
    config: WebhookConfig,
    mut waiting: mpsc::Receiver<Value>,
    stop: CancellationToken,
) {
    let mut going = true;
    while going {
        let mut batch = Vec::new();
        tokio::select! {
            event = waiting.recv() => match event {
                Some(event) => batch.push(event),
                None => return,
            },
            () = stop.cancelled() => going = false,
        }
        if going {
            let full = fill(&mut waiting, &mut batch, config.batch);
            tokio::select! {
                _ = tokio::time::timeout(config.wait, full) => {}
                () = stop.cancelled() => going = false,
            }
        }
        if !going {
            // What waits at the end still goes out.
            while let Ok(event) = waiting.try_recv() {
                batch.push(event);
            }
        }
        if batch.is_empty() {
            continue;
        }
        let count = batch.len();
        let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": batch});
        if let Err(why) = service.tell(&list).await {
            tracing::warn!(why, count, "audit webhook");
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn fill(waiting: &mut mpsc::Receiver<Value>, batch: &mut Vec<Value>, most: usize) {
    while batch.len() < most {
        match waiting.recv().await {
            Some(event) => batch.push(event),
            None => break,
        }
    }
}
