//! Sets of paths into an object: what a manager owns.

use knarr_json::{Map, Text, Value};

use super::element::Element;
use crate::schema::Type;

/// A set of paths, in the form that `fieldsV1` has: reading and writing one costs nothing, and sets share what they have in
/// common. A path is in the set when the map that it leads to is empty or has the key `.`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Set(Map);

/// The key that says that a path is in the set although there are others below it.
const HERE: Text = Text::const_new(".");

fn here() -> (Text, Value) {
    (HERE, Value::Object(Map::new()))
}

/// What lies below a path. Anything but a map cannot be in a set.
fn node(value: &Value) -> &Map {
    static LEAF: Map = Map::new();
    value.as_object().unwrap_or(&LEAF)
}

fn is_member(node: &Map) -> bool {
    node.is_empty() || node.contains_key(".")
}

/// The elements of a level.
fn elements(level: &Map) -> impl Iterator<Item = (&Text, &Map)> {
    let elements = level.iter().filter(|(key, _)| *key != ".");
    elements.map(|(key, value)| (key, node(value)))
}

/// A path's map, from what is below it; none when the path is not in the set and neither is anything below.
fn made(member: bool, mut below: Map) -> Option<Map> {
    if below.is_empty() {
        return member.then_some(below);
    }
    if member && !below.contains_key(".") {
        let (key, value) = here();
        below.insert(key, value);
    }
    Some(below)
}

/// What lies below a path, without the path itself.
fn only_below(node: &Map) -> Map {
    let mut below = node.clone();
    below.remove(".");
    below
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
        self.0.is_empty()
    }

    /// Adds a path; the empty one is never a member.
    pub fn insert(&mut self, path: &[Element]) {
        self.insert_with(path, Set::default());
    }

    /// Adds a path, when it is not the empty one, and below it all that `below` has; the mark of `below` itself says nothing.
    pub(super) fn insert_with(&mut self, path: &[Element], below: Set) {
        insert(&mut self.0, path, below.0);
    }

    /// Adds all that `other` has.
    pub(super) fn extend(&mut self, other: Set) {
        if self.is_empty() {
            *self = other;
        } else if !other.is_empty() {
            self.0 = levels_together(std::mem::take(&mut self.0), &other.0);
        }
    }

    /// The map of a member with these elements below it, each a map of the same kind. Cheap when they come sorted.
    pub(super) fn member_with(elements: impl Iterator<Item = (Element, Set)>) -> Set {
        let mut node = Map::with_capacity(elements.size_hint().0 + 1);
        for (element, below) in elements {
            if node.is_empty() {
                let (key, value) = here();
                node.insert(key, value);
            }
            node.insert(element.into_text(), Value::Object(below.0));
        }
        Set(node)
    }

    pub fn has(&self, path: &[Element]) -> bool {
        let mut level = &self.0;
        for element in path {
            match level.get(element.as_str()) {
                Some(value) => level = node(value),
                None => return false,
            }
        }
        !path.is_empty() && is_member(level)
    }

    /// Whether the path of this one element is in the set.
    pub fn has_child(&self, element: &Element) -> bool {
        let value = self.0.get(element.as_str());
        value.is_some_and(|value| is_member(node(value)))
    }

    /// The paths below an element.
    pub fn below(&self, element: &Element) -> Option<Set> {
        let below = only_below(node(self.0.get(element.as_str())?));
        (!below.is_empty()).then_some(Set(below))
    }

    pub fn union(&self, other: &Set) -> Set {
        let mut out = self.clone();
        out.extend(other.clone());
        out
    }

    pub fn intersection(&self, other: &Set) -> Set {
        Set(in_both(&self.0, &other.0))
    }

    /// The paths of this set that are not in `other`.
    pub fn difference(&self, other: &Set) -> Set {
        Set(less(&self.0, &other.0, false))
    }

    /// The paths of this set that neither are in `other` nor lie below a path in it.
    pub fn recursive_difference(&self, other: &Set) -> Set {
        Set(less(&self.0, &other.0, true))
    }

    /// This set with every named field on the way to a member made a member too. Elements of lists and keys of maps are
    /// left alone: those come and go by their own membership.
    pub fn with_named_fields(&self, ty: &Type) -> Set {
        Set(with_named_fields(&self.0, ty))
    }

    /// Every path, in order.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        fn walk(level: &Map, path: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
            for (element, node) in elements(level) {
                path.push(Element::known(element));
                if is_member(node) {
                    out.push(path.clone());
                }
                walk(node, path, out);
                path.pop();
            }
        }
        let mut out = Vec::new();
        walk(&self.0, &mut Vec::new(), &mut out);
        out
    }

    /// As `fieldsV1` has it.
    pub fn encode(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Reads `fieldsV1`; `None` when it is not such.
    pub fn decode(value: &Value) -> Option<Set> {
        let read = canonical(value)?;
        Some(Set(only_below(&read)))
    }
}

