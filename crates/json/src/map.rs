//! Maps that share what they hold with their copies.

mod entry;
mod iter;

use std::{collections::BTreeMap, fmt, sync::Arc};

use ecow::EcoVec;

use crate::{Text, Value};

pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use iter::{IntoIter, Iter, IterMut};

/// Above this many entries a map is a tree: the run's cost of an insertion grows with its length, and anybody may send
/// a million keys.
const LONGEST_RUN: usize = 64;

/// A map, sorted by the bytes of its keys.
#[derive(Clone)]
pub struct Map(Entries);

#[derive(Clone)]
enum Entries {
    Run(EcoVec<(Text, Value)>),
    Tree(Arc<BTreeMap<Text, Value>>),
}

const _: () = assert!(size_of::<Map>() == 16);

impl Default for Map {
    fn default() -> Self {
        Map::new()
    }
}

impl Map {
    pub const fn new() -> Self {
        Map(Entries::Run(EcoVec::new()))
    }

    pub fn with_capacity(capacity: usize) -> Self {
        Map(Entries::Run(EcoVec::with_capacity(
            capacity.min(LONGEST_RUN),
        )))
    }

    /// From entries whose keys rise; anything else is sorted first, and of two values for a key the later one stays.
    pub fn from_entries(mut entries: Vec<(Text, Value)>) -> Self {
        let rising = |entries: &[(Text, Value)]| entries.is_sorted_by(|(a, _), (b, _)| a < b);
        if !rising(&entries) {
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.dedup_by(|later, earlier| {
                let twice = later.0 == earlier.0;
                if twice {
                    std::mem::swap(&mut later.1, &mut earlier.1);
                }
                twice
            });
        }
        if entries.len() > LONGEST_RUN {
            return Map(Entries::Tree(Arc::new(entries.into_iter().collect())));
        }
        Map(Entries::Run(entries.into_iter().collect()))
    }

