//! `'%d of %s'.format([1, x])`

use super::{Answer, convert::show_double, err, no_overload, operators::runtime_name, time};
use crate::{
    EvalError,
    value::{Opaque, Value},
};

/// Numbers show no more digits after the point than this.
const DIGITS: usize = 400;
const DEEPEST: usize = 256;
const LONGEST: usize = 16 << 20;

pub(super) fn format<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::String(pattern), Value::List(list)] = args else {
        return no_overload();
    };
    let values = list.values()?;
    let mut used = 0;
    let mut out = String::new();
    let mut chars = pattern.as_str().chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek().is_none() {
            return err("could not parse formatting clause: unexpected end of string");
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let precision = precision(&mut chars)?;
        let Some(value) = values.get(used) else {
            return err(format!("index {used} out of range"));
        };
        used += 1;
        let verb = chars.next().unwrap_or(' ');
        out.push_str(&clause(verb, precision, value)?);
        if out.len() > LONGEST {
            return Err(EvalError::CostLimit);
        }
    }
    Ok(Value::from(out))
}

fn precision(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Result<Option<usize>, EvalError> {
    if chars.peek() != Some(&'.') {
        return Ok(None);
    }
    chars.next();
    let mut digits = String::new();
    while let Some(c) = chars.peek().filter(|c| c.is_ascii_digit()) {
        digits.push(*c);
        chars.next();
    }
    if digits.is_empty() {
        return Ok(None);
    }
    let precision = digits.parse().ok().filter(|p| *p <= DIGITS);
    precision
        .map(Some)
        .ok_or_else(|| EvalError::other("error while converting precision to integer"))
}

fn clause(verb: char, precision: Option<usize>, value: &Value<'_>) -> Result<String, EvalError> {
    let wrong = |what: &str| {
        let name = runtime_name(value);
        Err(EvalError::other(format!(
            "error during formatting: {what}, was given {name}"
        )))
    };
    match verb {
        's' => show(value, 0),
        'd' => match value {
            Value::Int(v) => Ok(v.to_string()),
            Value::Uint(v) => Ok(v.to_string()),
            Value::Double(v) if !v.is_finite() => Ok(show_double(*v)),
            _ => wrong("decimal clause can only be used on integers"),
        },
        'f' | 'e' => match number(value) {
            Some(v) if !v.is_finite() => Ok(show_double(v)
                .replace("+Inf", "Infinity")
                .replace("-Inf", "-Infinity")),
            Some(v) if verb == 'f' => Ok(format!("{v:.*}", precision.unwrap_or(6))),
            Some(v) => Ok(scientific(v, precision.unwrap_or(6))),
            None if verb == 'f' => wrong("fixed-point clause can only be used on doubles"),
            None => wrong("scientific clause can only be used on doubles"),
        },
        'b' => match value {
            Value::Int(v) if *v < 0 => Ok(format!("-{:b}", v.unsigned_abs())),
            Value::Int(v) => Ok(format!("{v:b}")),
            Value::Uint(v) => Ok(format!("{v:b}")),
            Value::Bool(v) => Ok(i32::from(*v).to_string()),
            _ => wrong("only integers and bools can be formatted as binary"),
        },
        'o' => match value {
            Value::Int(v) if *v < 0 => Ok(format!("-{:o}", v.unsigned_abs())),
            Value::Int(v) => Ok(format!("{v:o}")),
            Value::Uint(v) => Ok(format!("{v:o}")),
            _ => wrong("octal clause can only be used on integers"),
        },
        'x' | 'X' => {
            let text = match value {
                Value::Int(v) if *v < 0 => format!("-{:x}", v.unsigned_abs()),
                Value::Int(v) => format!("{v:x}"),
                Value::Uint(v) => format!("{v:x}"),
                Value::String(text) => hex(text.as_str().as_bytes()),
                Value::Bytes(bytes) => hex(bytes),
                _ => {
                    return wrong(
                        "only integers, byte buffers, and strings can be formatted as hex",
                    );
                }
            };
            Ok(if verb == 'X' {
                text.to_uppercase()
            } else {
                text
            })
        }
        other => Err(EvalError::other(format!(
            "could not parse formatting clause: unrecognized formatting clause \"{other}\""
        ))),
    }
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(v) => Some(*v),
        Value::Int(v) => Some(*v as f64),
        Value::Uint(v) => Some(*v as f64),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn show(value: &Value<'_>, depth: usize) -> Result<String, EvalError> {
    if depth > DEEPEST {
        return Err(EvalError::other("value is nested too deeply"));
    }
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Uint(v) => v.to_string(),
        Value::Double(v) => show_double(*v),
        Value::String(text) => text.as_str().to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Timestamp(t) => time::show_timestamp(*t),
        Value::Duration(d) => time::show_duration(*d),
        Value::Type(ty) => ty.to_string(),
        Value::Opaque(Opaque::Ip(ip)) => ip.to_string(),
        Value::Opaque(Opaque::Cidr(cidr)) => cidr.to_string(),
        Value::List(list) => {
            let parts: Result<Vec<String>, EvalError> =
                list.values()?.iter().map(|v| show(v, depth + 1)).collect();
            format!("[{}]", parts?.join(", "))
        }
        Value::Map(map) => {
            let mut parts = Vec::new();
            for (key, value) in map.entries()? {
                parts.push(format!("{key}: {}", show(&value, depth + 1)?));
            }
            format!("{{{}}}", parts.join(", "))
        }
        other => {
            let name = runtime_name(other);
            let what = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
            return Err(EvalError::other(format!(
                "error during formatting: {what}, was given {name}"
            )));
        }
    })
}
