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