    /// From entries whose keys rise, which the caller knows.
    pub fn from_rising(entries: impl ExactSizeIterator<Item = (Text, Value)>) -> Self {
        let map = Map(match entries.len() > LONGEST_RUN {
            true => Entries::Tree(Arc::new(entries.collect())),
            false => Entries::Run(entries.collect()),
        });
        debug_assert!(map.keys().is_sorted_by(|a, b| a < b));
        map
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::Run(run) => run.len(),
            Entries::Tree(tree) => tree.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    pub fn get_key_value(&self, key: &str) -> Option<(&Text, &Value)> {
        match &self.0 {
            Entries::Run(run) => {
                let (key, value) = &run[place(run, key)?];
                Some((key, value))
            }
            Entries::Tree(tree) => tree.get_key_value(key),
        }
    }

    /// What is shared with copies is copied first, when the key is there.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        match &mut self.0 {
            Entries::Run(run) => {
                let at = place(run, key)?;
                Some(&mut run.make_mut()[at].1)
            }
            Entries::Tree(tree) => {
                tree.contains_key(key).then_some(())?;
                Arc::make_mut(tree).get_mut(key)
            }
        }
    }

    /// Gives what was there before.
    pub fn insert(&mut self, key: impl Into<Text>, value: Value) -> Option<Value> {
        let key = key.into();
        match &mut self.0 {
            Entries::Run(run) => match find(run, &key) {
                Ok(at) => Some(std::mem::replace(&mut run.make_mut()[at].1, value)),
                Err(at) if at == run.len() && at < LONGEST_RUN => {
                    run.push((key, value));
                    None
                }
                Err(at) => {
                    self.add(at, key, value);
                    None
                }
            },
            Entries::Tree(tree) => Arc::make_mut(tree).insert(key, value),
        }
    }

    /// Adds a key that is not there: at `at`, as long as this is a run.
    fn add(&mut self, at: usize, key: Text, value: Value) -> &mut Value {
        self.grow();
        match &mut self.0 {
            Entries::Run(run) => {
                run.insert(at, (key, value));
                &mut run.make_mut()[at].1
            }
            Entries::Tree(tree) => Arc::make_mut(tree).entry(key).or_insert(value),
        }
    }

    /// Makes a tree of a run that has no room for one more.
    fn grow(&mut self) {
        if let Entries::Run(run) = &mut self.0
            && run.len() >= LONGEST_RUN
        {
            let run = std::mem::take(run);
            self.0 = Entries::Tree(Arc::new(run.into_iter().collect()));
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.remove_entry(key).map(|(_, value)| value)
    }

    pub fn remove_entry(&mut self, key: &str) -> Option<(Text, Value)> {
        match &mut self.0 {
            Entries::Run(run) => Some(run.remove(place(run, key)?)),
            Entries::Tree(tree) => {
                tree.contains_key(key).then_some(())?;
                Arc::make_mut(tree).remove_entry(key)
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Map::new();
    }

    pub fn entry(&mut self, key: impl Into<Text>) -> Entry<'_> {
        let key = key.into();
        let place = match &self.0 {
            Entries::Run(run) => find(run, &key),
            Entries::Tree(tree) if tree.contains_key(&*key) => Ok(0),
            Entries::Tree(_) => Err(0),
        };
        match place {
            Ok(at) => Entry::Occupied(OccupiedEntry { map: self, at, key }),
            Err(at) => Entry::Vacant(VacantEntry { map: self, at, key }),
        }
    }

    /// Keeps what `keep` says, which may change what it keeps. What is shared with copies is copied.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        match &mut self.0 {
            Entries::Run(run) => run.retain(|(key, value)| keep(key, value)),
            Entries::Tree(tree) => Arc::make_mut(tree).retain(|key, value| keep(key, value)),
        }
    }

    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Entries::Run(run) => Iter::Run(run.iter()),
            Entries::Tree(tree) => Iter::Tree(tree.iter()),
        }
    }

    pub fn iter_mut(&mut self) -> IterMut<'_> {
        match &mut self.0 {
            Entries::Run(run) => IterMut::Run(run.make_mut().iter_mut()),
            Entries::Tree(tree) => IterMut::Tree(Arc::make_mut(tree).iter_mut()),
        }
    }

    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Text> + DoubleEndedIterator + Clone {
        self.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> + DoubleEndedIterator + Clone {
        self.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.iter_mut().map(|(_, value)| value)
    }

    pub fn into_values(self) -> impl Iterator<Item = Value> {
        self.into_iter().map(|(_, value)| value)
    }

    pub fn into_keys(self) -> impl Iterator<Item = Text> {
        self.into_iter().map(|(key, _)| key)
    }

    /// See [`Value::same`].
    pub fn same(&self, other: &Map) -> bool {
        match (&self.0, &other.0) {
            (Entries::Run(a), Entries::Run(b)) => {
                a.len() == b.len() && (a.is_empty() || std::ptr::eq(a.as_ptr(), b.as_ptr()))
            }
            (Entries::Tree(a), Entries::Tree(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Up to so many keys are looked at one by one: most are told from the one wanted by their length alone.
const SHORT: usize = 16;

/// Where a key is.
fn place(run: &[(Text, Value)], key: &str) -> Option<usize> {
    if run.len() <= SHORT {
        return run
            .iter()
            .position(|(at, _)| at.as_bytes() == key.as_bytes());
    }
    find(run, key).ok()
}

/// Where a key is, or would be.
fn find(run: &[(Text, Value)], key: &str) -> Result<usize, usize> {
    // Keys come in order, mostly.
    match run.last() {
        Some((last, _)) if last.as_str() < key => Err(run.len()),
        _ => run.binary_search_by(|(at, _)| at.as_str().cmp(key)),
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.same(other) || (self.len() == other.len() && self.iter().eq(other.iter()))
    }
}

impl Eq for Map {}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl std::ops::Index<&str> for Map {
    type Output = Value;

    /// # Panics
    /// When there is no such key.
    fn index(&self, key: &str) -> &Value {
        self.get(key)
            .unwrap_or_else(|| panic!("no key {key:?} in the map"))
    }
}

impl std::ops::IndexMut<&str> for Map {
    /// # Panics
    /// When there is no such key.
    fn index_mut(&mut self, key: &str) -> &mut Value {
        self.get_mut(key)
            .unwrap_or_else(|| panic!("no key {key:?} in the map"))
    }
}

impl<K: Into<Text>> FromIterator<(K, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        Map::from_entries(entries.map(|(key, value)| (key.into(), value)).collect())
    }
}

impl<K: Into<Text>, const N: usize> From<[(K, Value); N]> for Map {
    fn from(entries: [(K, Value); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Into<Text>> Extend<(K, Value)> for Map {
    fn extend<I: IntoIterator<Item = (K, Value)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}
