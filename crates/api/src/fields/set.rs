//! Sets of paths into an object: what a manager owns.

use std::collections::BTreeMap;

use knarr_json::{Map, Value};

use super::element::Element;
use crate::schema::Type;

/// A set of paths, kept as a tree. A path is in the set when its last node says so; its parents need not be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Set {
    nodes: BTreeMap<Element, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    /// The path that ends here is in the set.
    member: bool,
    below: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl Set {
    /// The paths made of field names, one per line of words: `metadata.labels`.
    pub fn of_fields<'a>(paths: impl IntoIterator<Item = &'a str>) -> Set {
        let mut set = Set::default();
        for path in paths {
            let path: Vec<Element> = path.split('.').map(Element::field).collect();
            set.insert(&path);
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a path; the empty one is never a member.
    pub fn insert(&mut self, path: &[Element]) {
        if let Some(node) = self.node(path) {
            node.member = true;
        }
    }

    /// Adds a path, when it is not the empty one, and below it all that `below` has.
    pub(super) fn insert_with(&mut self, path: &[Element], below: Set) {
        match self.node(path) {
            Some(node) => {
                node.member = true;
                node.below.extend(below);
            }
            None => self.extend(below),
        }
    }

    /// The node at a path, made when it is not there; `None` for the empty path.
    fn node(&mut self, path: &[Element]) -> Option<&mut Node> {
        let (first, rest) = path.split_first()?;
        // Most paths share their beginning with others: looking twice is cheaper than a copy of the element.
        if !self.nodes.contains_key(first) {
            self.nodes.insert(first.clone(), Node::default());
        }
        let node = self.nodes.get_mut(first)?;
        match rest {
            [] => Some(node),
            rest => node.below.node(rest),
        }
    }

    /// Adds all that `other` has.
    pub(super) fn extend(&mut self, other: Set) {
        if self.nodes.is_empty() {
            *self = other;
            return;
        }
        for (element, node) in other.nodes {
            let mine = self.nodes.entry(element).or_default();
            mine.member |= node.member;
            mine.below.extend(node.below);
        }
    }

    /// The set of these elements, each with what is below it.
    pub(super) fn of_elements(elements: impl IntoIterator<Item = (Element, Set)>) -> Set {
        let node = |below| Node {
            member: true,
            below,
        };
        let nodes = elements
            .into_iter()
            .map(|(element, below)| (element, node(below)));
        Set {
            nodes: nodes.collect(),
        }
    }

    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.nodes.get(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self
                .nodes
                .get(first)
                .is_some_and(|node| node.below.has(rest)),
        }
    }

    /// Whether the path of this one element is in the set.
    pub fn has_child(&self, element: &Element) -> bool {
        self.nodes.get(element).is_some_and(|node| node.member)
    }

    /// The paths below an element.
    pub fn below(&self, element: &Element) -> Option<&Set> {
        self.nodes
            .get(element)
            .map(|node| &node.below)
            .filter(|set| !set.is_empty())
    }

    pub fn union(&self, other: &Set) -> Set {
        let mut out = self.clone();
        out.extend(other.clone());
        out
    }

    pub fn intersection(&self, other: &Set) -> Set {
        let both = |element: &Element, a: &Node| {
            let b = other.nodes.get(element)?;
            Some(Node {
                member: a.member && b.member,
                below: a.below.intersection(&b.below),
            })
        };
        self.rebuilt(both)
    }

    /// The paths of this set that are not in `other`.
    pub fn difference(&self, other: &Set) -> Set {
        if other.is_empty() {
            return self.clone();
        }
        self.rebuilt(|element, a| match other.nodes.get(element) {
            None => Some(a.clone()),
            Some(b) => Some(Node {
                member: a.member && !b.member,
                below: a.below.difference(&b.below),
            }),
        })
    }

    /// The paths of this set that neither are in `other` nor lie below a path in it.
    pub fn recursive_difference(&self, other: &Set) -> Set {
        if other.is_empty() {
            return self.clone();
        }
        self.rebuilt(|element, a| match other.nodes.get(element) {
            None => Some(a.clone()),
            Some(b) if b.member => None,
            Some(b) => Some(Node {
                member: a.member,
                below: a.below.recursive_difference(&b.below),
            }),
        })
    }

    fn rebuilt(&self, mut node: impl FnMut(&Element, &Node) -> Option<Node>) -> Set {
        let kept = self.nodes.iter().filter_map(|(element, old)| {
            node(element, old)
                .filter(|new| !new.is_empty())
                .map(|new| (element.clone(), new))
        });
        Set {
            nodes: kept.collect(),
        }
    }

    /// This set with every named field on the way to a member made a member too. Elements of lists and keys of maps are
    /// left alone: those come and go by their own membership.
    pub fn with_named_fields(&self, ty: &Type) -> Set {
        let nodes = self.nodes.iter().map(|(element, node)| {
            let step = super::shape::step(ty, element);
            let named = step.as_ref().is_some_and(|s| s.named) && !node.below.is_empty();
            let below = step.map_or_else(
                || node.below.clone(),
                |s| node.below.with_named_fields(s.ty),
            );
            (
                element.clone(),
                Node {
                    member: node.member || named,
                    below,
                },
            )
        });
        Set {
            nodes: nodes.collect(),
        }
    }

    /// Every path, in order.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        fn walk(set: &Set, path: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
            for (element, node) in &set.nodes {
                path.push(element.clone());
                if node.member {
                    out.push(path.clone());
                }
                walk(&node.below, path, out);
                path.pop();
            }
        }
        let mut out = Vec::new();
        walk(self, &mut Vec::new(), &mut out);
        out
    }

    /// As `fieldsV1` has it.
    pub fn encode(&self) -> Value {
        let mut out = Map::new();
        for (element, node) in &self.nodes {
            let mut below = node.below.encode();
            if let (true, false, Value::Object(map)) =
                (node.member, node.below.is_empty(), &mut below)
            {
                map.insert(".", Value::Object(Map::new()));
            }
            out.insert(element.as_str(), below);
        }
        Value::Object(out)
    }

    /// Reads `fieldsV1`; `None` when it is not such.
    pub fn decode(value: &Value) -> Option<Set> {
        let mut nodes = BTreeMap::new();
        for (key, below) in value.as_object()?.iter().filter(|(key, _)| *key != ".") {
            let inside = below.as_object()?;
            let node = Node {
                member: inside.is_empty() || inside.contains_key("."),
                below: Set::decode(below)?,
            };
            nodes.insert(Element::parse(key)?, node);
        }
        Some(Set { nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn set(value: Value) -> Set {
        Set::decode(&value).unwrap()
    }

    #[test]
    fn sets_come_back_as_they_were() {
        let value = json!({"f:a": {}, "f:b": {".": {}, "f:c": {}, "k:{\"n\":1}": {".": {}, "f:n": {}}}, "f:d": {"v:\"x\"": {}}});
        let read = set(value.clone());
        assert_eq!(read.encode(), value);
        let shown: Vec<String> = read
            .paths()
            .iter()
            .map(|p| super::super::element::show(p))
            .collect();
        assert_eq!(
            shown,
            [".a", ".b", ".b.c", ".b[n=1]", ".b[n=1].n", ".d[=\"x\"]"]
        );
        assert!(Set::decode(&json!({"a": {}})).is_none());
        assert!(Set::decode(&json!({"f:a": 1})).is_none());
    }

    #[test]
    fn set_arithmetic() {
        let a = set(json!({"f:a": {".": {}, "f:x": {}, "f:y": {}}, "f:b": {}}));
        let b = set(json!({"f:a": {"f:x": {}}, "f:c": {}}));
        assert_eq!(
            a.union(&b),
            set(json!({"f:a": {".": {}, "f:x": {}, "f:y": {}}, "f:b": {}, "f:c": {}}))
        );
        assert_eq!(a.intersection(&b), set(json!({"f:a": {"f:x": {}}})));
        assert_eq!(
            a.difference(&b),
            set(json!({"f:a": {".": {}, "f:y": {}}, "f:b": {}}))
        );
        assert_eq!(
            a.recursive_difference(&set(json!({"f:a": {}}))),
            set(json!({"f:b": {}}))
        );
        assert_eq!(
            a.recursive_difference(&b),
            set(json!({"f:a": {".": {}, "f:y": {}}, "f:b": {}}))
        );
        assert!(a.difference(&a).is_empty());
    }
}
