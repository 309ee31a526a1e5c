//! Arrays that share what they hold with their copies.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use ecow::EcoVec;

use crate::Value;

/// A list of values: a slice to read, and to write once it is its own.
#[derive(Clone, Default)]
pub struct Array(EcoVec<Value>);

impl Array {
    pub const fn new() -> Self {
        Array(EcoVec::new())
    }

    pub fn with_capacity(capacity: usize) -> Self {
        Array(EcoVec::with_capacity(capacity))
    }

    pub fn push(&mut self, value: Value) {
        self.0.push(value);
    }

    pub fn pop(&mut self) -> Option<Value> {
        self.0.pop()
    }

    /// # Panics
    /// When `index` is past the end.
    pub fn insert(&mut self, index: usize, value: Value) {
        self.0.insert(index, value);
    }

    /// # Panics
    /// When there is nothing at `index`.
    pub fn remove(&mut self, index: usize) -> Value {
        self.0.remove(index)
    }

    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    pub fn clear(&mut self) {
        *self = Array::new();
    }

    /// Keeps what `keep` says; shared values are copied only if something goes.
    pub fn retain(&mut self, mut keep: impl FnMut(&Value) -> bool) {
        let kept: Vec<bool> = self.iter().map(&mut keep).collect();
        if kept.iter().all(|k| *k) {
            return;
        }
        let mut kept = kept.into_iter();
        self.0.retain(|_| kept.next().unwrap_or(true));
    }

    /// Removes what equals its predecessor.
    pub fn dedup(&mut self) {
        let mut values: Vec<Value> = std::mem::take(self).into_iter().collect();
        values.dedup();
        *self = values.into();
    }

    pub fn append(&mut self, other: &mut Vec<Value>) {
        self.0.extend(std::mem::take(other));
    }

    pub fn extend_from_slice(&mut self, values: &[Value]) {
        self.0.extend_from_slice(values);
    }

    /// See [`Value::same`].
    pub fn same(&self, other: &Array) -> bool {
        self.0.len() == other.0.len()
            && (self.0.is_empty() || std::ptr::eq(self.0.as_ptr(), other.0.as_ptr()))
    }
}

impl Deref for Array {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

impl DerefMut for Array {
    fn deref_mut(&mut self) -> &mut [Value] {
        self.0.make_mut()
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        self.same(other) || self.0 == other.0
    }
}

impl Eq for Array {}

impl PartialEq<[Value]> for Array {
    fn eq(&self, other: &[Value]) -> bool {
        **self == *other
    }
}

impl PartialEq<Vec<Value>> for Array {
    fn eq(&self, other: &Vec<Value>) -> bool {
        **self == **other
    }
}

impl<const N: usize> PartialEq<[Value; N]> for Array {
    fn eq(&self, other: &[Value; N]) -> bool {
        **self == *other
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl From<Vec<Value>> for Array {
    fn from(values: Vec<Value>) -> Self {
        values.into_iter().collect()
    }
}

impl From<&[Value]> for Array {
    fn from(values: &[Value]) -> Self {
        Array(values.into())
    }
}

impl From<Array> for Vec<Value> {
    fn from(array: Array) -> Self {
        array.into_iter().collect()
    }
}

impl FromIterator<Value> for Array {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Array(values.into_iter().collect())
    }
}

impl Extend<Value> for Array {
    fn extend<I: IntoIterator<Item = Value>>(&mut self, values: I) {
        self.0.extend(values);
    }
}

impl IntoIterator for Array {
    type Item = Value;
    type IntoIter = ecow::vec::IntoIter<Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Array {
    type Item = &'a Value;
    type IntoIter = std::slice::Iter<'a, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Array {
    type Item = &'a mut Value;
    type IntoIter = std::slice::IterMut<'a, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
