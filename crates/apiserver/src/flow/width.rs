//! How many seats a request takes: lists of many objects take more than one.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use knarr_store::{Range, Store};
use parking_lot::RwLock;

use crate::chain::Call;

/// Objects per seat, and the most seats of one list.
const PER_SEAT: u64 = 100;
const MOST: u32 = 10;
/// Counts are taken anew after so many seconds, as the original does.
const FRESH: u64 = 60;

/// How many objects there are of a resource, as counted lately.
pub struct Counts {
    store: Store,
    began: Instant,
    known: RwLock<HashMap<String, Count>>,
}

struct Count {
    objects: AtomicU64,
    /// Seconds since `began`.
    at: AtomicU64,
}

impl Counts {
    pub fn new(store: Store) -> Self {
        Counts {
            store,
            began: Instant::now(),
            known: RwLock::default(),
        }
    }

    fn of(&self, prefix: &str) -> u64 {
        let now = self.began.elapsed().as_secs();
        if let Some(count) = self.known.read().get(prefix) {
            let at = count.at.load(Ordering::Relaxed);
            let mine = now < at + FRESH
                || count
                    .at
                    .compare_exchange(at, now, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err();
            if mine {
                return count.objects.load(Ordering::Relaxed);
            }
        }
        let range = Range {
            prefix,
            limit: 1,
            ..Range::default()
        };
        let objects = self
            .store
            .list(range)
            .map_or(0, |l| (l.items.len() + l.remaining) as u64);
        let count = Count {
            objects: AtomicU64::new(objects),
            at: AtomicU64::new(now),
        };
        self.known.write().insert(prefix.to_owned(), count);
        objects
    }
}

/// Seats of a call.
pub fn of(call: &Call, counts: &Counts) -> u32 {
    let info = &call.info;
    let initial = info.verb == "watch" && call.query.flag("sendInitialEvents");
    if info.verb != "list" && !initial {
        return 1;
    }
    // One object, found by its name.
    if !info.name.is_empty() {
        return 1;
    }
    let registry = call.shared.registry.load();
    let Some(resource) = registry.get(&info.group, &info.resource) else {
        return 1;
    };
    let limit = call.query.get("limit").and_then(|l| l.parse().ok());
    seats(counts.of(&resource.prefix()), limit)
}

/// Pure.
fn seats(objects: u64, limit: Option<u64>) -> u32 {
    let read = match limit {
        Some(limit) if limit > 0 => objects.min(limit),
        _ => objects,
    };
    u32::try_from(read.div_ceil(PER_SEAT))
        .unwrap_or(MOST)
        .clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_lists_take_more_seats() {
        let table = [
            (0, None, 1),
            (100, None, 1),
            (101, None, 2),
            (5000, None, 10),
            (5000, Some(150), 2),
            (5000, Some(0), 10),
        ];
        for (objects, limit, want) in table {
            assert_eq!(seats(objects, limit), want, "{objects} {limit:?}");
        }
    }
}
