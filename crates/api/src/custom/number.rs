//! Numbers as Go holds them: 64-bit integers where they fit, floating point otherwise.

use std::cmp::Ordering;

use knarr_json::Value;

/// Floats beyond this have no whole-number precision.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// Whether a number has no fraction.
pub fn is_integral(float: f64) -> bool {
    float.fract() == 0.0 && float.abs() <= EXACT
}

/// Whether a value is a whole number.
pub fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.as_f64().is_some_and(is_integral)
}

/// Whether a number can be held as a 64-bit integer.
pub fn fits_integer(value: &Value) -> bool {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let fits = |f: f64| f.fract() == 0.0 && (-LIMIT..LIMIT).contains(&f);
    value.is_i64() || value.as_f64().is_some_and(fits)
}

/// Formats that numbers are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFormat {
    Int32,
    Int64,
    Float,
    Double,
}

impl NumberFormat {
    /// None for a format that says nothing about numbers.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Int32, Self::Int64, Self::Float, Self::Double];
        all.into_iter().find(|f| f.name() == name.replace('-', ""))
    }

    pub fn name(self) -> &'static str {
        match self {
            NumberFormat::Int32 => "int32",
            NumberFormat::Int64 => "int64",
            NumberFormat::Float => "float",
            NumberFormat::Double => "double",
        }
    }
}

/// Whether a number is one of an integer's (`whole`) or any number's format, the widest when it has none.
pub fn is_in_range(value: &Value, whole: bool, format: Option<NumberFormat>) -> bool {
    let float = value.as_f64().unwrap_or(0.0);
    match (whole, format) {
        (true, Some(NumberFormat::Int32)) => {
            fits_integer(value) && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&float)
        }
        (true, _) => fits_integer(value),
        (false, Some(NumberFormat::Float)) => (float as f32).is_finite(),
        (false, _) => true,
    }
}

/// A number against a bound: whole numbers are compared as such, the bound losing its fraction.
pub fn compare(value: &Value, bound: f64) -> Ordering {
    match value.as_i64() {
        Some(n) => n.cmp(&(bound as i64)),
        None => value
            .as_f64()
            .and_then(|f| f.partial_cmp(&bound))
            .unwrap_or(Ordering::Equal),
    }
}

pub fn is_multiple(value: &Value, factor: f64) -> bool {
    if factor <= 0.0 {
        return false;
    }
    if let Some(n) = value.as_i64() {
        let factor = factor as i64;
        return factor != 0 && n % factor == 0;
    }
    let float = value.as_f64().unwrap_or(0.0);
    let times = if factor < 1.0 {
        1.0 / factor * float
    } else {
        float / factor
    };
    // As the original decides it: within a relative error.
    let off = (times - times.trunc()).abs();
    off < 1e-9 || times.abs() > 0.0 && off / times.abs() < 1e-9
}

/// A bound as messages about `value` show it.
pub fn show(value: &Value, bound: f64) -> String {
    if value.is_i64() {
        (bound as i64).to_string()
    } else {
        go(bound)
    }
}

/// A float as Go's `%v` prints it.
pub fn go(float: f64) -> String {
    let exponent = if float == 0.0 {
        0
    } else {
        float.abs().log10().floor() as i32
    };
    if (-4..6).contains(&exponent) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Whether two values are the same, numbers by what they are worth.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn formats_have_ranges() {
        for (value, whole, format, want) in [
            (json!(2147483647), true, "int32", true),
            (json!(2147483648_i64), true, "int32", false),
            (json!(-2147483649_i64), true, "int32", false),
            (json!(1.0), true, "int32", true),
            (json!(2147483648_i64), true, "int64", true),
            (json!(9223372036854775808_u64), true, "int64", false),
            (json!(9223372036854775808_u64), true, "", false),
            (json!(1e18), true, "", true),
            (json!(1e39), false, "float", false),
            (json!(-1e39), false, "float", false),
            (json!(3.4e38), false, "float", true),
            (json!(1e308), false, "double", true),
            (json!(1e308), false, "int32", true),
        ] {
            let told = is_in_range(&value, whole, NumberFormat::parse(format));
            assert_eq!(told, want, "{value} {format}");
        }
    }
}
