//! Arithmetic, comparison, indexing, size.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use super::{Answer, Native, no_overload};
use crate::{
    EvalError,
    schema::Merge,
    value::{Key, List, Map, Value, merge_key},
};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "_+_" => |args| match args {
            [a, b] => add(a.clone(), b),
            _ => no_overload(),
        },
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => modulo,
        "-_" => negate,
        "!_" => |args| match args {
            [Value::Bool(value)] => Ok(Value::Bool(!value)),
            _ => no_overload(),
        },
        "_==_" => |args| match args {
            [a, b] => a.equals(b).map(Value::Bool),
            _ => no_overload(),
        },
        "_!=_" => |args| match args {
            [a, b] => a.equals(b).map(|same| Value::Bool(!same)),
            _ => no_overload(),
        },
        "_<_" => |args| compare(args, Ordering::is_lt),
        "_<=_" => |args| compare(args, Ordering::is_le),
        "_>_" => |args| compare(args, Ordering::is_gt),
        "_>=_" => |args| compare(args, Ordering::is_ge),
        "@in" => contained,
        "_[_]" => |args| match args {
            [target, index] => at(target, index),
            _ => no_overload(),
        },
        "_[?_]" => |args| match args {
            [target, index] => maybe_at(target, index),
            _ => no_overload(),
        },
        "size" => |args| match args {
            [Value::Opaque(_)] => no_overload(),
            [value] => match value.size() {
                Some(size) => Ok(Value::Int(size as i64)),
                None => no_overload(),
            },
            _ => no_overload(),
        },
        "cel.@mapInsert" => insert,
        _ => return None,
    })
}

fn overflow<'a>(value: Option<Value<'a>>, of: &'static str) -> Answer<'a> {
    value.ok_or(EvalError::Overflow(of))
}

const INT: &str = "integer";
const UINT: &str = "unsigned integer";
const TIME: &str = "timestamp";
const DURATION: &str = "duration";

pub(crate) fn add<'a>(a: Value<'a>, b: &Value<'a>) -> Answer<'a> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => overflow(a.checked_add(*b).map(Value::Int), INT),
        (Value::Uint(a), Value::Uint(b)) => overflow(a.checked_add(*b).map(Value::Uint), UINT),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(a), Value::String(b)) => {
            Ok(Value::string(format!("{}{}", a.as_str(), b.as_str())))
        }
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([&a[..], &b[..]].concat().into())),
        (Value::Duration(a), Value::Duration(b)) => {
            overflow(a.checked_add(*b).map(Value::Duration), DURATION)
        }
        (Value::Timestamp(time), Value::Duration(nanos)) => shift(time, *nanos),
        (Value::Duration(nanos), Value::Timestamp(time)) => shift(*time, nanos),
        (Value::List(a), Value::List(b)) => Ok(Value::List(join(a, b)?)),
        _ => no_overload(),
    }
}

fn shift<'a>(time: jiff::Timestamp, nanos: i64) -> Answer<'a> {
    let moved = time.checked_add(jiff::SignedDuration::from_nanos(nanos));
    let moved = moved.ok().filter(|t| super::time::in_range(*t));
    overflow(moved.map(Value::Timestamp), TIME)
}

/// Lists one after the other; those of sets and map-like lists as one set or list.
fn join<'a>(a: List<'a>, b: &List<'a>) -> Result<List<'a>, EvalError> {
    if let Some((merge @ (Merge::Set | Merge::Map(_)), schema)) = a.merge() {
        let keys: &[String] = match merge {
            Merge::Map(keys) => keys,
            _ => &[],
        };
        let mut values = a.values()?;
        let mut places = BTreeMap::new();
        for (i, value) in values.iter().enumerate() {
            places.insert(merge_key(value, keys)?, i);
        }
        for value in b.values()? {
            let key = merge_key(&value, keys)?;
            match places.get(&key) {
                Some(place) => {
                    if let Some(slot) = values.get_mut(*place) {
                        *slot = value;
                    }
                }
                None => {
                    places.insert(key, values.len());
                    values.push(value);
                }
            }
        }
        return Ok(List::Joined(Arc::new(values), schema));
    }
    // A list that nobody else holds grows where it is: loops that collect stay linear.
    let mut values = match a {
        List::Made(values) => Arc::try_unwrap(values).unwrap_or_else(|shared| shared.to_vec()),
        other => other.values()?,
    };
    values.reserve(b.len());
    for i in 0..b.len() {
        if let Some(value) = b.get(i) {
            values.push(value?);
        }
    }
    Ok(List::Made(Arc::new(values)))
}

fn subtract<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => overflow(a.checked_sub(*b).map(Value::Int), INT),
        [Value::Uint(a), Value::Uint(b)] => overflow(a.checked_sub(*b).map(Value::Uint), UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Duration(a), Value::Duration(b)] => {
            overflow(a.checked_sub(*b).map(Value::Duration), DURATION)
        }
        [Value::Timestamp(time), Value::Duration(nanos)] => {
            let nanos = nanos.checked_neg().ok_or(EvalError::Overflow(TIME))?;
            shift(*time, nanos)
        }
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            overflow(i64::try_from(nanos).ok().map(Value::Duration), DURATION)
        }
        _ => no_overload(),
    }
}

