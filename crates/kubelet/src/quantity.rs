//! Resource quantities as numbers: just what a node computes with.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in thousandths, rounded up. `None` when it is not a quantity or out of range.
pub fn milli(quantity: &Quantity) -> Option<i64> {
    scaled(&quantity.0, 1000)
}

/// The value in whole units (bytes, pods), rounded up. `None` when it is not a quantity or out of range.
pub fn units(quantity: &Quantity) -> Option<i64> {
    scaled(&quantity.0, 1)
}

fn scaled(text: &str, scale: i128) -> Option<i64> {
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (multiply, divide) = suffix_factor(suffix)?;
    let (negative, number) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let denominator = 10i128
        .checked_pow(u32::try_from(fraction.len()).ok()?)?
        .checked_mul(divide)?;
    let numerator = digits.checked_mul(multiply)?.checked_mul(scale)?;
    let rounded =
        numerator.div_euclid(denominator) + i128::from(numerator.rem_euclid(denominator) != 0);
    i64::try_from(if negative { -rounded } else { rounded }).ok()
}

/// What a suffix multiplies by and divides by.
fn suffix_factor(suffix: &str) -> Option<(i128, i128)> {
    let binary = |n: u32| Some((1i128 << (10 * n), 1));
    let decimal = |n: u32| Some((10i128.pow(n), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_forms() {
        let cases = [
            ("1", Some(1000), Some(1)),
            ("100m", Some(100), Some(1)),
            ("1.5", Some(1500), Some(2)),
            ("1Ki", Some(1_024_000), Some(1024)),
            ("0.5Gi", Some(536_870_912_000), Some(536_870_912)),
            ("128e6", Some(128_000_000_000), Some(128_000_000)),
            ("12E", None, None),
            ("1u", Some(1), Some(1)),
            ("-1", Some(-1000), Some(-1)),
            ("", None, None),
            (".", None, None),
            ("1Zi", None, None),
            ("2k", Some(2_000_000), Some(2000)),
        ];
        for (text, m, u) in cases {
            let q = Quantity(text.to_owned());
            assert_eq!((milli(&q), units(&q)), (m, u), "{text}");
        }
    }
}
