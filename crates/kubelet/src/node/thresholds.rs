//! When a node is under pressure: the kubelet's hard eviction thresholds. Pure.
//!
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#hard-eviction-thresholds>

use std::{fmt, str::FromStr};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// What a kubelet keeps unless told otherwise. Images live on the pods' file system, so that one threshold covers both.
pub const DEFAULT: &str =
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,pid.available<10%";

/// Below which amounts the node is under pressure, one per signal; a signal without one never causes any.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds(Vec<(Signal, Amount)>);

/// What is measured, as the thresholds name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    MemoryAvailable,
    NodefsAvailable,
    NodefsInodesFree,
    ImagefsAvailable,
    ImagefsInodesFree,
    PidAvailable,
}

const SIGNALS: [(&str, Signal); 6] = [
    ("memory.available", Signal::MemoryAvailable),
    ("nodefs.available", Signal::NodefsAvailable),
    ("nodefs.inodesFree", Signal::NodefsInodesFree),
    ("imagefs.available", Signal::ImagefsAvailable),
    ("imagefs.inodesFree", Signal::ImagefsInodesFree),
    ("pid.available", Signal::PidAvailable),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Amount {
    /// Bytes, inodes or processes.
    Units(i64),
    /// A part of all there is.
    Percent(f64),
}

impl Amount {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a share of a size needs no better than one in 2^52"
    )]
    fn of(self, all: i64) -> i64 {
        match self {
            Amount::Units(units) => units,
            Amount::Percent(percent) => (all as f64 * percent / 100.0) as i64,
        }
    }
}

impl Thresholds {
    /// As much as must be left, of `all`; 0 when the signal has no threshold.
    pub fn least(&self, signal: Signal, all: i64) -> i64 {
        let found = self.0.iter().find(|(s, _)| *s == signal);
        found.map_or(0, |(_, amount)| amount.of(all))
    }

    /// Whether one of these signals is below its threshold with `left` of `all`.
    pub fn below(&self, signals: &[Signal], all: i64, left: i64) -> bool {
        signals.iter().any(|s| left < self.least(*s, all))
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds(vec![
            (Signal::MemoryAvailable, Amount::Units(100 << 20)),
            (Signal::NodefsAvailable, Amount::Percent(10.0)),
            (Signal::NodefsInodesFree, Amount::Percent(5.0)),
            (Signal::PidAvailable, Amount::Percent(10.0)),
        ])
    }
}

/// Why a text is no list of thresholds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

impl FromStr for Thresholds {
    type Err = Invalid;

    /// Reads `signal<amount` pairs with commas between; an empty text means no thresholds at all.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut found: Vec<(Signal, Amount)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, amount) = part.split_once('<').ok_or_else(|| {
                Invalid(format!(
                    "{part:?} is not signal<amount, as nodefs.available<10%"
                ))
            })?;
            let signal = signal(name)?;
            if found.iter().any(|(s, _)| *s == signal) {
                return Err(Invalid(format!("{name} is given twice")));
            }
            found.push((signal, amount_of(amount)?));
        }
        Ok(Thresholds(found))
    }
}

fn signal(name: &str) -> Result<Signal, Invalid> {
    let found = SIGNALS.iter().find(|(known, _)| *known == name);
    found.map(|(_, signal)| *signal).ok_or_else(|| {
        let known: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
        Invalid(format!(
            "{name:?} is not a signal; there are {}",
            known.join(", ")
        ))
    })
}

fn amount_of(text: &str) -> Result<Amount, Invalid> {
    let bad = || {
        Invalid(format!(
            "{text:?} is neither a quantity nor a percentage from 0% to 100%"
        ))
    };
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| bad())?;
        return if (0.0..=100.0).contains(&percent) {
            Ok(Amount::Percent(percent))
        } else {
            Err(bad())
        };
    }
    let units = quantity::units(&Quantity(text.to_owned())).filter(|u| *u >= 0);
    units.map(Amount::Units).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_its_text_says() {
        assert_eq!(DEFAULT.parse(), Ok(Thresholds::default()));
    }

    #[test]
    fn thresholds_are_read() {
        let some: Thresholds = "memory.available<1Gi, nodefs.available<2.5%"
            .parse()
            .expect("read");
        assert_eq!(some.least(Signal::MemoryAvailable, 0), 1 << 30);
        assert_eq!(some.least(Signal::NodefsAvailable, 1000), 25);
        assert_eq!(some.least(Signal::PidAvailable, 1000), 0);
        assert!(some.below(&[Signal::PidAvailable, Signal::NodefsAvailable], 1000, 24));
        assert!(!some.below(&[Signal::NodefsAvailable], 1000, 25));
        let none: Thresholds = "".parse().expect("read");
        assert!(!none.below(&[Signal::NodefsAvailable], 1000, 0));
    }

    #[test]
    fn mistakes_are_told() {
        let cases = [
            ("nodefs.available", "is not signal<amount"),
            (
                "disk<1%",
                "\"disk\" is not a signal; there are memory.available",
            ),
            ("pid.available<101%", "\"101%\" is neither"),
            ("pid.available<-1", "\"-1\" is neither"),
            ("pid.available<", "\"\" is neither"),
            ("pid.available<NaN%", "\"NaN%\" is neither"),
            (
                "pid.available<1,pid.available<2",
                "pid.available is given twice",
            ),
        ];
        for (text, want) in cases {
            let error = text.parse::<Thresholds>().expect_err(text).to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
