//! The value itself, and how one reads it.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use serde_json::Number;

use crate::{Array, Map, Text};

/// Any JSON value. 24 bytes; a copy of it is cheap, whatever is inside.
#[derive(Clone, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    String(Text),
    Array(Array),
    Object(Map),
}

const _: () = assert!(size_of::<Value>() == 24);

/// What stands for everything that is not there.
static NULL: Value = Value::Null;

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn is_boolean(&self) -> bool {
        matches!(self, Value::Bool(_))
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Value::Number(_))
    }

    pub fn is_string(&self) -> bool {
        matches!(self, Value::String(_))
    }

    pub fn is_array(&self) -> bool {
        matches!(self, Value::Array(_))
    }

    pub fn is_object(&self) -> bool {
        matches!(self, Value::Object(_))
    }

    pub fn is_i64(&self) -> bool {
        self.as_i64().is_some()
    }

    pub fn is_u64(&self) -> bool {
        self.as_u64().is_some()
    }

    pub fn is_f64(&self) -> bool {
        matches!(self, Value::Number(n) if n.is_f64())
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Value::Number(n) => Some(n),
            _ => None,
        }
    }

    pub fn as_i64(&self) -> Option<i64> {
        self.as_number().and_then(Number::as_i64)
    }

    pub fn as_u64(&self) -> Option<u64> {
        self.as_number().and_then(Number::as_u64)
    }

    pub fn as_f64(&self) -> Option<f64> {
        self.as_number().and_then(Number::as_f64)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The elements; none when it is no array.
    pub fn items(&self) -> &[Value] {
        self.as_array().map_or(&[], |array| array)
    }

    pub fn as_array_mut(&mut self) -> Option<&mut Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Value::Object(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        match self {
            Value::Object(map) => Some(map),
            _ => None,
        }
    }

    /// The value below a key or an index.
    pub fn get<I: Index>(&self, index: I) -> Option<&Value> {
        index.get(self)
    }

    /// As [`Value::get`]. What is shared with copies is copied on the way.
    pub fn get_mut<I: Index>(&mut self, index: I) -> Option<&mut Value> {
        index.get_mut(self)
    }

    /// Leaves null behind.
    pub fn take(&mut self) -> Value {
        std::mem::take(self)
    }

    /// The value at a JSON pointer (RFC 6901).
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        steps(pointer)?.try_fold(self, |at, step| match at {
            Value::Object(map) => map.get(&step),
            Value::Array(array) => array.get(position(&step)?),
            _ => None,
        })
    }

    /// As [`Value::pointer`].
    pub fn pointer_mut(&mut self, pointer: &str) -> Option<&mut Value> {
        steps(pointer)?.try_fold(self, |at, step| match at {
            Value::Object(map) => map.get_mut(&step),
            Value::Array(array) => array.get_mut(position(&step)?),
            _ => None,
        })
    }

    /// Whether the two are one and the same, or scalars that are equal: what a copy is as long as nobody changes it. False says
    /// nothing.
    pub fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Object(a), Value::Object(b)) => a.same(b),
            (Value::Array(a), Value::Array(b)) => a.same(b),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Null, Value::Null) => true,
            _ => false,
        }
    }
}

fn steps(pointer: &str) -> Option<impl Iterator<Item = String>> {
    let rest = match pointer.strip_prefix('/') {
        Some(rest) => Some(rest),
        None if pointer.is_empty() => None,
        None => return None,
    };
    let steps = rest.into_iter().flat_map(|rest| rest.split('/'));
    Some(steps.map(|step| step.replace("~1", "/").replace("~0", "~")))
}

fn position(step: &str) -> Option<usize> {
    if step.starts_with('+') || (step.len() > 1 && step.starts_with('0')) {
        return None;
    }
    step.parse().ok()
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Object(a), Value::Object(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            _ => self.same(other),
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Value::Null => {}
            Value::Bool(b) => b.hash(state),
            Value::Number(n) => n.hash(state),
            Value::String(text) => text.hash(state),
            Value::Array(array) => array[..].hash(state),
            Value::Object(map) => map.iter().for_each(|entry| entry.hash(state)),
        }
    }
}

/// A key or a position.
pub trait Index {
    fn get(self, value: &Value) -> Option<&Value>;
    fn get_mut(self, value: &mut Value) -> Option<&mut Value>;
    /// As [`Index::get_mut`]; a key that is missing is added.
    ///
    /// # Panics
    /// When the value is no such thing, or the position is past its end.
    fn get_or_add(self, value: &mut Value) -> &mut Value;
}

impl Index for &str {
    fn get(self, value: &Value) -> Option<&Value> {
        value.as_object()?.get(self)
    }

    fn get_mut(self, value: &mut Value) -> Option<&mut Value> {
        value.as_object_mut()?.get_mut(self)
    }

    fn get_or_add(self, value: &mut Value) -> &mut Value {
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        match value {
            Value::Object(map) => map.entry(self).or_insert(Value::Null),
            other => panic!("no key {self:?} in {}", other.word()),
        }
    }
}

macro_rules! index_by_text {
    ($($ty:ty),*) => {$(
        impl Index for $ty {
            fn get(self, value: &Value) -> Option<&Value> {
                Index::get(AsRef::<str>::as_ref(&self), value)
            }

            fn get_mut(self, value: &mut Value) -> Option<&mut Value> {
                Index::get_mut(AsRef::<str>::as_ref(&self), value)
            }

            fn get_or_add(self, value: &mut Value) -> &mut Value {
                Index::get_or_add(AsRef::<str>::as_ref(&self), value)
            }
        }
    )*};
}

index_by_text!(&String, String, &Text, Text, &&str);

impl Index for usize {
    fn get(self, value: &Value) -> Option<&Value> {
        value.as_array()?.get(self)
    }

    fn get_mut(self, value: &mut Value) -> Option<&mut Value> {
        value.as_array_mut()?.get_mut(self)
    }

    fn get_or_add(self, value: &mut Value) -> &mut Value {
        match value {
            Value::Array(array) => &mut array[self],
            other => panic!("no position {self} in {}", other.word()),
        }
    }
}

impl Value {
    fn word(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

/// Null for whatever is missing.
impl<I: Index> std::ops::Index<I> for Value {
    type Output = Value;

    fn index(&self, index: I) -> &Value {
        index.get(self).unwrap_or(&NULL)
    }
}

/// A key that is missing is added; null becomes an object.
///
/// # Panics
/// As [`Index::get_or_add`].
impl<I: Index> std::ops::IndexMut<I> for Value {
    fn index_mut(&mut self, index: I) -> &mut Value {
        index.get_or_add(self)
    }
}

/// As Rust prints `serde_json` values, for messages of tests.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("Null"),
            Value::Bool(b) => write!(f, "Bool({b})"),
            Value::Number(n) => fmt::Debug::fmt(n, f),
            Value::String(text) => write!(f, "String({text:?})"),
            Value::Array(array) => {
                f.write_str("Array ")?;
                fmt::Debug::fmt(array, f)
            }
            Value::Object(map) => {
                f.write_str("Object ")?;
                fmt::Debug::fmt(map, f)
            }
        }
    }
}

/// Compact JSON; `{:#}` is indented.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() {
            serde_json::to_string_pretty(self)
        } else {
            serde_json::to_string(self)
        };
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}
