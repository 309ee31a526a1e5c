//! Audit events collected: handed on when there are enough of them, or when the first has waited long enough.

use std::{sync::Arc, time::Duration};

use knarr_json::Value;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::delivery::{Backend, BatchConfig, Throttle};

/// Batches on their way at most: a service that does not answer holds no more.
const ON_THEIR_WAY: usize = 64;

/// Hands on what waits until the server stops, then the rest of it.
pub(super) async fn run(
    backend: Arc<Backend>,
    config: BatchConfig,
    mut waiting: mpsc::Receiver<Value>,
    stop: CancellationToken,
) {
    let mut pace = config.throttle.map(Pace::new);
    let mut sent = JoinSet::new();
    let size = config.size.max(1);
    loop {
        let stopping = stop.is_cancelled();
        let batch = collect(&mut waiting, size, config.wait, &stop).await;
        if batch.is_empty() {
            if stopping || waiting.is_closed() {
                break;
            }
            continue;
        }
        if let Some(pace) = pace.as_mut().filter(|_| !stopping) {
            pace.take().await;
        }
        let backend = backend.clone();
        let most = if backend.takes_many() {
            ON_THEIR_WAY
        } else {
            1
        };
        while sent.len() >= most {
            sent.join_next().await;
        }
        sent.spawn(async move { backend.take(batch).await });
    }
    while sent.join_next().await.is_some() {}
}

/// The next batch; what is there already when the server stops.
async fn collect(
    waiting: &mut mpsc::Receiver<Value>,
    size: usize,
    wait: Duration,
    stop: &CancellationToken,
) -> Vec<Value> {
    let mut batch = Vec::new();
    let full = async {
        waiting.recv_many(&mut batch, size).await;
        let over = Instant::now() + wait;
        while batch.len() < size {
            let room = size - batch.len();
            let more = tokio::time::timeout_at(over, waiting.recv_many(&mut batch, room)).await;
            if !matches!(more, Ok(1..)) {
                break;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = full => return batch,
    }
    while batch.len() < size
        && let Ok(event) = waiting.try_recv()
    {
        batch.push(event);
    }
    batch
}

/// A bucket of tokens that fills with time.
struct Pace {
    throttle: Throttle,
    tokens: f64,
    seen: Instant,
}

impl Pace {
    fn new(throttle: Throttle) -> Self {
        Pace {
            throttle,
            tokens: throttle.burst as f64,
            seen: Instant::now(),
        }
    }

    /// Takes a token, waiting for it when there is none.
    async fn take(&mut self) {
        let now = Instant::now();
        let wait = self.wait(now);
        sleep_until(now + wait).await;
    }

    /// How long who takes a token now has to wait for it.
    fn wait(&mut self, now: Instant) -> Duration {
        let since = now.duration_since(self.seen).as_secs_f64();
        self.seen = now;
        let filled = self.tokens + since * self.throttle.rate;
        self.tokens = filled.min(self.throttle.burst as f64) - 1.0;
        let missing = (-self.tokens).max(0.0) / self.throttle.rate;
        Duration::try_from_secs_f64(missing).unwrap_or(Duration::from_secs(3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_go_at_their_pace() {
        let mut pace = Pace::new(Throttle {
            rate: 2.0,
            burst: 3,
        });
        let start = pace.seen;
        for (at, want) in [
            (0, 0),
            (0, 0),
            (0, 0),
            (0, 500),
            (0, 1000),
            // Both are gone by then, and half of the next is there.
            (1250, 250),
            (60_000, 0),
            (60_000, 0),
            (60_000, 0),
            (60_000, 500),
        ] {
            let wait = pace.wait(start + Duration::from_millis(at));
            assert_eq!(wait.as_millis(), want, "{at}");
        }
    }

    #[tokio::test]
    async fn a_batch_is_full_or_late_or_the_last() {
        let (queue, mut waiting) = mpsc::channel(10);
        let stop = CancellationToken::new();
        for n in 0..5 {
            queue.try_send(Value::from(n)).unwrap();
        }
        let (long, short) = (Duration::from_secs(3600), Duration::from_millis(1));
        let full = collect(&mut waiting, 3, long, &stop).await;
        assert_eq!(full, [Value::from(0), 1.into(), 2.into()]);
        let late = collect(&mut waiting, 3, short, &stop).await;
        assert_eq!(late, [Value::from(3), 4.into()]);
        queue.try_send(Value::from(5)).unwrap();
        stop.cancel();
        let last = collect(&mut waiting, 3, long, &stop).await;
        assert_eq!(last, [Value::from(5)]);
        assert!(collect(&mut waiting, 3, long, &stop).await.is_empty());
    }
}
