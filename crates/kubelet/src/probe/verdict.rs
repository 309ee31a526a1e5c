//! From single results to verdicts by thresholds. Pure.

/// Which question a probe answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    Startup,
    Liveness,
    Readiness,
}

impl What {
    /// As in events: `Readiness probe failed`.
    pub fn name(self) -> &'static str {
        match self {
            What::Startup => "Startup",
            What::Liveness => "Liveness",
            What::Readiness => "Readiness",
        }
    }
}

/// Counts results in a row.
pub struct Tally {
    need_good: u32,
    need_bad: u32,
    last: Option<bool>,
    run: u32,
    verdict: Option<bool>,
}

impl Tally {
    pub fn new(what: What, success_threshold: Option<i32>, failure_threshold: Option<i32>) -> Self {
        let threshold = |v: Option<i32>, default| {
            v.and_then(|v| u32::try_from(v).ok())
                .filter(|v| *v > 0)
                .unwrap_or(default)
        };
        let need_good = if what == What::Readiness {
            threshold(success_threshold, 1)
        } else {
            1
        };
        // What a container is taken for before anything was seen.
        let verdict = match what {
            What::Startup => None,
            What::Liveness => Some(true),
            What::Readiness => Some(false),
        };
        Tally {
            need_good,
            need_bad: threshold(failure_threshold, 3),
            last: None,
            run: 0,
            verdict,
        }
    }

    /// Counts a result. Some when the verdict changes.
    pub fn count(&mut self, good: bool) -> Option<bool> {
        self.run = if self.last == Some(good) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.last = Some(good);
        let enough = self.run >= if good { self.need_good } else { self.need_bad };
        if !enough || self.verdict == Some(good) {
            return None;
        }
        self.verdict = Some(good);
        Some(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(what: What, good: i32, bad: i32, results: &str) -> String {
        let mut tally = Tally::new(what, Some(good), Some(bad));
        let word = |c| match tally.count(c == '+') {
            None => '.',
            Some(true) => 'Y',
            Some(false) => 'N',
        };
        results.chars().map(word).collect()
    }

    #[test]
    fn thresholds() {
        let cases = [
            (What::Readiness, 1, 3, "+---+", "Y..NY"),
            (What::Readiness, 2, 1, "+-++", "...Y"),
            (What::Readiness, 1, 1, "---", "..."),
            (What::Liveness, 1, 3, "+--+---", "......N"),
            (What::Liveness, 1, 1, "-", "N"),
            (What::Startup, 1, 3, "--+", "..Y"),
            (What::Startup, 1, 2, "--", ".N"),
        ];
        for (what, good, bad, results, want) in cases {
            assert_eq!(
                run(what, good, bad, results),
                want,
                "{what:?} {good} {bad} {results}"
            );
        }
    }
}
