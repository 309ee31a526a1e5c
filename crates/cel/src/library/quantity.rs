//! Amounts of resources: `500m`, `1.5Gi`, `12e6`.

use std::fmt;

use super::{Answer, Native, err, no_overload};
use crate::{
    EvalError,
    value::{Opaque, Value},
};

/// An amount in units of 10⁻⁹. What is smaller is rounded up, away from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nanos: i128,
}

const NANO: i128 = 1_000_000_000;
const FORM: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "quantity" => |args| match args {
            [Value::String(text)] => match parse(text.as_str()) {
                Ok(quantity) => Ok(value(quantity)),
                Err(why) => err(why),
            },
            _ => no_overload(),
        },
        "isQuantity" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(parse(text.as_str()).is_ok())),
            _ => no_overload(),
        },
        "sign" => |args| one(args, |q| Ok(Value::Int(q.nanos.signum() as i64))),
        "isInteger" => |args| one(args, |q| Ok(Value::Bool(q.whole().is_some()))),
        "asInteger" => |args| {
            one(args, |q| match q.whole() {
                Some(n) => Ok(Value::Int(n)),
                None => err("cannot convert value to integer"),
            })
        },
        "asApproximateFloat" => {
            |args| one(args, |q| Ok(Value::Double(q.nanos as f64 / NANO as f64)))
        }
        "add" => |args| change(args, i128::saturating_add),
        "sub" => |args| change(args, i128::saturating_sub),
        // These are of quantities and of versions.
        "isGreaterThan" => |args| ordered(args, |o| Value::Bool(o.is_gt())),
        "isLessThan" => |args| ordered(args, |o| Value::Bool(o.is_lt())),
        "compareTo" => |args| ordered(args, |o| Value::Int(o as i64)),
        _ => return None,
    })
}

fn value<'a>(quantity: Quantity) -> Value<'a> {
    Value::Opaque(Opaque::Quantity(quantity))
}

fn one<'a>(args: &[Value<'a>], f: fn(Quantity) -> Answer<'static>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Quantity(quantity))] => f(*quantity),
        _ => no_overload(),
    }
}

fn change<'a>(args: &[Value<'a>], f: fn(i128, i128) -> i128) -> Answer<'a> {
    let (a, b) = match args {
        [
            Value::Opaque(Opaque::Quantity(a)),
            Value::Opaque(Opaque::Quantity(b)),
        ] => (a, b.nanos),
        [Value::Opaque(Opaque::Quantity(a)), Value::Int(b)] => (a, i128::from(*b) * NANO),
        _ => return no_overload(),
    };
    Ok(value(Quantity {
        nanos: f(a.nanos, b),
    }))
}

fn ordered<'a>(args: &[Value<'a>], shown: fn(std::cmp::Ordering) -> Value<'static>) -> Answer<'a> {
    match args {
        [
            Value::Opaque(Opaque::Quantity(a)),
            Value::Opaque(Opaque::Quantity(b)),
        ] => Ok(shown(a.cmp(b))),
        [
            Value::Opaque(Opaque::Semver(a)),
            Value::Opaque(Opaque::Semver(b)),
        ] => Ok(shown(a.cmp(b))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

impl Quantity {
    fn whole(self) -> Option<i64> {
        (self.nanos % NANO == 0).then(|| i64::try_from(self.nanos / NANO).ok())?
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            ("", NANO),
            ("m", NANO / 1000),
            ("u", NANO / 1_000_000),
            ("n", 1),
        ];
        for (suffix, unit) in units {
            if self.nanos % unit == 0 {
                return write!(f, "{}{suffix}", self.nanos / unit);
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Quantity, &'static str> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(FORM);
    }
    let nanos = match binary(suffix) {
        Some(shift) => scaled(whole, fraction, 9, 1i128 << shift),
        None => {
            let exponent = decimal(suffix)?;
            scaled(whole, fraction, exponent.saturating_add(9), 1)
        }
    };
    Ok(Quantity {
        nanos: if negative { -nanos } else { nanos },
    })
}

fn binary(suffix: &str) -> Option<u32> {
    let place = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
        .iter()
        .position(|s| *s == suffix)?;
    Some((place as u32 + 1) * 10)
}

fn decimal(suffix: &str) -> Result<i32, &'static str> {
    let names = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if let Some(place) = names.iter().position(|s| *s == suffix) {
        return Ok(place as i32 * 3 - 9);
    }
    let letters = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let tail = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    if tail.chars().any(|c| !c.is_ascii_digit()) {
        return Err(FORM);
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(SUFFIX)?;
    exponent.parse::<i32>().map_err(|_| SUFFIX)
}

/// `whole.fraction × 10^shift × factor`, rounded up; too much is the most there is.
fn scaled(whole: &str, fraction: &str, shift: i32, factor: i128) -> i128 {
    let digits: Vec<i128> = whole
        .bytes()
        .chain(fraction.bytes())
        .map(|b| i128::from(b - b'0'))
        .collect();
    if digits.iter().all(|d| *d == 0) {
        return 0;
    }
    let point = whole.len() as i64 + i64::from(shift);
    let mut value: i128 = 0;
    let mut rest = false;
    for (i, digit) in digits.iter().enumerate() {
        if (i as i64) < point {
            value = value
                .saturating_mul(10)
                .saturating_add(digit.saturating_mul(factor));
        } else if factor > 1 && (i as i64) < point + 12 {
            // Binary units: digits behind the point of nanos still count.
            let below = 10i128.saturating_pow((i as i64 - point + 1) as u32);
            value = value.saturating_add(digit.saturating_mul(factor) / below);
            rest |= digit.saturating_mul(factor) % below != 0;
        } else {
            rest |= *digit != 0;
        }
    }
    for _ in digits.len() as i64..point.min(digits.len() as i64 + 60) {
        value = value.saturating_mul(10);
    }
    value.saturating_add(i128::from(rest))
}

#[cfg(test)]
mod tests {
    use super::{NANO, parse};

    #[test]
    fn amounts_are_read() {
        for (text, nanos) in [
            ("1", Some(NANO)),
            ("500m", Some(NANO / 2)),
            ("1.5Gi", Some(1_610_612_736 * NANO)),
            ("12e6", Some(12_000_000 * NANO)),
            ("1e-3", Some(NANO / 1000)),
            ("-2k", Some(-2000 * NANO)),
            (".5", Some(NANO / 2)),
            ("0.0000000001", Some(1)),
            ("1Ki", Some(1024 * NANO)),
            ("", None),
            ("1x", None),
            ("1 Gi", None),
            ("abc", None),
            ("1.2.3", None),
        ] {
            assert_eq!(parse(text).ok().map(|q| q.nanos), nanos, "{text}");
        }
    }
}
