//! Walking the entries of a map.

use std::{collections::btree_map, slice, sync::Arc};

use super::{Entries, Map};
use crate::{Text, Value};

/// The entries, in order.
#[derive(Clone)]
pub enum Iter<'a> {
    Run(slice::Iter<'a, (Text, Value)>),
    Tree(btree_map::Iter<'a, Text, Value>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a Text, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Run(run) => run.next().map(|(key, value)| (key, value)),
            Iter::Tree(tree) => tree.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Iter::Run(run) => run.size_hint(),
            Iter::Tree(tree) => tree.size_hint(),
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Run(run) => run.next_back().map(|(key, value)| (key, value)),
            Iter::Tree(tree) => tree.next_back(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// The entries, in order, to be changed.
pub enum IterMut<'a> {
    Run(slice::IterMut<'a, (Text, Value)>),
    Tree(btree_map::IterMut<'a, Text, Value>),
}

impl<'a> Iterator for IterMut<'a> {
    type Item = (&'a Text, &'a mut Value);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            IterMut::Run(run) => run.next().map(|(key, value)| (&*key, value)),
            IterMut::Tree(tree) => tree.next(),
        }
    }
}

/// The entries, in order, to be had.
pub enum IntoIter {
    Run(ecow::vec::IntoIter<(Text, Value)>),
    Tree(btree_map::IntoIter<Text, Value>),
}

impl Iterator for IntoIter {
    type Item = (Text, Value);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            IntoIter::Run(run) => run.next(),
            IntoIter::Tree(tree) => tree.next(),
        }
    }
}

impl IntoIterator for Map {
    type Item = (Text, Value);
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        match self.0 {
            Entries::Run(run) => IntoIter::Run(run.into_iter()),
            Entries::Tree(tree) => IntoIter::Tree(Arc::unwrap_or_clone(tree).into_iter()),
        }
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Text, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Map {
    type Item = (&'a Text, &'a mut Value);
    type IntoIter = IterMut<'a>;

    fn into_iter(self) -> IterMut<'a> {
        self.iter_mut()
    }
}