fn multiply<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => overflow(a.checked_mul(*b).map(Value::Int), INT),
        [Value::Uint(a), Value::Uint(b)] => overflow(a.checked_mul(*b).map(Value::Uint), UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => no_overload(),
    }
}

fn divide<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(EvalError::DivisionByZero)
        }
        [Value::Int(a), Value::Int(b)] => overflow(a.checked_div(*b).map(Value::Int), INT),
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a / b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => no_overload(),
    }
}

fn modulo<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(EvalError::ModulusByZero)
        }
        [Value::Int(a), Value::Int(b)] => overflow(a.checked_rem(*b).map(Value::Int), INT),
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a % b)),
        _ => no_overload(),
    }
}

fn negate<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::Int(a)] => overflow(a.checked_neg().map(Value::Int), INT),
        [Value::Double(a)] => Ok(Value::Double(-a)),
        _ => no_overload(),
    }
}

fn compare<'a>(args: &[Value<'a>], good: fn(Ordering) -> bool) -> Answer<'a> {
    let [a, b] = args else {
        return no_overload();
    };
    match a.order(b) {
        Some(order) => Ok(Value::Bool(good(order))),
        None if a.are_numbers(b) => Err(EvalError::other("NaN values cannot be ordered")),
        None => no_overload(),
    }
}

fn contained<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [value, Value::List(list)] => {
            for i in 0..list.len() {
                if let Some(element) = list.get(i)
                    && element?.equals(value)?
                {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        [key, Value::Map(map)] => {
            let found = Key::of(key).is_some_and(|k| map.get(&k).is_some());
            Ok(Value::Bool(found))
        }
        _ => no_overload(),
    }
}

/// A place in a list that a value names.
fn place(index: &Value<'_>) -> Result<Option<usize>, EvalError> {
    match index {
        Value::Int(i) => Ok(usize::try_from(*i).ok()),
        Value::Uint(i) => Ok(usize::try_from(*i).ok()),
        Value::Double(i) if i.fract() == 0.0 && *i >= 0.0 => Ok(Some(*i as usize)),
        other => Err(EvalError::other(format!(
            "unsupported index type '{}' in list",
            runtime_name(other)
        ))),
    }
}

pub(crate) fn runtime_name(value: &Value<'_>) -> String {
    match value {
        Value::List(_) => "list".to_owned(),
        Value::Map(Map::Object(object)) => object.name.clone(),
        Value::Map(_) => "map".to_owned(),
        Value::Null => "null_type".to_owned(),
        Value::Optional(_) => "optional_type".to_owned(),
        Value::Type(_) => "type".to_owned(),
        Value::Timestamp(_) => "google.protobuf.Timestamp".to_owned(),
        Value::Duration(_) => "google.protobuf.Duration".to_owned(),
        other => other.ty().to_string(),
    }
}

fn at<'a>(target: &Value<'a>, index: &Value<'a>) -> Answer<'a> {
    match target {
        Value::List(list) => {
            let found = place(index)?.and_then(|i| list.get(i));
            found.unwrap_or_else(|| Err(EvalError::OutOfBounds(shown(index))))
        }
        Value::Map(map) => {
            let found = Key::of(index).and_then(|k| map.get(&k));
            found.unwrap_or_else(|| Err(EvalError::NoSuchKey(shown(index))))
        }
        Value::Optional(None) => Ok(Value::none()),
        Value::Optional(Some(inner)) => maybe_at(inner, index),
        _ => no_overload(),
    }
}

fn maybe_at<'a>(target: &Value<'a>, index: &Value<'a>) -> Answer<'a> {
    let found = match target {
        Value::List(list) => place(index)?.and_then(|i| list.get(i)),
        Value::Map(map) => Key::of(index).and_then(|k| map.get(&k)),
        Value::Optional(None) => None,
        Value::Optional(Some(inner)) => return maybe_at(inner, index),
        _ => return no_overload(),
    };
    Ok(match found {
        Some(value) => Value::some(value?),
        None => Value::none(),
    })
}

fn shown(index: &Value<'_>) -> String {
    match index {
        Value::String(text) => text.as_str().to_owned(),
        Value::Uint(i) => i.to_string(),
        other => format!("{other:?}"),
    }
}

fn insert<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (map, added) = match args {
        [Value::Map(map), Value::Map(added)] => (map, added.entries()?),
        [Value::Map(map), key, value] => {
            let key = Key::of(key).ok_or_else(|| EvalError::other("unsupported key type"))?;
            (map, vec![(key, value.clone())])
        }
        _ => return no_overload(),
    };
    let mut entries: BTreeMap<Key, Value<'a>> = match map {
        Map::Made(entries) => (**entries).clone(),
        other => other.entries()?.into_iter().collect(),
    };
    for (key, value) in added {
        let shown = key.to_string();
        if entries.insert(key, value).is_some() {
            return Err(EvalError::other(format!(
                "insert failed: key {shown} already exists"
            )));
        }
    }
    Ok(Value::map(entries))
}
