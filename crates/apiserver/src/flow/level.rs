//! The seats of one priority level.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{queues::Queues, shares::Bounds};

/// How requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queuing {
    pub queues: usize,
    pub hand: usize,
    /// Requests that one queue holds.
    pub length: usize,
}

/// Why a request found no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Full,
    QueueFull,
    TimedOut,
}

pub struct Level {
    pub name: String,
    pub uid: HeaderValue,
    exempt: bool,
    queuing: Option<Queuing>,
    bounds: Mutex<Bounds>,
    /// Seats there are now, lent ones included.
    limit: AtomicU32,
    used: AtomicU32,
    /// Requests in the queues.
    waiting: AtomicU32,
    /// The most seats that were used and waited for since this was last read.
    demand: AtomicU32,
    state: Mutex<Queues<oneshot::Sender<Seat>>>,
    began: Instant,
}

/// A place in a level, given back when it is dropped.
pub struct Seat {
    held: Held,
    width: u32,
}

enum Held {
    Level {
        level: Arc<Level>,
        /// The queue it came through.
        queue: Option<usize>,
        since: Instant,
    },
    Plain(Arc<AtomicU32>),
    Nothing,
}

impl Level {
    pub fn new(
        name: String,
        uid: HeaderValue,
        exempt: bool,
        bounds: Bounds,
        queuing: Option<Queuing>,
    ) -> Self {
        let state = match queuing {
            Some(q) => Queues::new(q.queues, q.hand, q.length),
            None => Queues::new(1, 1, 0),
        };
        Level {
            name,
            uid,
            exempt,
            queuing,
            bounds: Mutex::new(bounds),
            limit: AtomicU32::new(bounds.nominal),
            used: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            demand: AtomicU32::new(0),
            state: Mutex::new(state),
            began: Instant::now(),
        }
    }

    pub fn exempt(&self) -> bool {
        self.exempt
    }

    /// Whether an object's new state is this very level with at most other bounds.
    pub fn fits(&self, uid: &str, exempt: bool, queuing: Option<Queuing>) -> bool {
        self.uid.as_bytes() == uid.as_bytes() && self.exempt == exempt && self.queuing == queuing
    }

    pub fn bounds(&self) -> Bounds {
        *self.bounds.lock()
    }

    pub fn set_bounds(self: &Arc<Self>, bounds: Bounds) {
        let changed = std::mem::replace(&mut *self.bounds.lock(), bounds) != bounds;
        if changed {
            self.set_limit(bounds.nominal);
        }
    }

    pub fn set_limit(self: &Arc<Self>, limit: u32) {
        self.limit.store(limit, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.serve(&mut self.state.lock());
        }
    }

    /// The most seats that were needed since the last call.
    pub fn take_demand(&self) -> u32 {
        let now = self
            .used
            .load(SeqCst)
            .saturating_add(self.waiting.load(SeqCst));
        self.demand.swap(now, SeqCst).max(now)
    }

    /// Takes `width` seats, waiting for them at most for `wait` where there are queues.
    ///
    /// # Errors
    /// Why there is no seat.
    pub async fn enter(
        self: &Arc<Self>,
        width: u32,
        flow: impl FnOnce() -> u64,
        wait: Duration,
    ) -> Result<Seat, Refused> {
        if self.exempt {
            self.used.fetch_add(width, SeqCst);
            return Ok(self.seat(width, None));
        }
        if self.waiting.load(SeqCst) == 0
            && let Some(width) = self.take(width)
        {
            return Ok(self.seat(width, None));
        }
        if self.queuing.is_none() {
            return Err(Refused::Full);
        }
        self.wait(width, flow(), wait).await
    }

    async fn wait(
        self: &Arc<Self>,
        width: u32,
        flow: u64,
        wait: Duration,
    ) -> Result<Seat, Refused> {
        let (give, mut given) = oneshot::channel();
        let id = {
            let mut state = self.state.lock();
            let now = self.now();
            let id = state
                .add(flow, width, give, now, self.limit.load(SeqCst))
                .map_err(|_| Refused::QueueFull)?;
            // Before seats are looked for again, so that whoever frees one in between sees that somebody waits.
            self.waiting.store(state.waiting() as u32, SeqCst);
            self.serve(&mut state);
            id
        };
        let guard = Leave { level: self, id };
        match tokio::time::timeout(wait, &mut given).await {
            Ok(Ok(seat)) => {
                std::mem::forget(guard);
                Ok(seat)
            }
            _ => {
                drop(guard);
                // A seat may have come at the last moment.
                given.try_recv().map_err(|_| Refused::TimedOut)
            }
        }
    }

    /// Takes seats when they are free. A request that is wider than the level takes all of them.
    fn take(&self, width: u32) -> Option<u32> {
        let limit = self.limit.load(SeqCst);
        if limit == 0 {
            return None;
        }
        let width = width.min(limit);
        let mut used = self.used.load(SeqCst);
        while used.saturating_add(width) <= limit {
            match self
                .used
                .compare_exchange_weak(used, used + width, SeqCst, SeqCst)
            {
                Ok(_) => {
                    self.demand.fetch_max(used + width, SeqCst);
                    return Some(width);
                }
                Err(now) => used = now,
            }
        }
        None
    }

    fn seat(self: &Arc<Self>, width: u32, queue: Option<usize>) -> Seat {
        Seat {
            held: Held::Level {
                level: self.clone(),
                queue,
                since: Instant::now(),
            },
            width,
        }
    }

