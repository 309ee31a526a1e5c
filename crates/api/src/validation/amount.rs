//! Arithmetic on quantities as validation and summing need it: what cannot be read counts as zero.

use std::{cmp::Ordering, fmt};

use knarr_json::Value;

use crate::quantity::{Format, Quantity};

const NANO: i128 = 1_000_000_000;
const MILLI: i128 = 1_000_000;

/// A quantity by value, and the suffixes that it is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Thousand-millionths of a unit.
    pub nanos: i128,
    pub format: Format,
}

impl Amount {
    pub const ZERO: Amount = Amount {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// Parses a quantity.
    pub fn parse(text: &str) -> Option<Self> {
        let quantity = Quantity::parse(text).ok()?;
        Some(Amount {
            nanos: quantity.nanos(),
            format: quantity.format(),
        })
    }

    /// Reads a quantity out of an object, where it may be a string or a number.
    pub fn of(value: &Value) -> Self {
        let parsed = match value {
            Value::String(s) => Self::parse(s),
            Value::Number(n) => Self::parse(&n.to_string()),
            _ => None,
        };
        parsed.unwrap_or(Self::ZERO)
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it has no fraction.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// Whether it has no fraction once it is rounded up to thousandths, in which resources are counted.
    pub fn is_whole_in_milli(self) -> bool {
        self.rounded_to_milli().unwrap_or(self).is_whole()
    }

    /// Whole units, rounded up.
    pub fn rounded_up(self) -> i128 {
        self.nanos.div_euclid(NANO) + i128::from(self.nanos.rem_euclid(NANO) != 0)
    }

    /// The sum, written as the first of both that is not zero.
    pub fn plus(self, other: Amount) -> Self {
        let format = if self.is_zero() {
            other.format
        } else {
            self.format
        };
        Amount {
            nanos: self.nanos.saturating_add(other.nanos),
            format,
        }
    }

    /// Rounded up to thousandths; none when there is nothing to round.
    pub fn rounded_to_milli(self) -> Option<Self> {
        let rest = self.nanos.rem_euclid(MILLI);
        (rest != 0).then(|| Amount {
            nanos: self.nanos - rest + MILLI,
            format: self.format,
        })
    }
}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nanos.cmp(&other.nanos))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quantity::from_nanos(self.nanos, self.format).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_compare_add_and_round() {
        let q = |s: &str| Amount::parse(s).unwrap();
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("80m").plus(q("30m")).to_string(), "110m");
        assert_eq!(q("100Mi").plus(q("64Mi")).to_string(), "164Mi");
        assert_eq!(q("100u").rounded_to_milli().unwrap().to_string(), "1m");
        assert_eq!(q("1").rounded_to_milli(), None);
        assert_eq!(Amount::of(&Value::Null), Amount::ZERO);
    }
}
