//! Queues of one priority level: each flow has a hand of them (shuffle sharding), and the queue whose work would be done
//! first in a fair world is served next. Pure: the clock is given.

use std::collections::VecDeque;

/// Seconds of work that a request is taken for until it is known.
const GUESS: f64 = 0.003;

/// One that waits.
struct Waiting<T> {
    id: u64,
    width: u32,
    item: T,
}

struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    /// When, in virtual seconds, the next request of this queue begins.
    begins: f64,
    /// Requests of this queue that are being worked on.
    working: u32,
}

/// Queues that share seats.
pub struct Queues<T> {
    queues: Vec<Queue<T>>,
    hand: usize,
    length: usize,
    /// Virtual time, and the real time it was reckoned at (seconds).
    now: f64,
    at: f64,
    next_id: u64,
    waiting: usize,
    /// Where the search for the next begins, so that equals take turns.
    turn: usize,
}

/// One that was let go.
pub struct Next<T> {
    pub item: T,
    pub queue: usize,
    pub width: u32,
}

impl<T> Queues<T> {
    pub fn new(count: usize, hand: usize, length: usize) -> Self {
        let queue = || Queue {
            waiting: VecDeque::new(),
            begins: 0.0,
            working: 0,
        };
        Queues {
            queues: (0..count).map(|_| queue()).collect(),
            hand: hand.min(count),
            length,
            now: 0.0,
            at: 0.0,
            next_id: 0,
            waiting: 0,
            turn: 0,
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Virtual time goes as fast as each busy queue is served.
    fn advance(&mut self, real: f64, seats: u32) {
        let busy = self
            .queues
            .iter()
            .filter(|q| !q.waiting.is_empty() || q.working > 0)
            .count();
        if busy > 0 {
            let working: u32 = self.queues.iter().map(|q| q.working).sum();
            let demand = (self.waiting as f64 + f64::from(working)).min(f64::from(seats));
            self.now += (real - self.at).max(0.0) * demand / busy as f64;
        }
        self.at = real;
    }

    /// Puts a request into the shortest queue of its flow's hand. Gives its id, or the request back when that is full.
    pub fn add(&mut self, flow: u64, width: u32, item: T, real: f64, seats: u32) -> Result<u64, T> {
        self.advance(real, seats);
        let work = |q: &Queue<T>| q.waiting.iter().map(|w| u64::from(w.width)).sum::<u64>();
        let best = deal(flow, self.queues.len(), self.hand)
            .into_iter()
            .min_by_key(|n| (work(&self.queues[*n]), self.queues[*n].working));
        let Some(queue) = best.map(|n| &mut self.queues[n]) else {
            return Err(item);
        };
        if queue.waiting.len() >= self.length {
            return Err(item);
        }
        if queue.waiting.is_empty() && queue.working == 0 {
            // Time in which a queue had nothing to do is not saved up.
            queue.begins = self.now;
        }
        self.next_id += 1;
        let id = self.next_id;
        queue.waiting.push_back(Waiting { id, width, item });
        self.waiting += 1;
        Ok(id)
    }

    /// Lets the next one go, when `free` seats are enough for it.
    pub fn next(&mut self, free: u32, real: f64, seats: u32) -> Option<Next<T>> {
        self.advance(real, seats);
        let count = self.queues.len();
        let order = (0..count).map(|n| (self.turn + n) % count);
        let head = |n: &usize| {
            let queue = &self.queues[*n];
            let width = queue.waiting.front()?.width;
            Some((queue.begins + GUESS * f64::from(width), *n))
        };
        let candidates = order.filter_map(|n| head(&n));
        let (_, chosen) = candidates.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let queue = &mut self.queues[chosen];
        // One that needs more than all seats goes when it is alone.
        let needed = queue.waiting.front()?.width.min(seats.max(1));
        if needed > free {
            return None;
        }
        let Waiting { width, item, .. } = queue.waiting.pop_front()?;
        queue.begins += GUESS * f64::from(width);
        queue.working += 1;
        self.waiting -= 1;
        self.turn = (chosen + 1) % count;
        Some(Next {
            item,
            queue: chosen,
            width: needed,
        })
    }

    /// A request of a queue is done after `seconds`.
    pub fn done(&mut self, queue: usize, width: u32, seconds: f64, real: f64, seats: u32) {
        self.advance(real, seats);
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.working = queue.working.saturating_sub(1);
            queue.begins += (seconds - GUESS) * f64::from(width);
        }
    }

    /// Takes one back that has waited long enough.
    pub fn give_up(&mut self, id: u64) -> Option<T> {
        for queue in &mut self.queues {
            if let Some(at) = queue.waiting.iter().position(|w| w.id == id) {
                self.waiting -= 1;
                return queue.waiting.remove(at).map(|w| w.item);
            }
        }
        None
    }
}

/// A hand of different queues for a flow.
fn deal(mut hash: u64, queues: usize, hand: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..queues).collect();
    let mut out = Vec::with_capacity(hand);
    for _ in 0..hand.min(queues) {
        let count = left.len() as u64;
        let pick = usize::try_from(hash % count).unwrap_or(0);
        // The rest of the division serves the next card; what is used up is stirred.
        hash = (hash / count) ^ hash.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        out.push(left.swap_remove(pick));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_are_of_different_queues_and_differ_by_flow() {
        let hand = deal(12345, 64, 8);
        let mut sorted = hand.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 8);
        assert_eq!(deal(12345, 64, 8), hand);
        assert_ne!(deal(54321, 64, 8), hand);
        assert_eq!(deal(1, 2, 8).len(), 2);
    }

    #[test]
    fn a_flood_does_not_hold_up_others() {
        let mut queues = Queues::new(16, 1, 100);
        let (loud, quiet) = (0, 1);
        for n in 0..50 {
            assert!(queues.add(loud, 1, format!("loud{n}"), 0.0, 1).is_ok());
        }
        assert!(queues.add(quiet, 1, "quiet".into(), 0.0, 1).is_ok());
        let mut served = Vec::new();
        for n in 0..4 {
            let next = queues.next(1, f64::from(n) * 0.01, 1).unwrap();
            served.push(next.item);
            queues.done(next.queue, 1, 0.01, f64::from(n + 1) * 0.01, 1);
        }
        assert!(served.contains(&"quiet".to_owned()), "{served:?}");
    }

    #[test]
    fn wide_requests_wait_for_their_seats() {
        let mut queues = Queues::new(1, 1, 2);
        assert!(queues.add(1, 5, "wide", 0.0, 4).is_ok());
        assert!(queues.next(3, 0.0, 4).is_none(), "not all seats are free");
        let next = queues.next(4, 0.0, 4).unwrap();
        assert_eq!((next.item, next.width), ("wide", 4));
    }

    #[test]
    fn queues_fill_up_and_can_be_left() {
        let mut queues = Queues::new(1, 1, 2);
        let first = queues.add(1, 1, "a", 0.0, 1).unwrap();
        assert!(queues.add(1, 1, "b", 0.0, 1).is_ok());
        assert_eq!(queues.add(1, 1, "c", 0.0, 1), Err("c"));
        assert_eq!(queues.give_up(first), Some("a"));
        assert_eq!(queues.give_up(first), None);
        assert_eq!(queues.waiting(), 1);
        assert_eq!(queues.next(1, 0.0, 1).map(|n| n.item), Some("b"));
    }
}
