//! Metrics with labels: what is counted is found by the hash of its labels and changed without a lock.

use std::{
    collections::HashMap,
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::RwLock;

/// Series of one family beyond this are not kept: clients choose paths, and must not fill the memory with them.
const MOST: usize = 20_000;

/// What a series holds.
pub trait Value: Default {
    const KIND: &'static str;

    /// Writes the lines of a series; `labels` are without braces.
    fn write(&self, name: &str, labels: &str, out: &mut String);
}

#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }
}

impl Value for Counter {
    const KIND: &'static str = "counter";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, self.0.load(Relaxed));
    }
}

#[derive(Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }
}

impl Value for Gauge {
    const KIND: &'static str = "gauge";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, self.0.load(Relaxed));
    }
}

/// Upper bounds of a histogram's buckets; the last one, for everything, is not among them.
pub trait Bounds: Default + 'static {
    const BOUNDS: &'static [f64];
    /// The sum is kept as a whole number of these parts of one.
    const PARTS: f64;
}

/// Seconds that requests take.
#[derive(Default)]
pub struct Seconds;

impl Bounds for Seconds {
    const BOUNDS: &'static [f64] = &[
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
        10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
    ];
    const PARTS: f64 = 1e9;
}

/// Bytes that answers have.
#[derive(Default)]
pub struct Sizes;

impl Bounds for Sizes {
    const BOUNDS: &'static [f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    const PARTS: f64 = 1.0;
}

pub struct Histogram<B> {
    /// How many fell into each bucket alone.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
    bounds: B,
}

impl<B: Bounds> Default for Histogram<B> {
    fn default() -> Self {
        Histogram {
            counts: (0..=B::BOUNDS.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            bounds: B::default(),
        }
    }
}

impl<B: Bounds> Histogram<B> {
    pub fn observe(&self, value: f64) {
        let at = B::BOUNDS.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add((value * B::PARTS) as u64, Relaxed);
    }
}

impl<B: Bounds> Value for Histogram<B> {
    const KIND: &'static str = "histogram";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let _ = &self.bounds;
        let (bucket, mut total) = (format!("{name}_bucket"), 0);
        let comma = if labels.is_empty() { "" } else { "," };
        for (i, count) in self.counts.iter().enumerate() {
            total += count.load(Relaxed);
            let bound = B::BOUNDS.get(i).map_or_else(|| "+Inf".to_owned(), number);
            line(
                out,
                &bucket,
                &format!("{labels}{comma}le=\"{bound}\""),
                total,
            );
        }
        let sum = self.sum.load(Relaxed) as f64 / B::PARTS;
        line(out, &format!("{name}_sum"), labels, number(&sum));
        line(out, &format!("{name}_count"), labels, total);
    }
}

/// A number as Go prints it.
fn number(value: &f64) -> String {
    if *value != 0.0 && (*value >= 1e21 || *value < 1e-5) {
        return format!("{value:e}");
    }
    if *value >= 1e6 && value.fract() == 0.0 {
        let text = format!("{value:e}");
        if let Some((digits, power)) = text.split_once('e') {
            return format!("{digits}e+{power:0>2}");
        }
    }
    value.to_string()
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

/// Lines that tell what a metric is.
pub fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A metric of a single value that is read when asked for.
pub fn single(out: &mut String, name: &str, help: &str, kind: &str, value: impl std::fmt::Display) {
    head(out, name, help, kind);
    line(out, name, "", value);
}

/// Labels as they stand between braces.
pub fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(key);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out
}

/// All series of one name.
pub struct Family<T> {
    name: &'static str,
    help: &'static str,
    keys: &'static [&'static str],
    series: RwLock<HashMap<u64, (String, Arc<T>)>>,
}

impl<T: Value> Family<T> {
    /// `keys` are the names of the labels, in the order of the alphabet, as they are printed.
    pub fn new(name: &'static str, help: &'static str, keys: &'static [&'static str]) -> Self {
        Family {
            name,
            help,
            keys,
            series: RwLock::default(),
        }
    }

    /// The series with these values of its labels.
    pub fn with(&self, values: &[&str]) -> Arc<T> {
        let mut hasher = DefaultHasher::new();
        values.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some((_, found)) = self.series.read().get(&hash) {
            return found.clone();
        }
        let mut series = self.series.write();
        if series.len() >= MOST {
            return Arc::default();
        }
        let keys = self.keys.iter().copied();
        let made = || {
            let labels = labels(keys.zip(values.iter().copied()));
            (labels, Arc::default())
        };
        series.entry(hash).or_insert_with(made).1.clone()
    }

    pub fn write(&self, out: &mut String) {
        let series = self.series.read();
        if series.is_empty() {
            return;
        }
        head(out, self.name, self.help, T::KIND);
        let mut all: Vec<_> = series.values().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        for (labels, value) in all {
            value.write(self.name, labels, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_print_as_prometheus_reads_them() {
        let seconds: Family<Histogram<Seconds>> =
            Family::new("took_seconds", "How long.", &["verb"]);
        for value in [0.005, 0.3, 99.0] {
            seconds.with(&["GET \"a\""]).observe(value);
        }
        let mut out = String::new();
        seconds.write(&mut out);
        assert!(out.starts_with("# HELP took_seconds How long.\n# TYPE took_seconds histogram\n"));
        for line in [
            r#"took_seconds_bucket{verb="GET \"a\"",le="0.005"} 1"#,
            r#"took_seconds_bucket{verb="GET \"a\"",le="0.4"} 2"#,
            r#"took_seconds_bucket{verb="GET \"a\"",le="60"} 2"#,
            r#"took_seconds_bucket{verb="GET \"a\"",le="+Inf"} 3"#,
            r#"took_seconds_sum{verb="GET \"a\""} 99.305"#,
            r#"took_seconds_count{verb="GET \"a\""} 3"#,
        ] {
            assert!(out.contains(&format!("{line}\n")), "{line}\n{out}");
        }
        assert_eq!(number(&1e6), "1e+06");
        assert_eq!(number(&1e5), "100000");
    }
}
