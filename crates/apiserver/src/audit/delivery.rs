//! How events reach a backend: while the request waits for it, or later with others.

use std::{sync::Arc, time::Duration};

use knarr_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{batch, log::Log, webhook::Webhook};

/// `--audit-*-mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Events are kept and handed on later, many at a time.
    Batch,
    /// Answers wait until their events are handed on, or cannot be.
    Blocking,
    /// The same, and a request whose arrival cannot be told of is refused.
    BlockingStrict,
}

/// How events are handed to a backend.
#[derive(Debug, Clone)]
pub struct DeliveryConfig {
    pub mode: Mode,
    /// For [`Mode::Batch`].
    pub batch: BatchConfig,
    /// Larger events (bytes) lose their bodies, or are dropped; none are without it.
    pub largest: Option<usize>,
}

/// How events are collected. `--audit-*-batch-*`
#[derive(Debug, Clone)]
pub struct BatchConfig {
    /// Events that wait at most; what comes beyond is dropped.
    pub buffer: usize,
    /// Events handed on at a time.
    pub size: usize,
    /// How long the first event of a batch waits for others.
    pub wait: Duration,
    /// How fast batches may follow each other.
    pub throttle: Option<Throttle>,
}

/// A bucket of tokens, one for each batch.
#[derive(Debug, Clone, Copy)]
pub struct Throttle {
    /// Batches a second.
    pub rate: f64,
    /// Batches at once after a pause.
    pub burst: usize,
}

/// What takes events in the end.
pub(super) enum Backend {
    Log(Log),
    Webhook(Webhook),
}

impl Backend {
    fn name(&self) -> &'static str {
        match self {
            Backend::Log(_) => "log",
            Backend::Webhook(_) => "webhook",
        }
    }

    /// Whether batches may overtake each other: a service may be slow, a file has one end.
    pub fn takes_many(&self) -> bool {
        matches!(self, Backend::Webhook(_))
    }

    /// Hands events on; false when that fails.
    pub async fn take(&self, events: Vec<Value>) -> bool {
        let count = events.len();
        let done = match self {
            Backend::Log(log) => events
                .iter()
                .try_for_each(|event| log.write(event))
                .map_err(|e| e.to_string()),
            Backend::Webhook(webhook) => webhook.send(events).await,
        };
        if let Err(error) = &done {
            tracing::error!(error, count, backend = self.name(), "audit events are lost");
        }
        done.is_ok()
    }
}

/// A backend and the way to it.
pub(super) struct Sink {
    backend: Arc<Backend>,
    mode: Mode,
    largest: Option<usize>,
    queue: Option<mpsc::Sender<Value>>,
    tasks: TaskTracker,
}

impl Sink {
    pub fn new(
        backend: Backend,
        config: DeliveryConfig,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let backend = Arc::new(backend);
        let queue = (config.mode == Mode::Batch).then(|| {
            let (queue, waiting) = mpsc::channel(config.batch.buffer.max(1));
            let run = batch::run(backend.clone(), config.batch, waiting, stop.clone());
            tasks.spawn(run);
            queue
        });
        Sink {
            backend,
            mode: config.mode,
            largest: config.largest,
            queue,
            tasks: tasks.clone(),
        }
    }

    /// Hands an event on as the mode wants it; false when the request may not go on without it.
    pub async fn process(&self, event: &Value) -> bool {
        let Some(event) = fitting(event, self.largest) else {
            tracing::error!(
                id = ?event["auditID"],
                backend = self.backend.name(),
                "an audit event is too large even after truncating"
            );
            return true;
        };
        if let Some(queue) = &self.queue {
            if queue.try_send(event).is_err() {
                tracing::error!(
                    backend = self.backend.name(),
                    "the audit buffer is full: an event is dropped"
                );
            }
            return true;
        }
        let done = if self.backend.takes_many() {
            // On its own, as a client that leaves takes no event back.
            let backend = self.backend.clone();
            let sent = self
                .tasks
                .spawn(async move { backend.take(vec![event]).await });
            sent.await.unwrap_or(false)
        } else {
            self.backend.take(vec![event]).await
        };
        done || self.mode == Mode::Blocking
    }
}

/// The event within the size that is allowed: without its bodies where they make it too large; none when it still is.
fn fitting(event: &Value, largest: Option<usize>) -> Option<Value> {
    let mut event = event.clone();
    let Some(largest) = largest else {
        return Some(event);
    };
    let fits = |event: &Value| event.to_string().len() <= largest;
    if fits(&event) {
        return Some(event);
    }
    let map = event.as_object_mut()?;
    if !matches!(map["level"].as_str(), Some("Request" | "RequestResponse")) {
        return None;
    }
    map.remove("requestObject");
    map.remove("responseObject");
    let notes = map.entry("annotations").or_insert_with(|| json!({}));
    notes["audit.k8s.io/truncated"] = "true".into();
    fits(&event).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_loses_its_bodies() {
        let event = |level: &str, body: usize, uri: usize| {
            json!({"level": level, "requestURI": "u".repeat(uri), "requestObject": "b".repeat(body), "responseObject": {},
                "annotations": {"a": "b"}})
        };
        for (level, body, uri, left) in [
            ("Request", 10, 10, Some(false)),
            ("Request", 2000, 10, Some(true)),
            ("RequestResponse", 2000, 10, Some(true)),
            ("RequestResponse", 2000, 2000, None),
            ("Metadata", 2000, 10, None),
        ] {
            let event = event(level, body, uri);
            assert_eq!(fitting(&event, None), Some(event.clone()));
            let got = fitting(&event, Some(1000));
            assert_eq!(
                got.as_ref().map(|g| *g != event),
                left,
                "{level} {body} {uri}"
            );
            if let Some(got) = got.filter(|g| *g != event) {
                assert_eq!(
                    got["annotations"],
                    json!({"a": "b", "audit.k8s.io/truncated": "true"})
                );
                assert!(got.get("requestObject").is_none() && got.get("responseObject").is_none());
            }
        }
    }
}
