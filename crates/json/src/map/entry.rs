//! A place for a key in a map.

use std::sync::Arc;

use super::{Entries, Map};
use crate::{Text, Value};

/// A place for a key.
pub enum Entry<'a> {
    Occupied(OccupiedEntry<'a>),
    Vacant(VacantEntry<'a>),
}

/// A key that is there.
pub struct OccupiedEntry<'a> {
    pub(super) map: &'a mut Map,
    pub(super) at: usize,
    pub(super) key: Text,
}

/// A key that is not there.
pub struct VacantEntry<'a> {
    pub(super) map: &'a mut Map,
    pub(super) at: usize,
    pub(super) key: Text,
}

impl<'a> Entry<'a> {
    pub fn or_insert(self, value: Value) -> &'a mut Value {
        self.or_insert_with(|| value)
    }

    pub fn or_insert_with(self, value: impl FnOnce() -> Value) -> &'a mut Value {
        match self {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(value()),
        }
    }

    pub fn or_default(self) -> &'a mut Value {
        self.or_insert(Value::Null)
    }
}

impl<'a> OccupiedEntry<'a> {
    pub fn key(&self) -> &Text {
        &self.key
    }

    /// # Panics
    /// Never: the key is there.
    pub fn get(&self) -> &Value {
        match &self.map.0 {
            Entries::Run(run) => &run[self.at].1,
            Entries::Tree(tree) => &tree[&self.key],
        }
    }

    /// # Panics
    /// Never: the key is there.
    pub fn get_mut(&mut self) -> &mut Value {
        match &mut self.map.0 {
            Entries::Run(run) => &mut run.make_mut()[self.at].1,
            Entries::Tree(tree) => Arc::make_mut(tree)
                .get_mut(&self.key)
                .expect("the key is there"),
        }
    }

    /// # Panics
    /// Never: the key is there.
    pub fn into_mut(self) -> &'a mut Value {
        match &mut self.map.0 {
            Entries::Run(run) => &mut run.make_mut()[self.at].1,
            Entries::Tree(tree) => Arc::make_mut(tree)
                .get_mut(&self.key)
                .expect("the key is there"),
        }
    }

    /// Gives what was there before.
    pub fn insert(&mut self, value: Value) -> Value {
        std::mem::replace(self.get_mut(), value)
    }

    pub fn remove(self) -> Value {
        self.map.remove(&self.key).unwrap_or_default()
    }
}

impl<'a> VacantEntry<'a> {
    pub fn key(&self) -> &Text {
        &self.key
    }

    pub fn insert(self, value: Value) -> &'a mut Value {
        self.map.add(self.at, self.key, value)
    }
}
