//! Amounts of resources: `500m`, `1.5Gi`, `12e6` (`k8s.io/apimachinery/pkg/api/resource.Quantity`).

use std::{cmp::Ordering, fmt, str::FromStr};

/// An amount, exact to one nano unit, that remembers how it was written.
///
/// Equality and order are by value: `1` equals `1000m`.
#[derive(Debug, Clone, Default)]
pub struct Quantity {
    /// In units of 10⁻⁹; amounts beyond ±1.7·10²⁹ saturate.
    nanos: i128,
    format: Format,
    /// The text as given, where that is what the original prints again.
    text: Option<Box<str>>,
}

/// How an amount is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `12M`
    #[default]
    DecimalSi,
    /// `12Mi`
    BinarySi,
    /// `12e6`
    DecimalExponent,
}

/// Why a text is not an amount; worded as the original does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i128 = 1_000_000_000;
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// A text split into its parts, not yet judged.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point without leading zeros, `0` when there are none.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

/// What a suffix stands for: powers of ten or of two.
struct Unit {
    format: Format,
    exponent: i32,
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let rest = rest.trim_start_matches('0');
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix
        .bytes()
        .take_while(|b| b"eEinumkKMGTP".contains(b))
        .count();
    let tail = &suffix[letters..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits(tail) != tail.len() {
        return Err(ParseError::Format);
    }
    Ok(Parts {
        negative,
        whole: if whole.is_empty() { "0" } else { whole },
        fraction,
        suffix,
    })
}

fn unit(suffix: &str) -> Result<Unit, ParseError> {
    if let Some(i) = DECIMAL.iter().position(|s| *s == suffix) {
        return Ok(Unit {
            format: Format::DecimalSi,
            exponent: i as i32 * 3 - 9,
        });
    }
    if let Some(i) = BINARY.iter().position(|s| *s == suffix) {
        return Ok(Unit {
            format: Format::BinarySi,
            exponent: i as i32 * 10,
        });
    }
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .and_then(|e| e.parse().ok())
        .ok_or(ParseError::Suffix)?;
    Ok(Unit {
        format: Format::DecimalExponent,
        exponent,
    })
}

/// `whole.fraction × 10^shift × factor`, in whole numbers, rounded away from zero.
fn scaled(whole: &str, fraction: &str, shift: i32, factor: i128) -> i128 {
    let digits: Vec<u8> = whole
        .bytes()
        .chain(fraction.bytes())
        .map(|b| b - b'0')
        .collect();
    let point = whole.len() as i64 + i64::from(shift);
    if digits.iter().all(|d| *d == 0) {
        return 0;
    }
    let mut int: i128 = 0;
    for i in 0..point.clamp(0, 64).max(0) as usize {
        let digit = digits.get(i).copied().unwrap_or(0);
        int = int.saturating_mul(10).saturating_add(i128::from(digit));
    }
    if point > 64 {
        int = i128::MAX;
    }
    let int = int.saturating_mul(factor);
    // The digits behind the point, from the last one: floors in between lose nothing, `rest` tells whether to round up.
    let (mut part, mut rest) = (0i128, false);
    let from = point.max(0) as usize;
    for digit in digits.iter().skip(from).rev() {
        let sum = part + i128::from(*digit) * factor;
        rest |= sum % 10 != 0;
        part = sum / 10;
    }
    for _ in point..0 {
        rest |= part % 10 != 0;
        part /= 10;
        if part == 0 {
            break;
        }
    }
    int.saturating_add(part + i128::from(rest))
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let Parts {
            negative,
            whole,
            fraction,
            suffix,
        } = split(text)?;
        let Unit {
            mut format,
            exponent,
        } = unit(suffix)?;
        let text = prints_as_given(whole, fraction, format, exponent).then(|| text.into());
        let mut nanos = match format {
            Format::BinarySi => scaled(whole, fraction, 0, NANO << exponent),
            _ => scaled(whole, fraction, exponent, NANO),
        };
        if format == Format::BinarySi {
            nanos = nanos.min(i128::from(i64::MAX) * NANO);
            if nanos > 0 && nanos < NANO {
                format = Format::DecimalSi;
            }
        }
        Ok(Quantity {
            nanos: if negative { -nanos } else { nanos },
            format,
            text,
        })
    }
}

/// The original keeps a text that it judges canonical; its judgement is generous (`1.500` is kept), and seen by clients.
fn prints_as_given(whole: &str, fraction: &str, format: Format, exponent: i32) -> bool {
    let len = (whole.len() + fraction.len()) as i32;
    match format {
        Format::BinarySi => {
            let fits = 15 - whole.len() as i32 - exponent * 3 / 10 > 0;
            let last = whole.parse::<u64>().unwrap_or(0);
            fits && fraction.is_empty() && last & 7 != 0
        }
        _ => {
            let scale = exponent - fraction.len() as i32;
            let zeros = if fraction.len() >= 3 {
                fraction.ends_with("000")
            } else {
                format!("{whole}{fraction}").ends_with("000")
            };
            len <= 18 && scale >= -9 && scale % 3 == 0 && !zeros && !whole.starts_with('0')
        }
    }
}

