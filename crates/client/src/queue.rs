//! A work queue: each key is worked on by one worker at a time, asked for once however often it was added meanwhile.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(60);

struct State<T> {
    ready: VecDeque<T>,
    /// Queued, or to be queued again when its worker is done.
    dirty: HashSet<T>,
    busy: HashSet<T>,
    failures: HashMap<T, u32>,
    /// When a delayed item comes back; one timer an item, the earliest wins.
    later: HashMap<T, Instant>,
}

/// Clones share the queue.
pub struct Queue<T> {
    state: Arc<Mutex<State<T>>>,
    wake: Arc<Notify>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue {
            state: self.state.clone(),
            wake: self.wake.clone(),
        }
    }
}

impl<T: Clone + Eq + Hash + Send + Sync + 'static> Default for Queue<T> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<T: Clone + Eq + Hash + Send + Sync + 'static> Queue<T> {
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            busy: HashSet::new(),
            failures: HashMap::new(),
            later: HashMap::new(),
        };
        Queue {
            state: Arc::new(Mutex::new(state)),
            wake: Arc::new(Notify::new()),
        }
    }

    pub fn add(&self, item: T) {
        let mut s = self.state.lock();
        if s.dirty.insert(item.clone()) && !s.busy.contains(&item) {
            s.ready.push_back(item);
            self.wake.notify_one();
        }
    }

    /// Adds the item after `delay`, unless it is already to come back earlier.
    pub fn add_after(&self, item: T, delay: Duration) {
        let due = Instant::now() + delay;
        {
            let mut s = self.state.lock();
            if s.later.get(&item).is_some_and(|known| *known <= due) {
                return;
            }
            s.later.insert(item.clone(), due);
        }
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            let mine = {
                let mut s = queue.state.lock();
                // An earlier timer may have taken over, and gone off.
                let mine = s.later.get(&item) == Some(&due);
                if mine {
                    s.later.remove(&item);
                }
                mine
            };
            if mine {
                queue.add(item);
            }
        });
    }

    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    async fn next(&self) -> T {
        loop {
            let notified = self.wake.notified();
            {
                let mut s = self.state.lock();
                if let Some(item) = s.ready.pop_front() {
                    s.dirty.remove(&item);
                    s.busy.insert(item.clone());
                    if !s.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return item;
                }
            }
            notified.await;
        }
    }

    fn done(&self, item: &T) {
        let mut s = self.state.lock();
        s.busy.remove(item);
        if s.dirty.contains(item) {
            s.ready.push_back(item.clone());
            self.wake.notify_one();
        }
    }

    /// Delay before the next try: doubles with each failure in a row.
    fn failed(&self, item: &T) -> Duration {
        let mut s = self.state.lock();
        let n = s.failures.entry(item.clone()).or_default();
        let delay = FIRST_RETRY
            .saturating_mul(1 << (*n).min(14))
            .min(LAST_RETRY);
        *n += 1;
        delay
    }

    fn succeeded(&self, item: &T) {
        self.state.lock().failures.remove(item);
    }

    /// Works on the queue for ever with `workers` tasks at once. A failed item is tried again with growing delay; a
    /// returned duration asks for another look after that time.
    pub async fn run<F, Fut>(&self, name: &'static str, workers: usize, reconcile: F)
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<Option<Duration>>> + Send,
        T: std::fmt::Debug,
    {
        let reconcile = Arc::new(reconcile);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers.max(1) {
            let (queue, reconcile) = (self.clone(), reconcile.clone());
            tasks.spawn(async move {
                loop {
                    let item = queue.next().await;
                    // A panic over one item must not take the worker, and the item, with it.
                    let outcome = AssertUnwindSafe(async { reconcile(item.clone()).await })
                        .catch_unwind()
                        .await;
                    let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")));
                    queue.settle(name, &item, outcome);
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    fn settle(&self, name: &'static str, item: &T, outcome: anyhow::Result<Option<Duration>>)
    where
        T: std::fmt::Debug,
    {
        match outcome {
            Ok(again) => {
                self.succeeded(item);
                if let Some(delay) = again {
                    self.add_after(item.clone(), delay);
                }
            }
            Err(error) => {
                let delay = self.failed(item);
                tracing::debug!(
                    controller = name,
                    ?item,
                    error = format!("{error:#}"),
                    "trying again"
                );
                self.add_after(item.clone(), delay);
            }
        }
        self.done(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Waits until there were that many runs, and a little longer to see that there are not more.
    async fn settles(runs: &AtomicUsize, want: usize) {
        for _ in 0..500 {
            if runs.load(Ordering::SeqCst) >= want {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(runs.load(Ordering::SeqCst), want);
    }

    #[tokio::test]
    async fn an_item_added_while_busy_runs_once_more() {
        let queue = Queue::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let (q, r) = (queue.clone(), runs.clone());
        let worker = tokio::spawn(async move {
            let inner = q.clone();
            q.run("test", 2, move |item: u32| {
                let (q, r) = (inner.clone(), r.clone());
                async move {
                    if r.fetch_add(1, Ordering::SeqCst) == 0 {
                        q.add(item);
                        q.add(item);
                    }
                    Ok(None)
                }
            })
            .await;
        });
        queue.add(1);
        queue.add(1);
        settles(&runs, 2).await;
        worker.abort();
    }

    #[tokio::test]
    async fn failures_are_tried_again() {
        let queue = Queue::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let (q, r) = (queue.clone(), runs.clone());
        let worker = tokio::spawn(async move {
            q.run("test", 1, move |_: u32| {
                let r = r.clone();
                async move {
                    if r.fetch_add(1, Ordering::SeqCst) < 2 {
                        anyhow::bail!("not yet")
                    } else {
                        Ok(None)
                    }
                }
            })
            .await;
        });
        queue.add(1);
        settles(&runs, 3).await;
        worker.abort();
    }

    #[tokio::test]
    async fn of_several_delays_the_earliest_counts() {
        let queue = Queue::new();
        for millis in [60_000, 10, 30_000] {
            queue.add_after(1, Duration::from_millis(millis));
        }
        let start = Instant::now();
        assert_eq!(queue.next().await, 1);
        assert!(start.elapsed() < Duration::from_secs(20));
        queue.done(&1);
        assert!(queue.is_empty() && queue.state.lock().later.is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let queue = Queue::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let (q, r) = (queue.clone(), runs.clone());
        let worker = tokio::spawn(async move {
            q.run("test", 1, move |_: u32| {
                let r = r.clone();
                async move {
                    assert!(
                        r.fetch_add(1, Ordering::SeqCst) > 0,
                        "the first time panics"
                    );
                    Ok(None)
                }
            })
            .await;
        });
        queue.add(1);
        settles(&runs, 2).await;
        worker.abort();
    }
}
