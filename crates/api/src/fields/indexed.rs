//! Lists by what names their elements.

use std::collections::HashMap;

use knarr_json::Value;
use smallvec::SmallVec;

use super::{element::Element, shape::element_of};
use crate::schema::List;

/// The elements of a list by what names them, in order of their first occurrence.
pub(super) struct Indexed<'v> {
    pub elements: Vec<(Element, SmallVec<[&'v Value; 1]>)>,
    /// Where each is; only for lists that are long.
    places: HashMap<Element, usize>,
}

/// Up to this many elements are looked for one by one.
const SHORT: usize = 12;

impl<'v> Indexed<'v> {
    fn place(&self, element: &Element) -> Option<usize> {
        if self.elements.len() > SHORT {
            return self.places.get(element).copied();
        }
        self.elements.iter().position(|(known, _)| known == element)
    }

    pub fn get(&self, element: &Element) -> &[&'v Value] {
        self.place(element)
            .map_or(&[], |place| self.elements[place].1.as_slice())
    }

    pub fn first(&self, element: &Element) -> Option<&'v Value> {
        self.get(element).first().copied()
    }

    pub fn order(&self) -> impl Iterator<Item = &Element> {
        self.elements.iter().map(|(element, _)| element)
    }

    fn add(&mut self, element: Element, item: &'v Value) {
        if let Some(place) = self.place(&element) {
            self.elements[place].1.push(item);
            return;
        }
        self.elements.push((element, SmallVec::from([item])));
        match self.elements.len() {
            long if long == SHORT + 1 => {
                let known = self.elements.iter().enumerate();
                self.places = known
                    .map(|(place, (known, _))| (known.clone(), place))
                    .collect();
            }
            long if long > SHORT => {
                let last = self.elements[long - 1].0.clone();
                self.places.insert(last, long - 1);
            }
            _ => {}
        }
    }
}

/// Elements that cannot be named are left out.
pub(super) fn indexed<'v>(list: &List, items: &'v [Value]) -> Indexed<'v> {
    let mut index = Indexed {
        elements: Vec::with_capacity(items.len()),
        places: HashMap::new(),
    };
    for item in items {
        if let Ok(element) = element_of(list, item) {
            index.add(element, item);
        }
    }
    index
}