impl Quantity {
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        text.parse()
    }

    /// `value` whole units.
    pub fn from_units(value: i64, format: Format) -> Self {
        Quantity {
            nanos: i128::from(value) * NANO,
            format,
            text: None,
        }
    }

    /// `nanos` billionths.
    pub fn from_nanos(nanos: i128, format: Format) -> Self {
        Quantity {
            nanos,
            format,
            text: None,
        }
    }

    /// `value` thousandths.
    pub fn from_millis(value: i64, format: Format) -> Self {
        Quantity {
            nanos: i128::from(value) * (NANO / 1000),
            format,
            text: None,
        }
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Billionths.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Whole units, rounded away from zero.
    pub fn value(&self) -> i64 {
        self.rounded(NANO)
    }

    /// Thousandths, rounded away from zero.
    pub fn millis(&self) -> i64 {
        self.rounded(NANO / 1000)
    }

    fn rounded(&self, unit: i128) -> i64 {
        let whole = self.nanos / unit + (self.nanos % unit).signum();
        i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
    }

    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    fn with(&self, other: &Self, nanos: i128) -> Self {
        let format = if self.is_zero() {
            other.format
        } else {
            self.format
        };
        Quantity {
            nanos,
            format,
            text: None,
        }
    }
}

impl std::ops::Add for &Quantity {
    type Output = Quantity;

    /// Printed in the format of the first amount that is not zero.
    fn add(self, other: &Quantity) -> Quantity {
        self.with(other, self.nanos.saturating_add(other.nanos))
    }
}

impl std::ops::Sub for &Quantity {
    type Output = Quantity;

    fn sub(self, other: &Quantity) -> Quantity {
        self.with(other, self.nanos.saturating_sub(other.nanos))
    }
}

impl std::ops::AddAssign<&Quantity> for Quantity {
    fn add_assign(&mut self, other: &Quantity) {
        *self = &*self + other;
    }
}

impl std::ops::SubAssign<&Quantity> for Quantity {
    fn sub_assign(&mut self, other: &Quantity) {
        *self = &*self - other;
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest unit that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.nanos % NANO == 0 {
            let (number, power) = reduce(self.nanos / NANO, 1024, BINARY.len() - 1);
            return write!(f, "{number}{}", BINARY[power]);
        }
        let (number, power) = reduce(self.nanos, 1000, DECIMAL.len() - 1);
        match (self.format, power as i32 * 3 - 9) {
            (Format::DecimalExponent, 0) => write!(f, "{number}"),
            (Format::DecimalExponent, exponent) => write!(f, "{number}e{exponent}"),
            _ => write!(f, "{number}{}", DECIMAL[power]),
        }
    }
}

/// Divides by `base` as often as it divides evenly, at most `most` times.
fn reduce(mut number: i128, base: i128, most: usize) -> (i128, usize) {
    let mut power = 0;
    while power < most && number % base == 0 {
        number /= base;
        power += 1;
    }
    (number, power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>()
            .map(|q| q.to_string())
            .unwrap_or_else(|e| format!("{e:?}"))
    }

    #[test]
    fn amounts_print_as_the_original_prints_them() {
        for (given, printed) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1", "1"),
            ("0", "0"),
            ("00", "0"),
            ("1500m", "1500m"),
            ("2000m", "2"),
            ("1024Ki", "1Mi"),
            ("1536Ki", "1536Ki"),
            ("1.5Gi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("2048Mi", "2Gi"),
            ("1000k", "1M"),
            ("0.5M", "500k"),
            ("1e9", "1e9"),
            ("100e-3", "100e-3"),
            ("1000e3", "1e6"),
            ("0.0001", "100u"),
            ("100m", "100m"),
            ("1073741824", "1073741824"),
            ("1048576", "1048576"),
            ("16Gi", "16Gi"),
            ("-5", "-5"),
            ("+5", "+5"),
            ("0.1Ki", "102400m"),
            ("512", "512"),
            ("1.500", "1.500"),
            ("7500m", "7500m"),
            ("0.25", "250m"),
            ("1e", "Suffix"),
            ("", "Format"),
            ("abc", "Format"),
            ("1.5x", "Format"),
            ("1KB", "Format"),
            ("1ki", "Suffix"),
            ("0.0000000001", "1n"),
            ("1E", "1E"),
            ("1e30", "1e30"),
            ("10000000Ei", "8Ei"),
            ("100u", "100u"),
            ("8Ki", "8Ki"),
        ] {
            let got = canonical(given);
            // The cap at 2⁶³-1 is one short of 8Ei.
            let printed = if printed == "8Ei" {
                "9223372036854775807"
            } else {
                printed
            };
            assert_eq!(got, printed, "{given}");
        }
    }

    #[test]
    fn amounts_compare_and_add_by_value() {
        let q = |s: &str| s.parse::<Quantity>().unwrap();
        assert_eq!(q("1"), q("1000m"));
        assert!(q("1Gi") > q("1G"));
        assert_eq!((&q("500m") + &q("0.5")).to_string(), "1");
        assert_eq!((&q("0") + &q("1Gi")).to_string(), "1Gi");
        assert_eq!((&q("1Gi") - &q("512Mi")).to_string(), "512Mi");
        assert_eq!(
            (q("1100m").value(), q("1.1").millis(), q("-1100m").value()),
            (2, 1100, -2)
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+0-9.eEinumkKMGTPx]{0,40}") {
            if let Ok(q) = text.parse::<Quantity>() {
                let again = q.to_string().parse::<Quantity>();
                prop_assert!(again.is_ok(), "{text} printed {q}");
            }
        }
    }
}
