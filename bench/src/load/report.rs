//! What is told.

use std::time::Duration;

/// Latencies of one measurement.
#[derive(Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub fn extend(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `p50 1.2 ms, p99 3.4 ms, longest 9.9 ms`
    pub fn tell(mut self) -> String {
        self.0.sort_unstable();
        let at = |part: f64| {
            let index = (self.0.len() as f64 * part) as usize;
            let found = self.0.get(index.min(self.0.len().saturating_sub(1)));
            found.copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        format!(
            "p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            at(0.5),
            at(0.99),
            at(1.0)
        )
    }
}

/// Resident memory of the named processes, and their sum.
pub fn memory(when: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let resident = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
        number.unwrap_or_default() / 1024.0
    };
    let each: Vec<f64> = pids.iter().map(resident).collect();
    println!(
        "resident memory {when}: {:.0} MiB {each:.0?}",
        each.iter().sum::<f64>()
    );
}
