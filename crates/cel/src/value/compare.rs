//! Whether values are the same, and which is less.

use std::{cmp::Ordering, collections::BTreeMap};

use knarr_json::Value as Json;

use super::{Key, List, Map, Opaque, Value};
use crate::{EvalError, schema::Merge};

/// Values nest no deeper than this where they are compared.
const DEEPEST: usize = 512;

impl Value<'_> {
    /// Whether two values are the same; values of different types are not, except numbers.
    ///
    /// # Errors
    /// A document that is not as its schema says.
    pub(crate) fn equals(&self, other: &Value<'_>) -> Result<bool, EvalError> {
        equals(self, other, 0)
    }

    /// Which of two values is less, if they can be compared so.
    pub(crate) fn order(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::String(a), Value::String(b)) => Some(a.as_str().cmp(b.as_str())),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            _ => numbers(self, other),
        }
    }

    /// Whether both are numbers, one of them not a number (`NaN`).
    pub(crate) fn are_numbers(&self, other: &Value<'_>) -> bool {
        let number = |v: &Value<'_>| matches!(v, Value::Int(_) | Value::Uint(_) | Value::Double(_));
        number(self) && number(other)
    }
}

fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Int(a), Value::Double(b)) => whole_and_double(i128::from(*a), *b),
        (Value::Uint(a), Value::Double(b)) => whole_and_double(i128::from(*a), *b),
        (Value::Double(a), Value::Int(b)) => {
            whole_and_double(i128::from(*b), *a).map(Ordering::reverse)
        }
        (Value::Double(a), Value::Uint(b)) => {
            whole_and_double(i128::from(*b), *a).map(Ordering::reverse)
        }
        _ => None,
    }
}

fn whole_and_double(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b >= 1e30 {
        return Some(Ordering::Less);
    }
    if b <= -1e30 {
        return Some(Ordering::Greater);
    }
    let whole = b.trunc() as i128;
    Some(
        a.cmp(&whole)
            .then_with(|| 0.0f64.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal)),
    )
}

fn equals(a: &Value<'_>, b: &Value<'_>, depth: usize) -> Result<bool, EvalError> {
    if depth > DEEPEST {
        return Err(EvalError::other("value is nested too deeply"));
    }
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::List(a), Value::List(b)) => lists(a, b, depth)?,
        (Value::Map(a), Value::Map(b)) => maps(a, b, depth)?,
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equals(a, b, depth + 1)?,
        (Value::Type(a), Value::Type(b)) => same_type(a, b),
        (Value::Opaque(a), Value::Opaque(b)) => opaque(a, b),
        (Value::Unknown(a), Value::Unknown(b)) => a == b,
        (Value::Unknown(a), other) | (other, Value::Unknown(a)) => {
            equals(&Value::untyped(a), other, depth + 1)?
        }
        _ => a.order(b) == Some(Ordering::Equal),
    })
}

/// Types are the same by their names alone: `type([1]) == type(["a"])`.
fn same_type(a: &crate::Type, b: &crate::Type) -> bool {
    use crate::Type::{List, Map, Of, Optional};
    matches!(
        (a, b),
        (List(_), List(_)) | (Map(..), Map(..)) | (Of(_), Of(_)) | (Optional(_), Optional(_))
    ) || a == b
}

fn lists(a: &List<'_>, b: &List<'_>, depth: usize) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let merge = a.merge().or(b.merge());
    if let Some((Merge::Set | Merge::Map(_), _)) = merge {
        return same_whatever_the_order(a, b, depth);
    }
    for i in 0..a.len() {
        let (Some(a), Some(b)) = (a.get(i), b.get(i)) else {
            return Ok(false);
        };
        if !equals(&a?, &b?, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_whatever_the_order(a: &List<'_>, b: &List<'_>, depth: usize) -> Result<bool, EvalError> {
    let keys = match a.merge().or(b.merge()) {
        Some((Merge::Map(keys), _)) => keys.as_slice(),
        _ => &[],
    };
    let mut by_key: BTreeMap<String, Value<'_>> = BTreeMap::new();
    for value in a.values()? {
        by_key.insert(merge_key(&value, keys)?, value);
    }
    for value in b.values()? {
        match by_key.get(&merge_key(&value, keys)?) {
            Some(same) if equals(same, &value, depth + 1)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// What tells elements of a set or map-like list apart.
pub(crate) fn merge_key(value: &Value<'_>, keys: &[String]) -> Result<String, EvalError> {
    let json = value.to_json()?;
    if keys.is_empty() {
        return Ok(json.to_string());
    }
    let parts: Vec<&Json> = keys
        .iter()
        .map(|k| json.get(k).unwrap_or(&Json::Null))
        .collect();
    Ok(serde_json::to_string(&parts).unwrap_or_default())
}

fn maps(a: &Map<'_>, b: &Map<'_>, depth: usize) -> Result<bool, EvalError> {
    if let (Map::Object(a), Map::Object(b)) = (a, b)
        && a.name != b.name
    {
        return Ok(false);
    }
    let (a, b) = (a.entries()?, b.entries()?);
    if a.len() != b.len() {
        return Ok(false);
    }
    let b: BTreeMap<Key, Value<'_>> = b.into_iter().collect();
    for (key, value) in &a {
        match b.get(key) {
            Some(other) if equals(value, other, depth + 1)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn opaque(a: &Opaque, b: &Opaque) -> bool {
    match (a, b) {
        (Opaque::Url(a), Opaque::Url(b)) => a == b,
        (Opaque::Quantity(a), Opaque::Quantity(b)) => a.cmp(b) == Ordering::Equal,
        (Opaque::Semver(a), Opaque::Semver(b)) => a.cmp(b) == Ordering::Equal,
        (Opaque::Format(a), Opaque::Format(b)) => a.name == b.name,
        (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
        (Opaque::Cidr(a), Opaque::Cidr(b)) => a == b,
        _ => false,
    }
}