fn insert(level: &mut Map, path: &[Element], below: Map) {
    let Some((first, rest)) = path.split_first() else {
        *level = levels_together(std::mem::take(level), &only_below(&below));
        return;
    };
    let known = level.contains_key(first.as_str());
    let value = level
        .entry(first.as_text().clone())
        .or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(node) = value else { return };
    match rest {
        [] if !known => *node = made(true, below).unwrap_or_default(),
        [] => {
            let below = made(true, below).unwrap_or_default();
            *node = nodes_together(std::mem::take(node), &below);
        }
        rest => {
            if known && node.is_empty() {
                let (key, value) = here();
                node.insert(key, value);
            }
            insert(node, rest, below);
        }
    }
}

/// All that either of two paths' maps has.
fn nodes_together(a: Map, b: &Map) -> Map {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => a,
        (false, true) => made(true, a).unwrap_or_default(),
        (true, false) => made(true, b.clone()).unwrap_or_default(),
        (false, false) => levels_together(a, b),
    }
}

/// All that either of two levels has. What is `a`'s alone is changed where it is: a level may grow by thousands of sets, one
/// after another.
fn levels_together(mut a: Map, b: &Map) -> Map {
    if a.same(b) {
        return a;
    }
    for (key, value) in b {
        match a.get(key) {
            Some(mine) if mine.same(value) => {}
            Some(_) => {
                if let Some(Value::Object(mine)) = a.get_mut(key) {
                    *mine = nodes_together(std::mem::take(mine), node(value));
                }
            }
            None => {
                a.insert(key.clone(), value.clone());
            }
        }
    }
    a
}

/// What both levels have.
fn in_both(a: &Map, b: &Map) -> Map {
    let (few, many) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let both = elements(few).filter_map(|(key, x)| {
        let y = node(many.get(key)?);
        let both = made(is_member(x) && is_member(y), in_both(x, y))?;
        Some((key.clone(), Value::Object(both)))
    });
    both.collect()
}

/// What level `a` has and `b` has not; with `recursive`, nothing of what lies below a member of `b` either.
fn less(a: &Map, b: &Map, recursive: bool) -> Map {
    let mut out = a.clone();
    let mut both = |key: &Text, mine: &Map, taken: &Map| {
        let left = match is_member(taken) {
            true if recursive => None,
            gone => left_of(mine, less(mine, taken, recursive), gone),
        };
        match left {
            None => drop(out.remove(key)),
            Some(left) if left == *mine => {}
            Some(left) => drop(out.insert(key.clone(), Value::Object(left))),
        }
    };
    // Many small sets may be compared to a large one.
    if a.len() < b.len() {
        for (key, mine) in elements(a) {
            if let Some(taken) = b.get(key) {
                both(key, mine, node(taken));
            }
        }
    } else {
        for (key, taken) in elements(b) {
            if let Some(mine) = a.get(key) {
                both(key, node(mine), taken);
            }
        }
    }
    out
}

/// A path's map without the path itself when that is `gone`, from what is `left` of it; none when that is nothing.
fn left_of(mine: &Map, mut left: Map, gone: bool) -> Option<Map> {
    let member = is_member(mine) && !gone;
    if elements(&left).next().is_none() {
        return member.then(Map::new);
    }
    if gone {
        left.remove(".");
    }
    Some(left)
}

fn with_named_fields(level: &Map, ty: &Type) -> Map {
    let nodes = elements(level).filter_map(|(key, node)| {
        let step = super::shape::step(ty, &Element::known(key));
        let below = only_below(node);
        let named = step.as_ref().is_some_and(|s| s.named) && !below.is_empty();
        let below = step.map_or_else(|| below.clone(), |s| with_named_fields(&below, s.ty));
        let node = made(is_member(node) || named, below)?;
        Some((key.clone(), Value::Object(node)))
    });
    nodes.collect()
}

/// A level or a path's map with its elements in their canonical form; what has it already is shared.
fn canonical(value: &Value) -> Option<Map> {
    let level = value.as_object()?;
    let mut changed: Vec<(&Text, Element, Map)> = Vec::new();
    for (key, value) in level {
        if key == "." {
            if !value.as_object().is_some_and(Map::is_empty) || level.len() == 1 {
                return rewritten(level);
            }
            continue;
        }
        let below = canonical(value)?;
        // Any field is canonical; only what has JSON in it can be written in more ways than one.
        let element = match key.starts_with("f:") {
            true => Element::known(key),
            false => Element::parse(key)?,
        };
        if element.as_str() != key || !value.as_object().is_some_and(|map| map.same(&below)) {
            changed.push((key, element, below));
        }
    }
    let mut out = level.clone();
    for (key, element, below) in changed {
        out.remove(key);
        out.insert(element.into_text(), Value::Object(below));
    }
    Some(out)
}

/// [`canonical`] of a map whose own mark is not as it should be.
fn rewritten(level: &Map) -> Option<Map> {
    let mut below = level.clone();
    below.remove(".");
    made(true, canonical(&Value::Object(below))?)
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
