//! Arithmetic on quantities: comparing, adding and rounding `100m`, `1Gi`, `1e3`.

use std::fmt;

use serde_json::Value;

/// The suffix family that a quantity was written with, and is written with again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    BinarySi,
    DecimalSi,
    DecimalExponent,
}

/// A parsed quantity: thousand-millionths of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    pub nanos: i128,
    pub format: Format,
}

const NANO: i128 = 1_000_000_000;
const MILLI: i128 = 1_000_000;

const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

impl Amount {
    pub const ZERO: Amount = Amount {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// A whole number of units.
    pub fn units(n: i64) -> Self {
        Amount {
            nanos: i128::from(n) * NANO,
            format: Format::DecimalSi,
        }
    }

    /// Parses a quantity; digits below a thousand-millionth are rounded away from zero, values beyond `i64` are capped.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.')))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (nanos, format) = if let Some((_, shift)) = BINARY.iter().find(|(s, _)| *s == suffix) {
            (
                scaled(number, 0)?.checked_mul(1i128 << shift)?,
                Format::BinarySi,
            )
        } else if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
            (scaled(number, *exponent)?, Format::DecimalSi)
        } else {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (scaled(number, exponent)?, Format::DecimalExponent)
        };
        let limit = i128::from(i64::MAX) * NANO;
        Some(Amount {
            nanos: nanos.clamp(-limit, limit),
            format,
        })
    }

    /// Reads a quantity out of an object, where it may be a string or a number; what cannot be read is zero.
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

    /// Units, rounded up.
    pub fn value(self) -> i64 {
        i64::try_from(self.nanos.div_euclid(NANO) + i128::from(self.nanos.rem_euclid(NANO) > 0))
            .unwrap_or(i64::MAX)
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
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.nanos.cmp(&other.nanos))
    }
}

/// Thousand-millionths of a decimal number times a power of ten.
fn scaled(number: &str, exponent: i32) -> Option<i128> {
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_start_matches('0');
    let shift = exponent + 9 - i32::try_from(fraction.len()).ok()?;
    let magnitude = if significant.is_empty() {
        0
    } else if shift >= 0 {
        let capped = significant.len() as i64 + i64::from(shift) > 30;
        if capped {
            i128::from(i64::MAX) * NANO
        } else {
            significant.parse::<i128>().ok()? * 10i128.pow(shift.unsigned_abs())
        }
    } else {
        let cut = significant
            .len()
            .saturating_sub(shift.unsigned_abs() as usize);
        let kept: i128 = if cut == 0 {
            0
        } else {
            significant
                .get(..cut)?
                .parse()
                .unwrap_or(i128::from(i64::MAX) * NANO)
        };
        let lost = significant.get(cut..)?.bytes().any(|c| c != b'0');
        kept + i128::from(lost)
    };
    Some(if negative { -magnitude } else { magnitude })
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let binary =
            self.format == Format::BinarySi && self.is_whole() && self.nanos.abs() >= 1024 * NANO;
        if binary {
            let units = self.nanos / NANO;
            let (suffix, shift) = BINARY
                .iter()
                .rev()
                .find(|(_, shift)| units % (1i128 << shift) == 0)
                .copied()
                .unwrap_or(("", 0));
            return write!(f, "{}{suffix}", units >> shift);
        }
        let mut mantissa = self.nanos;
        let mut exponent = -9;
        while mantissa % 1000 == 0 && exponent < 18 {
            mantissa /= 1000;
            exponent += 3;
        }
        match (self.format, DECIMAL.iter().find(|(_, e)| *e == exponent)) {
            (Format::DecimalExponent, _) if exponent != 0 => write!(f, "{mantissa}e{exponent}"),
            (_, Some((suffix, _))) => write!(f, "{mantissa}{suffix}"),
            (_, None) => write!(f, "{mantissa}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_written() {
        for (text, want) in [
            ("1.5", "1500m"),
            ("1536Ki", "1536Ki"),
            ("1.5Gi", "1536Mi"),
            ("1048576", "1048576"),
            ("1e-1", "100e-3"),
            ("1e9", "1e9"),
            ("0.5M", "500k"),
            ("+.25", "250m"),
            ("100u", "100u"),
            ("-1", "-1"),
            ("0", "0"),
        ] {
            assert_eq!(Amount::parse(text).unwrap().to_string(), want, "{text}");
        }
        for bad in ["", "1x", "Gi", "1e", "--1"] {
            assert_eq!(Amount::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn quantities_compare_add_and_round() {
        let q = |s: &str| Amount::parse(s).unwrap();
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("80m").plus(q("30m")).to_string(), "110m");
        assert_eq!(q("100Mi").plus(q("64Mi")).to_string(), "164Mi");
        assert_eq!(q("100u").rounded_to_milli().unwrap().to_string(), "1m");
        assert_eq!(q("1").rounded_to_milli(), None);
        assert_eq!(q("1500m").value(), 2);
    }
}
