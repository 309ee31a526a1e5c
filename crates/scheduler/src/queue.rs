//! Pods that wait for a node: those to try now, those to try again after a while, and those that wait for something to
//! change. Pure but for the clock, which is handed in.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{framework::Events, pod_info::PodInfo};

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod that waits longer than this is tried again whatever happened: an event may have been misjudged.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Why an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No node does; what may change that.
    Unschedulable(Events),
    /// Something went wrong that has nothing to do with the pod.
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Active,
    /// Until then; `sooner` when it may be tried before, if there is nothing else to do.
    Backoff {
        until: Instant,
        sooner: bool,
    },
    /// For one of these events.
    Waiting {
        wakes: Events,
        since: Instant,
    },
    Gated,
    /// Handed out.
    Tried,
}

struct Item {
    pod: Arc<PodInfo>,
    state: State,
    attempts: u32,
    /// Order of arrival.
    number: u64,
    /// Told apart from entries of former states in the heaps.
    epoch: u64,
    last_try: Option<Instant>,
}

/// Highest priority first, then first come.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    priority: i32,
    number: Reverse<u64>,
    epoch: u64,
    uid: String,
}

/// All pods without a node.
#[derive(Default)]
pub struct Queue {
    items: HashMap<String, Item>,
    /// Uids of those that wait for something to happen: it is looked through at every event.
    waiting: HashSet<String>,
    active: BinaryHeap<Turn>,
    backoff: BinaryHeap<Reverse<(Instant, u64, String)>>,
    numbers: u64,
    epochs: u64,
}

fn backoff(attempts: u32) -> Duration {
    FIRST_BACKOFF
        .saturating_mul(1 << attempts.saturating_sub(1).min(8))
        .min(LAST_BACKOFF)
}

impl Queue {
    /// A pod that came, or changed. A change of it may be all that it takes, so it is tried at once.
    pub fn put(&mut self, pod: Arc<PodInfo>) {
        let uid = pod.uid.clone();
        match self.items.get_mut(&uid) {
            None => {
                self.numbers += 1;
                let item = Item {
                    state: State::Gated,
                    pod: pod.clone(),
                    attempts: 0,
                    number: self.numbers,
                    epoch: 0,
                    last_try: None,
                };
                self.items.insert(uid.clone(), item);
            }
            Some(item) => {
                let same = !decides_anew(&item.pod, &pod);
                item.pod = pod.clone();
                if item.state == State::Tried || (same && item.state != State::Gated) {
                    return;
                }
            }
        }
        if !pod.gated() {
            self.activate(&uid);
        }
    }

    /// The pod is gone, or has a node.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.waiting.remove(uid);
        self.items.remove(uid).map(|i| i.pod)
    }

    pub fn contains(&self, uid: &str) -> bool {
        self.items.contains_key(uid)
    }

    fn activate(&mut self, uid: &str) {
        self.epochs += 1;
        let Some(item) = self.items.get_mut(uid) else {
            return;
        };
        self.waiting.remove(uid);
        item.state = State::Active;
        item.epoch = self.epochs;
        self.active.push(Turn {
            priority: item.pod.priority,
            number: Reverse(item.number),
            epoch: item.epoch,
            uid: uid.to_owned(),
        });
    }

    fn hold(&mut self, uid: &str, until: Instant, sooner: bool) {
        self.epochs += 1;
        let Some(item) = self.items.get_mut(uid) else {
            return;
        };
        self.waiting.remove(uid);
        item.state = State::Backoff { until, sooner };
        item.epoch = self.epochs;
        self.backoff
            .push(Reverse((until, item.epoch, uid.to_owned())));
    }

    /// The pod whose turn it is, if there is one. It stays known until it is removed or [`Queue::failed`].
    pub fn next(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.release(now);
        loop {
            let uid = match self.active.pop() {
                Some(turn) => match self.items.get(&turn.uid) {
                    Some(item) if item.epoch == turn.epoch => turn.uid,
                    _ => continue,
                },
                // Nothing else to do: why wait?
                None => self.impatient()?,
            };
            let item = self.items.get_mut(&uid)?;
            item.state = State::Tried;
            item.attempts += 1;
            item.last_try = Some(now);
            return Some(item.pod.clone());
        }
    }

    /// The first of those that wait only because they failed before.
    fn impatient(&mut self) -> Option<String> {
        let mut kept = Vec::new();
        let mut found = None;
        while let Some(Reverse((until, epoch, uid))) = self.backoff.pop() {
            let Some(item) = self.items.get(&uid).filter(|i| i.epoch == epoch) else {
                continue;
            };
            if matches!(item.state, State::Backoff { sooner: true, .. }) {
                found = Some(uid);
                break;
            }
            kept.push(Reverse((until, epoch, uid)));
        }
        self.backoff.extend(kept);
        found
    }

    /// Moves those whose time has come.
    fn release(&mut self, now: Instant) {
        while let Some(Reverse((until, epoch, uid))) = self.backoff.peek() {
            let current = self.items.get(uid).is_some_and(|i| i.epoch == *epoch);
            if current && *until > now {
                break;
            }
            let uid = uid.clone();
            self.backoff.pop();
            if current {
                self.activate(&uid);
            }
        }
    }

    /// The attempt came to nothing.
    pub fn failed(&mut self, uid: &str, failure: Failure, now: Instant) {
        let Some(item) = self.items.get_mut(uid) else {
            return;
        };
        match failure {
            Failure::Error => {
                let until = now + backoff(item.attempts);
                self.hold(uid, until, false);
            }
            Failure::Unschedulable(wakes) => {
                item.state = State::Waiting { wakes, since: now };
                self.waiting.insert(uid.to_owned());
            }
        }
    }

    /// Something happened: those that wait for it get another try, after their backoff.
    pub fn happened(&mut self, events: Events, now: Instant) {
        let meant = |uid: &&String| {
            let state = self.items.get(*uid).map(|i| i.state);
            matches!(state, Some(State::Waiting { wakes, .. }) if wakes.meets(events))
        };
        let number = |uid: &String| (self.items.get(uid).map(|i| i.number), uid.clone());
        let mut woken: Vec<_> = self.waiting.iter().filter(meant).map(number).collect();
        woken.sort();
        for (_, uid) in woken {
            self.wake(&uid, now);
        }
    }

    fn wake(&mut self, uid: &str, now: Instant) {
        let Some(item) = self.items.get(uid) else {
            return;
        };
        let until = item.last_try.map(|t| t + backoff(item.attempts));
        match until.filter(|u| *u > now) {
            Some(until) => self.hold(uid, until, true),
            None => self.activate(uid),
        }
    }

    /// Wakes those that have waited too long.
    pub fn expire(&mut self, now: Instant) {
        let uids: Vec<String> = self
            .waiting
            .iter()
            .filter(|u| self.overdue_at(u).is_some_and(|t| now >= t))
            .cloned()
            .collect();
        uids.iter().for_each(|uid| self.activate(uid));
    }

    /// When to look again if nothing happens before.
    pub fn next_due(&self) -> Option<Instant> {
        let backoff = self.backoff.peek().map(|Reverse((until, ..))| *until);
        self.waiting
            .iter()
            .filter_map(|u| self.overdue_at(u))
            .chain(backoff)
            .min()
    }

    fn overdue_at(&self, uid: &str) -> Option<Instant> {
        match self.items.get(uid)?.state {
            State::Waiting { since, .. } => Some(since + LONGEST_WAIT),
            _ => None,
        }
    }
}

