//! Elements of lists by what names them: long lists are not searched one by one.

use std::collections::{BTreeSet, HashMap};

use knarr_json::Value;

use crate::schema::Patch;

/// Up to so many elements are looked at one by one.
const SHORT: usize = 12;

/// What tells an element from others: the value of its merge key, or all of it.
pub(super) fn identity<'v>(element: &'v Value, how: &Patch) -> Option<&'v Value> {
    match &how.key {
        Some(key) => element.get(&**key),
        None => Some(element),
    }
}

/// Whether two elements are the same.
pub(super) fn same(a: &Value, b: &Value, how: &Patch) -> bool {
    identity(a, how).is_some_and(|a| Some(a) == identity(b, how))
}

/// Where the elements of a list are.
pub(super) struct Places<'h> {
    how: &'h Patch,
    /// The places of each identity; none for a list that is searched one by one.
    known: Option<HashMap<Value, BTreeSet<usize>>>,
}

impl<'h> Places<'h> {
    /// Of a list in which about so many elements will be looked for.
    pub fn new(list: &[Value], how: &'h Patch, looks: usize) -> Self {
        let mut places = Places { how, known: None };
        if looks > SHORT && list.len().max(looks) > SHORT {
            places.known = Some(HashMap::with_capacity(list.len()));
            for (place, element) in list.iter().enumerate() {
                places.add(place, element);
            }
        }
        places
    }

    /// The first element that is the same.
    pub fn find(&self, list: &[Value], element: &Value) -> Option<usize> {
        match &self.known {
            Some(known) => known.get(identity(element, self.how)?)?.first().copied(),
            None => list.iter().position(|other| same(other, element, self.how)),
        }
    }

    /// Notes what is at a place now.
    pub fn add(&mut self, place: usize, element: &Value) {
        if let Some(known) = &mut self.known
            && let Some(identity) = identity(element, self.how)
        {
            known.entry(identity.clone()).or_default().insert(place);
        }
    }

    /// Notes that something else comes to a place.
    pub fn remove(&mut self, place: usize, element: &Value) {
        if let Some(known) = &mut self.known
            && let Some(places) = identity(element, self.how).and_then(|id| known.get_mut(id))
        {
            places.remove(&place);
        }
    }
}
