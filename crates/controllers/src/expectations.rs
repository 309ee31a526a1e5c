//! What a controller has asked for and its cache does not show yet.
//!
//! A controller that creates three pods and looks again before the watch has told of them would create three more.
//! It therefore notes what it expects, and leaves the number alone until all of that has been seen.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// After this long a lost event, or a create that never came about, is assumed.
const GIVE_UP: Duration = Duration::from_secs(300);

struct Expected {
    creates: usize,
    /// Uids.
    deletes: HashSet<String>,
    since: Instant,
}

/// Expectations by the owner's uid.
#[derive(Default)]
pub struct Expectations {
    by_owner: Mutex<HashMap<String, Expected>>,
}

impl Expectations {
    /// To be called before creating.
    pub fn creating(&self, owner: &str, count: usize) {
        let expected = Expected {
            creates: count,
            deletes: HashSet::new(),
            since: Instant::now(),
        };
        self.by_owner.lock().insert(owner.to_owned(), expected);
    }

    /// To be called before deleting.
    pub fn deleting(&self, owner: &str, uids: impl IntoIterator<Item = String>) {
        let expected = Expected {
            creates: 0,
            deletes: uids.into_iter().collect(),
            since: Instant::now(),
        };
        self.by_owner.lock().insert(owner.to_owned(), expected);
    }

    /// `count` creations were seen, or did not succeed.
    pub fn created(&self, owner: &str, count: usize) {
        if let Some(expected) = self.by_owner.lock().get_mut(owner) {
            expected.creates = expected.creates.saturating_sub(count);
        }
    }

    /// A deletion was seen to begin or end, or did not succeed.
    pub fn deleted(&self, owner: &str, uid: &str) {
        if let Some(expected) = self.by_owner.lock().get_mut(owner) {
            expected.deletes.remove(uid);
        }
    }

    /// Whether the cache shows all that was asked for.
    pub fn met(&self, owner: &str) -> bool {
        let by_owner = self.by_owner.lock();
        let Some(expected) = by_owner.get(owner) else {
            return true;
        };
        (expected.creates == 0 && expected.deletes.is_empty()) || expected.since.elapsed() > GIVE_UP
    }

    /// The owner is gone.
    pub fn forget(&self, owner: &str) {
        self.by_owner.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn met_once_all_was_seen() {
        let e = Expectations::default();
        assert!(e.met("rs"));
        e.creating("rs", 2);
        e.created("rs", 1);
        assert!(!e.met("rs"));
        e.created("rs", 1);
        e.created("rs", 1);
        assert!(e.met("rs"));
        e.deleting("rs", ["a".to_owned(), "b".to_owned()]);
        e.deleted("rs", "a");
        e.deleted("rs", "x");
        assert!(!e.met("rs"));
        e.deleted("rs", "b");
        assert!(e.met("rs"));
    }
}