/// Whether a change of a pod may change where it can go.
fn decides_anew(old: &PodInfo, new: &PodInfo) -> bool {
    old.pod.spec != new.pod.spec || old.labels() != new.labels()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_info::tests::pod;
    use serde_json::json;

    fn named(name: &str, priority: i32) -> Arc<PodInfo> {
        pod(name, json!({}), json!({"priority": priority}))
    }

    fn next(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.next(now).map(|p| p.uid.clone())
    }

    const NODE: Failure = Failure::Unschedulable(Events::NODE_ADDED);

    #[test]
    fn priority_then_first_come() {
        let (mut q, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
            q.put(named(name, priority));
        }
        let order: Vec<_> = std::iter::from_fn(|| next(&mut q, now)).collect();
        assert_eq!(order, ["b", "d", "a", "c"]);
    }

    #[test]
    fn waits_for_what_may_help() {
        let (mut q, now) = (Queue::default(), Instant::now());
        q.put(named("a", 0));
        assert_eq!(next(&mut q, now).as_deref(), Some("a"));
        q.failed("a", NODE, now);
        q.happened(Events::POD_GONE, now);
        assert_eq!(next(&mut q, now), None);
        // There is nothing else to do, so its backoff is not waited for.
        q.happened(Events::NODE_ADDED, now);
        assert_eq!(next(&mut q, now).as_deref(), Some("a"));
        q.failed("a", NODE, now);
        // With something else to do it is.
        q.put(named("b", -1));
        q.happened(Events::NODE_ADDED, now);
        assert_eq!(next(&mut q, now).as_deref(), Some("b"));
    }

    #[test]
    fn errors_wait_longer_each_time() {
        let (mut q, mut now) = (Queue::default(), Instant::now());
        q.put(named("a", 0));
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert_eq!(next(&mut q, now).as_deref(), Some("a"));
            q.failed("a", Failure::Error, now);
            assert_eq!(q.next_due(), Some(now + Duration::from_secs(seconds)));
            assert_eq!(
                next(&mut q, now + Duration::from_millis(seconds * 1000 - 1)),
                None
            );
            now += Duration::from_secs(seconds);
        }
    }

    #[test]
    fn gates_hold_until_they_are_gone() {
        let (mut q, now) = (Queue::default(), Instant::now());
        let gated = pod("a", json!({}), json!({"schedulingGates": [{"name": "g"}]}));
        q.put(gated);
        q.happened(Events::ALL, now);
        assert_eq!((next(&mut q, now), q.next_due()), (None, None));
        q.put(named("a", 0));
        assert_eq!(next(&mut q, now).as_deref(), Some("a"));
    }

    #[test]
    fn a_change_of_status_is_no_reason_to_try_again() {
        let (mut q, now) = (Queue::default(), Instant::now());
        q.put(named("a", 0));
        next(&mut q, now);
        q.failed("a", NODE, now);
        q.put(named("a", 0));
        assert_eq!(next(&mut q, now), None);
        q.put(pod("a", json!({"new": "label"}), json!({"priority": 0})));
        assert_eq!(next(&mut q, now).as_deref(), Some("a"));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (mut q, now) = (Queue::default(), Instant::now());
        q.put(named("a", 0));
        next(&mut q, now);
        q.failed("a", NODE, now);
        assert_eq!(q.next_due(), Some(now + LONGEST_WAIT));
        q.expire(now + LONGEST_WAIT);
        assert_eq!(next(&mut q, now + LONGEST_WAIT).as_deref(), Some("a"));
        assert!(q.remove("a").is_some() && !q.contains("a"));
    }
}