    /// Seconds since this level began.
    fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Gives free seats to those that wait.
    fn serve(self: &Arc<Self>, state: &mut Queues<oneshot::Sender<Seat>>) {
        loop {
            let limit = self.limit.load(SeqCst);
            let free = limit.saturating_sub(self.used.load(SeqCst));
            if free == 0 {
                break;
            }
            let Some(next) = state.next(free, self.now(), limit) else {
                break;
            };
            self.used.fetch_add(next.width, SeqCst);
            let seat = self.seat(next.width, Some(next.queue));
            if let Err(mut seat) = next.item.send(seat) {
                // Nobody waits for it any more. Given back as usual it would take the lock that is held here.
                seat.held = Held::Nothing;
                self.used.fetch_sub(next.width, SeqCst);
                state.done(next.queue, next.width, 0.0, self.now(), limit);
            }
        }
        let waiting = state.waiting() as u32;
        self.waiting.store(waiting, SeqCst);
        self.demand
            .fetch_max(self.used.load(SeqCst).saturating_add(waiting), SeqCst);
    }
}

/// Leaves the queue when its request is given up.
struct Leave<'a> {
    level: &'a Arc<Level>,
    id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.level.state.lock();
        state.give_up(self.id);
        self.level.waiting.store(state.waiting() as u32, SeqCst);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        match &self.held {
            Held::Nothing => {}
            Held::Plain(used) => {
                used.fetch_sub(self.width, SeqCst);
            }
            Held::Level {
                level,
                queue,
                since,
            } => {
                level.used.fetch_sub(self.width, SeqCst);
                if queue.is_none() && level.waiting.load(SeqCst) == 0 {
                    return;
                }
                let mut state = level.state.lock();
                if let Some(queue) = queue {
                    let seconds = since.elapsed().as_secs_f64();
                    let limit = level.limit.load(SeqCst);
                    state.done(*queue, self.width, seconds, level.now(), limit);
                }
                level.serve(&mut state);
            }
        }
    }
}

/// The two limits of servers without fairness.
pub struct Limits {
    reads: (u32, Arc<AtomicU32>),
    writes: (u32, Arc<AtomicU32>),
}

impl Limits {
    /// Zero is without a limit.
    pub fn new(reads: u32, writes: u32) -> Self {
        Limits {
            reads: (reads, Arc::default()),
            writes: (writes, Arc::default()),
        }
    }

    /// None when all are taken.
    pub fn enter(&self, write: bool) -> Option<Seat> {
        let (limit, used) = if write { &self.writes } else { &self.reads };
        let seat = Seat {
            held: Held::Plain(used.clone()),
            width: 1,
        };
        let before = used.fetch_add(1, SeqCst);
        (*limit == 0 || before < *limit).then_some(seat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(nominal: u32, queuing: Option<Queuing>) -> Arc<Level> {
        let bounds = Bounds {
            nominal,
            least: nominal,
            most: nominal,
        };
        let uid = HeaderValue::from_static("u");
        Arc::new(Level::new("l".into(), uid, false, bounds, queuing))
    }

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn without_queues_who_finds_no_seat_is_refused() {
        let level = level(2, None);
        let first = level.enter(1, || 0, LONG).await.ok();
        let second = level.enter(5, || 0, LONG).await;
        assert!(first.is_some() && second.is_err());
        drop(first);
        assert!(
            level.enter(5, || 0, LONG).await.is_ok(),
            "all seats are enough"
        );
    }

    #[tokio::test]
    async fn with_queues_it_waits_for_its_turn() {
        let queuing = Queuing {
            queues: 4,
            hand: 2,
            length: 2,
        };
        let level = level(1, Some(queuing));
        let seat = level.enter(1, || 1, LONG).await.ok().unwrap();
        assert_eq!(
            level.enter(1, || 1, SHORT).await.err(),
            Some(Refused::TimedOut)
        );
        let next = tokio::spawn({
            let level = level.clone();
            async move { level.enter(1, || 1, LONG).await.is_ok() }
        });
        tokio::time::sleep(SHORT).await;
        assert_eq!(level.waiting.load(SeqCst), 1);
        drop(seat);
        assert!(next.await.unwrap());
        assert_eq!(
            (level.used.load(SeqCst), level.waiting.load(SeqCst)),
            (0, 0)
        );
        assert_eq!(level.take_demand(), 2);
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_leaves_nothing_behind() {
        let queuing = Queuing {
            queues: 1,
            hand: 1,
            length: 9,
        };
        let level = level(1, Some(queuing));
        let seat = level.enter(1, || 1, LONG).await.ok();
        let waiter = tokio::spawn({
            let level = level.clone();
            async move { level.enter(1, || 1, LONG).await.is_ok() }
        });
        tokio::time::sleep(SHORT).await;
        waiter.abort();
        let _ = waiter.await;
        assert_eq!(level.waiting.load(SeqCst), 0);
        drop(seat);
        assert!(level.enter(1, || 1, SHORT).await.is_ok());
        assert_eq!(level.used.load(SeqCst), 0);
    }

    #[test]
    fn plain_limits() {
        let limits = Limits::new(1, 0);
        let one = limits.enter(false);
        assert!(one.is_some() && limits.enter(false).is_none() && limits.enter(true).is_some());
        drop(one);
        assert!(limits.enter(false).is_some());
    }
}
