//! Conversions between types, and optional values.

use std::sync::Arc;

use super::{Answer, Native, err, no_overload, operators::runtime_name, time};
use crate::{
    EvalError, Type,
    value::{List, Map, Opaque, Text, Value},
};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "int" => int,
        "uint" => uint,
        "double" => double,
        "string" => string,
        "bytes" => bytes,
        "bool" => boolean,
        "duration" => duration,
        "timestamp" => timestamp,
        "dyn" => |args| one(args).cloned(),
        "type" => |args| one(args).map(|v| Value::Type(Arc::new(type_of(v)))),
        "optional.of" => |args| one(args).map(|v| Value::some(v.clone())),
        "optional.ofNonZeroValue" => |args| {
            one(args).map(|v| {
                if is_zero(v) {
                    Value::none()
                } else {
                    Value::some(v.clone())
                }
            })
        },
        "optional.none" => |_| Ok(Value::none()),
        "hasValue" => |args| match args {
            [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
            _ => no_overload(),
        },
        "value" => |args| match args {
            [Value::Optional(Some(value))] => Ok((**value).clone()),
            [Value::Optional(None)] => err("optional.none() dereference"),
            _ => no_overload(),
        },
        "optional.unwrap" | "unwrapOpt" => unwrap,
        "first" => |args| match args {
            [Value::List(list)] => nth(list, Some(0)),
            _ => no_overload(),
        },
        "last" => |args| match args {
            [Value::List(list)] => nth(list, list.len().checked_sub(1)),
            _ => no_overload(),
        },
        _ => return None,
    })
}

fn one<'v, 'a>(args: &'v [Value<'a>]) -> Result<&'v Value<'a>, EvalError> {
    match args {
        [value] => Ok(value),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn type_of(value: &Value<'_>) -> Type {
    match value {
        Value::Map(Map::Object(object)) => Type::object(object.name.clone(), Default::default()),
        other => other.ty(),
    }
}

fn nth<'a>(list: &List<'a>, index: Option<usize>) -> Answer<'a> {
    match index.and_then(|i| list.get(i)) {
        Some(value) => Ok(Value::some(value?)),
        None => Ok(Value::none()),
    }
}

fn unwrap<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::List(list)] = args else {
        return no_overload();
    };
    let mut out = Vec::new();
    for value in list.values()? {
        match value {
            Value::Optional(Some(value)) => out.push((*value).clone()),
            Value::Optional(None) => {}
            _ => return no_overload(),
        }
    }
    Ok(Value::list(out))
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(value) | Value::Duration(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.as_str().is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Optional(value) => value.is_none(),
        _ => false,
    }
}

fn conversion<'a>(value: &Value<'_>, to: &str) -> Answer<'a> {
    err(format!(
        "type conversion error from '{}' to '{to}'",
        runtime_name(value)
    ))
}

/// Doubles that are whole numbers of 64 bits.
fn whole(value: f64, least: f64, most: f64) -> Option<f64> {
    (value.is_finite() && value > least && value < most).then(|| value.trunc())
}

fn int<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let value = one(args)?;
    let overflow = EvalError::Overflow("integer");
    match value {
        Value::Int(_) => Ok(value.clone()),
        Value::Uint(n) => i64::try_from(*n).map(Value::Int).map_err(|_| overflow),
        Value::Double(n) => {
            let limit = 9_223_372_036_854_775_808.0;
            whole(*n, -limit, limit)
                .map(|n| Value::Int(n as i64))
                .ok_or(overflow)
        }
        Value::String(text) => match text.as_str().parse() {
            Ok(n) => Ok(Value::Int(n)),
            Err(_) => conversion_of_text(text, "int"),
        },
        Value::Timestamp(time) => Ok(Value::Int(
            time.as_nanosecond().div_euclid(1_000_000_000) as i64
        )),
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        _ => no_overload(),
    }
}

/// What the original's number parser says.
fn conversion_of_text<'a>(text: &Text<'_>, to: &str) -> Answer<'a> {
    let function = match to {
        "int" => "ParseInt",
        "uint" => "ParseUint",
        "bool" => "ParseBool",
        _ => "ParseFloat",
    };
    err(format!(
        "strconv.{function}: parsing {:?}: invalid syntax",
        text.as_str()
    ))
}

fn uint<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let value = one(args)?;
    let overflow = EvalError::Overflow("unsigned integer");
    match value {
        Value::Uint(_) => Ok(value.clone()),
        Value::Int(n) => u64::try_from(*n).map(Value::Uint).map_err(|_| overflow),
        Value::Double(n) => {
            let found = whole(*n, -1.0, 18_446_744_073_709_551_616.0);
            found
                .filter(|_| *n >= 0.0)
                .map(|n| Value::Uint(n as u64))
                .ok_or(overflow)
        }
        Value::String(text) => match text.as_str().parse() {
            Ok(n) => Ok(Value::Uint(n)),
            Err(_) => conversion_of_text(text, "uint"),
        },
        _ => no_overload(),
    }
}

fn double<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let value = one(args)?;
    match value {
        Value::Double(_) => Ok(value.clone()),
        Value::Int(n) => Ok(Value::Double(*n as f64)),
        Value::Uint(n) => Ok(Value::Double(*n as f64)),
        Value::String(text) => match text.as_str().parse() {
            Ok(n) => Ok(Value::Double(n)),
            Err(_) => conversion_of_text(text, "double"),
        },
        _ => no_overload(),
    }
}

/// A double as the original writes it.
pub(crate) fn show_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

fn string<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let value = one(args)?;
    Ok(Value::from(match value {
        Value::String(_) => return Ok(value.clone()),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Uint(v) => v.to_string(),
        Value::Double(v) => show_double(*v),
        Value::Timestamp(t) => time::show_timestamp(*t),
        Value::Duration(d) => time::show_duration(*d),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return err("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Value::Opaque(Opaque::Ip(ip)) => ip.to_string(),
        Value::Opaque(Opaque::Cidr(cidr)) => cidr.to_string(),
        _ => return no_overload(),
    }))
}

fn bytes<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match one(args)? {
        value @ Value::Bytes(_) => Ok(value.clone()),
        Value::String(text) => Ok(Value::Bytes(text.as_str().as_bytes().into())),
        _ => no_overload(),
    }
}

fn boolean<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match one(args)? {
        value @ Value::Bool(_) => Ok(value.clone()),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => conversion_of_text(text, "bool"),
        },
        _ => no_overload(),
    }
}

fn duration<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match one(args)? {
        value @ Value::Duration(_) => Ok(value.clone()),
        Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        value @ Value::String(text) => match time::parse_duration(text.as_str()) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => conversion(value, "google.protobuf.Duration"),
        },
        _ => no_overload(),
    }
}

fn timestamp<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match one(args)? {
        value @ Value::Timestamp(_) => Ok(value.clone()),
        Value::Int(seconds) => match jiff::Timestamp::from_second(*seconds) {
            Ok(time) if time::in_range(time) => Ok(Value::Timestamp(time)),
            _ => Err(EvalError::Overflow("timestamp")),
        },
        Value::String(text) => match time::parse_timestamp(text.as_str()) {
            Some(time) => Ok(Value::Timestamp(time)),
            None => err(format!("invalid timestamp {:?}", text.as_str())),
        },
        _ => no_overload(),
    }
}
