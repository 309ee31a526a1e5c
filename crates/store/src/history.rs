//! The recent changes of one resource: what watches read and what old views are made from.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures::task::AtomicWaker;
use parking_lot::{Mutex, RwLock};

use crate::{Event, RevisionError, model::Limits};

pub(crate) struct History {
    ring: RwLock<Ring>,
    /// Position behind the ring's last event, for those who only want to know whether there is more.
    end: AtomicU64,
    /// Those who want to know of the next push.
    wakers: Mutex<HashMap<u64, Arc<AtomicWaker>>>,
    next_waker: AtomicU64,
    limits: Limits,
}

struct Ring {
    events: VecDeque<Entry>,
    /// Position of `events[0]` in the sequence of all events ever pushed here.
    first: u64,
    /// Revision of the newest event that is gone; changes up to it are not known.
    compacted: u64,
    /// Weight of `events`.
    bytes: usize,
}

/// An event and when it came.
pub(crate) struct Entry {
    event: Arc<Event>,
    at: Instant,
}

/// What an event keeps from being freed, about: the state it replaced, and the frame that its first watcher makes.
pub(crate) fn weight(event: &Event) -> usize {
    event.object.json.len() + event.previous.as_ref().map_or(0, |p| p.json.len())
}

impl History {
    /// `opened` is the revision up to which nothing is known.
    pub(crate) fn new(opened: u64, limits: Limits) -> Self {
        History {
            ring: RwLock::new(Ring {
                events: VecDeque::new(),
                first: 0,
                compacted: opened,
                bytes: 0,
            }),
            end: AtomicU64::new(0),
            wakers: Mutex::default(),
            next_waker: AtomicU64::new(0),
            limits,
        }
    }

    /// Appends events in revision order. Gives back what had to go, to be freed outside of locks.
    pub(crate) fn push(&self, events: &[Arc<Event>]) -> Vec<Entry> {
        let at = Instant::now();
        let mut ring = self.ring.write();
        for event in events {
            ring.bytes += weight(event);
            ring.events.push_back(Entry {
                event: event.clone(),
                at,
            });
        }
        self.end.store(ring.end(), Ordering::Release);
        ring.shed(at, &self.limits)
    }

    /// Nothing is known up to `revision` any more; all who read here are too late. Gives back what had to go.
    pub(crate) fn reset(&self, revision: u64) -> VecDeque<Entry> {
        let mut ring = self.ring.write();
        let gone = std::mem::take(&mut ring.events);
        // One more, so that a reader at the end is too late as well.
        ring.first += gone.len() as u64 + 1;
        ring.compacted = revision;
        ring.bytes = 0;
        self.end.store(ring.end(), Ordering::Release);
        gone
    }

    /// Lets go of what has grown old without a push.
    pub(crate) fn trim(&self) {
        let gone = {
            let mut ring = self.ring.write();
            let gone = ring.shed(Instant::now(), &self.limits);
            let spare = ring.events.len().max(64) * 2;
            ring.events.shrink_to(spare);
            gone
        };
        drop(gone);
    }

    /// All events, and the newest revision before them.
    pub(crate) fn all(&self) -> (u64, Vec<Arc<Event>>) {
        let ring = self.ring.read();
        let events = ring.events.iter().map(|entry| entry.event.clone());
        (ring.compacted, events.collect())
    }

    /// All events behind `revision`.
    pub(crate) fn since(&self, revision: u64) -> Result<Vec<Arc<Event>>, RevisionError> {
        let ring = self.ring.read();
        let from = ring.index_behind(revision)?;
        Ok(ring
            .events
            .range(from..)
            .map(|entry| entry.event.clone())
            .collect())
    }

    /// Position of the first event behind `revision`.
    pub(crate) fn position(&self, revision: u64) -> Result<u64, RevisionError> {
        let ring = self.ring.read();
        ring.index_behind(revision)
            .map(|index| ring.first + index as u64)
    }

    /// Looks at up to `most` events from position `from` on and takes those that are `wanted`. Gives the position to go on
    /// from and whether that is the end; `Err` with the newest forgotten revision when `from` is gone.
    pub(crate) fn read(
        &self,
        from: u64,
        most: usize,
        wanted: impl Fn(&Event) -> bool,
        into: &mut VecDeque<Arc<Event>>,
    ) -> Result<(u64, bool), u64> {
        let ring = self.ring.read();
        let Some(start) = from.checked_sub(ring.first) else {
            return Err(ring.compacted);
        };
        let start = (start as usize).min(ring.events.len());
        let end = ring.events.len().min(start + most);
        into.extend(
            ring.events
                .range(start..end)
                .map(|entry| &entry.event)
                .filter(|event| wanted(event))
                .cloned(),
        );
        Ok((ring.first + end as u64, end == ring.events.len()))
    }

    /// Whether there is nothing at `from` or behind it.
    pub(crate) fn is_end(&self, from: u64) -> bool {
        from >= self.end.load(Ordering::Acquire)
    }

    pub(crate) fn register(&self) -> (u64, Arc<AtomicWaker>) {
        let id = self.next_waker.fetch_add(1, Ordering::Relaxed);
        let waker = Arc::new(AtomicWaker::new());
        self.wakers.lock().insert(id, waker.clone());
        (id, waker)
    }

    pub(crate) fn unregister(&self, id: u64) {
        self.wakers.lock().remove(&id);
    }

    pub(crate) fn wake(&self) {
        self.wakers.lock().values().for_each(|waker| waker.wake());
    }
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn index_behind(&self, revision: u64) -> Result<usize, RevisionError> {
        if revision < self.compacted {
            return Err(RevisionError::Compacted {
                asked: revision,
                oldest: self.compacted,
            });
        }
        Ok(self
            .events
            .partition_point(|entry| entry.event.object.revision <= revision))
    }

    /// Takes out what is over the limits: more than enough and too old, or too much to hold.
    fn shed(&mut self, now: Instant, limits: &Limits) -> Vec<Entry> {
        let mut gone = Vec::new();
        while let Some(entry) = self.events.front() {
            let old =
                self.events.len() > limits.count && now.duration_since(entry.at) > limits.keep;
            if !old && self.bytes <= limits.bytes {
                break;
            }
            let Some(entry) = self.events.pop_front() else {
                break;
            };
            self.bytes -= weight(&entry.event);
            self.first += 1;
            self.compacted = entry.event.object.revision;
            gone.push(entry);
        }
        gone
    }
}
