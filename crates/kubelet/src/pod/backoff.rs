//! Growing delays between tries: 10 s after the first failure, doubled each time up to 5 min, forgotten after a quiet time.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LAST: SignedDuration = SignedDuration::from_secs(300);

/// The delay of one thing that may fail again and again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    delay: Option<SignedDuration>,
    since: Option<Timestamp>,
}

impl Backoff {
    fn expired(&self, event: Timestamp) -> bool {
        self.since
            .is_none_or(|since| event.duration_since(since) > LAST * 2)
    }

    /// Until when to wait after a failure at `event`. `None` when there is nothing to wait for.
    pub fn until(&self, event: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let delay = self.delay.filter(|_| !self.expired(event))?;
        let until = event.checked_add(delay).ok()?;
        (until > now).then_some(until)
    }

    /// Counts another try at `now` after a failure at `event`.
    pub fn next(&mut self, event: Timestamp, now: Timestamp) {
        let grown = self
            .delay
            .filter(|_| !self.expired(event))
            .map(|d| (d * 2).min(LAST));
        self.delay = Some(grown.unwrap_or(FIRST));
        self.since = Some(now);
    }

    pub fn delay(&self) -> SignedDuration {
        self.delay.unwrap_or(FIRST)
    }

    pub fn reset(&mut self) {
        *self = Backoff::default();
    }
}

/// A delay in the original's words: `10s`, `1m20s`, `5m0s`.
pub fn words(delay: SignedDuration) -> String {
    let seconds = delay.as_secs();
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn delays_double_and_end_at_five_minutes() {
        let mut b = Backoff::default();
        let mut now = 1000;
        let mut seen = Vec::new();
        for _ in 0..8 {
            seen.push(b.until(at(now), at(now)).map_or(0, |t| t.as_second() - now));
            now += seen.last().copied().unwrap_or(0) + 1;
            b.next(at(now), at(now));
        }
        assert_eq!(seen, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_long_run_forgives() {
        let mut b = Backoff::default();
        b.next(at(0), at(0));
        b.next(at(20), at(20));
        assert_eq!(b.until(at(700), at(700)), None);
        b.next(at(700), at(700));
        assert_eq!(b.delay(), FIRST);
    }

    #[test]
    fn delays_in_words() {
        let cases = [(10, "10s"), (80, "1m20s"), (300, "5m0s")];
        for (seconds, text) in cases {
            assert_eq!(words(SignedDuration::from_secs(seconds)), text);
        }
    }
}
