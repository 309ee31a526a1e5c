//! Quantities as numbers: `1500m`, `2Gi`, `1e3`.

/// The quantity times a thousand, rounded up; `None` when it is no quantity or does not fit.
pub fn milli(text: &str) -> Option<i64> {
    scaled(text, 1000)
}

/// The quantity, rounded up; `None` when it is no quantity or does not fit.
pub fn value(text: &str) -> Option<i64> {
    scaled(text, 1)
}

fn scaled(text: &str, times: i128) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 24 || (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (binary, exponent) = unit(suffix)?;
    let exponent = exponent - i32::try_from(fraction.len()).ok()?;
    let mut out = mantissa.checked_mul(binary)?.checked_mul(times)?;
    if exponent >= 0 {
        out = out.checked_mul(10i128.checked_pow(exponent.unsigned_abs())?)?;
    } else {
        let divisor = 10i128.checked_pow(exponent.unsigned_abs())?;
        // Away from zero: a request must never count for less than it is.
        out = (out + divisor - 1) / divisor;
    }
    i64::try_from(if negative { -out } else { out }).ok()
}

/// A suffix as (binary factor, power of ten).
fn unit(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        other => {
            let exponent = other.strip_prefix(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok()?;
            (
                1,
                if (-18..=18).contains(&exponent) {
                    exponent
                } else {
                    return None;
                },
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let table = [
            ("0", Some(0), Some(0)),
            ("1", Some(1000), Some(1)),
            ("1500m", Some(1500), Some(2)),
            ("0.1", Some(100), Some(1)),
            (".5", Some(500), Some(1)),
            ("1.", Some(1000), Some(1)),
            ("100n", Some(1), Some(1)),
            ("2Ki", Some(2_048_000), Some(2048)),
            ("1.5Gi", Some(1_610_612_736_000), Some(1_610_612_736)),
            ("1e3", Some(1_000_000), Some(1000)),
            ("1E3", Some(1_000_000), Some(1000)),
            ("2E", None, Some(2_000_000_000_000_000_000)),
            ("-1", Some(-1000), Some(-1)),
            ("", None, None),
            ("x", None, None),
            ("1.2.3", None, None),
            ("1Zi", None, None),
            ("1e99", None, None),
            ("99999999999999999999999999", None, None),
        ];
        for (text, as_milli, as_value) in table {
            assert_eq!((milli(text), value(text)), (as_milli, as_value), "{text}");
        }
    }
}
