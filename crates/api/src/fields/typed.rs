//! Walking typed values: the set of an object, what differs between two, merging one into another, taking paths out.
//!
//! The rules are those of Kubernetes' structured merge: scalars and atomic lists and maps are owned as a whole, other maps
//! by key, other lists by the keys or values of their elements. Where a list has an element twice, both count as one.

use std::collections::{HashSet, VecDeque};

use knarr_json::{Map, Value};

use super::{
    element::Element,
    indexed::indexed,
    set::Set,
    shape::{Fields, Shape, Use, element_of},
};
use crate::schema::{List, Type};

/// What differs between two objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

impl Comparison {
    /// Without what lies in or below `ignored`.
    pub fn without(self, ignored: &Set) -> Comparison {
        if ignored.is_empty() {
            return self;
        }
        Comparison {
            added: self.added.recursive_difference(ignored),
            modified: self.modified.recursive_difference(ignored),
            removed: self.removed.recursive_difference(ignored),
        }
    }
}

static NOTHING: Value = Value::Null;

fn object(value: Option<&Value>) -> Option<&Map> {
    value.and_then(Value::as_object)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.map_or(&[], Value::items)
}

/// Null and empty lists and maps are owned as a whole, so that they can be told apart.
fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => true,
    }
}

/// The paths that an applier of `value` owns.
pub fn set_of(ty: &Type, value: &Value) -> Set {
    let mut set = Set::default();
    collect(Use::plain(ty), value, &mut Vec::new(), &mut set);
    set
}

fn collect(used: Use<'_>, value: &Value, path: &mut Vec<Element>, set: &mut Set) {
    match used.shape(value) {
        Shape::Scalar | Shape::Atomic => set.insert(path),
        Shape::Map(fields) => {
            for (key, child) in object(Some(value)).into_iter().flatten() {
                let (used, element) = fields.step(key);
                path.push(element);
                collect(used, child, path, set);
                let empty = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                if empty || !fields.names(key) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Shape::List(list) => {
            for (element, found) in indexed(list, items(Some(value))).elements {
                path.push(element);
                if let [child] = found[..] {
                    collect(Use::plain(&list.elem), child, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
    }
}

/// What changed from `old` to `new`.
pub fn compare(ty: &Type, old: &Value, new: &Value) -> Comparison {
    let mut out = Comparison::default();
    compare_at(
        Use::plain(ty),
        Some(old),
        Some(new),
        &mut Vec::new(),
        &mut out,
    );
    out
}

/// The member that comes or goes with `value`, and all paths below.
fn all_below(used: Use<'_>, value: &Value) -> Set {
    match used.shape(value) {
        Shape::Map(fields) => {
            let children = object(Some(value)).into_iter().flatten();
            Set::member_with(children.map(|(key, child)| {
                let (used, element) = fields.step(key);
                (element, all_below(used, child))
            }))
        }
        Shape::List(list) => {
            let elements = indexed(list, items(Some(value))).elements.into_iter();
            let mut last: Option<(&Value, Set)> = None;
            Set::member_with(elements.map(|(element, found)| {
                let below = match (&found[..], &last) {
                    ([one], Some((like, set))) if alike(like, one) => set.clone(),
                    ([one], _) => {
                        let set = all_below(Use::plain(&list.elem), one);
                        last = Some((one, set.clone()));
                        set
                    }
                    _ => Set::default(),
                };
                (element, below)
            }))
        }
        Shape::Scalar | Shape::Atomic => Set::default(),
    }
}

/// Whether two elements of a list have the same fields and nothing but scalars in them, so that their paths are the same.
/// Most lists have such elements, and then share one set among them.
fn alike(a: &Value, b: &Value) -> bool {
    let scalar = |v: &Value| v.is_string() || v.is_number() || v.is_boolean();
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return false;
    };
    let mut pairs = a.iter().zip(b);
    a.len() == b.len() && pairs.all(|((k, v), (l, w))| k == l && scalar(v) && scalar(w))
}

fn compare_at(
    used: Use<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<Element>,
    out: &mut Comparison,
) {
    match (old, new) {
        (None, Some(new)) => return out.added.insert_with(path, all_below(used, new)),
        (Some(old), None) => return out.removed.insert_with(path, all_below(used, old)),
        // Most of an object does not change, and looking for that is cheaper than walking it.
        _ if old == new => return,
        _ => {}
    }
    let shape = used.shape(new.or(old).unwrap_or(&NOTHING));
    if let (Some(was), Some(_), Shape::Atomic | Shape::Scalar) = (old, new, shape)
        && let Shape::Map(fields) = used.shape(was)
    {
        // What was a map (where anything goes) is none any more.
        compare_maps(fields, object(old), None, path, out);
    }
    match shape {
        Shape::Map(fields) if !(is_empty(old) && is_empty(new)) => {
            if let (Some(was), Some(_)) = (old, new)
                && let Shape::Atomic | Shape::Scalar = used.shape(was)
            {
                // What was none (where anything goes) is a map now.
                out.modified.insert(path);
            }
            compare_maps(fields, object(old), object(new), path, out);
        }
        Shape::List(list) if !(is_empty(old) && is_empty(new)) => {
            compare_lists(list, items(old), items(new), path, out);
        }
        _ => {
            if let (Some(old), Some(new)) = (old, new)
                && old != new
            {
                out.modified.insert(path);
            }
        }
    }
}

fn compare_maps(
    fields: Fields<'_>,
    old: Option<&Map>,
    new: Option<&Map>,
    path: &mut Vec<Element>,
    out: &mut Comparison,
) {
    let mut one = |key: &str, old: Option<&Value>, new: Option<&Value>| {
        if old == new {
            return;
        }
        let (used, element) = fields.step(key);
        path.push(element);
        compare_at(used, old, new, path, out);
        path.pop();
    };
    for (key, was) in old.into_iter().flatten() {
        one(key, Some(was), new.and_then(|map| map.get(key)));
    }
    for (key, is) in new.into_iter().flatten() {
        if !old.is_some_and(|map| map.contains_key(key)) {
            one(key, None, Some(is));
        }
    }
}

fn compare_lists(
    list: &List,
    old: &[Value],
    new: &[Value],
    path: &mut Vec<Element>,
    out: &mut Comparison,
) {
    let (old, new) = (indexed(list, old), indexed(list, new));
    let only_new = new.order().filter(|element| old.get(element).is_empty());
    for element in old.order().chain(only_new) {
        path.push(element.clone());
        match (old.get(element), new.get(element)) {
            (was @ ([] | [_]), is @ ([] | [_])) => {
                compare_at(
                    Use::plain(&list.elem),
                    was.first().copied(),
                    is.first().copied(),
                    path,
                    out,
                );
            }
            ([], _) => out.added.insert(path),
            (_, []) => out.removed.insert(path),
            (was, is) if was != is => out.modified.insert(path),
            _ => {}
        }
        path.pop();
    }
}

/// `applied` merged into `live`: what is applied wins, what it does not speak of stays.
pub fn merge(ty: &Type, live: &Value, applied: &Value) -> Value {
    merge_at(Use::plain(ty), Some(live), Some(applied)).unwrap_or_default()
}

fn merge_at(used: Use<'_>, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    match used.shape(applied.or(live)?) {
        Shape::Map(fields) if !(is_empty(live) && is_empty(applied)) => {
            let (live, applied) = (object(live), object(applied));
            let mut out = live.cloned().unwrap_or_default();
            for (key, value) in applied.into_iter().flatten() {
                let below = live.and_then(|map| map.get(key));
                if let Some(merged) = merge_at(fields.get_or_any(key), below, Some(value)) {
                    out.insert(key.clone(), merged);
                }
            }
            Some(Value::Object(out))
        }
        Shape::List(list) if !(is_empty(live) && is_empty(applied)) => {
            Some(merge_lists(list, items(live), items(applied)).into())
        }
        _ => applied.or(live).cloned(),
    }
}

/// Elements of both keep the order that is applied; those that are only live stay before the next one that is in both.
fn merge_lists(list: &List, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let (live, applied) = (indexed(list, live), indexed(list, applied));
    let in_both: HashSet<&Element> = applied
        .order()
        .filter(|e| !live.get(e).is_empty())
        .collect();
    let mut shared: VecDeque<&Element> = applied.order().filter(|e| in_both.contains(e)).collect();
    let (mut left, mut right) = (live.order().peekable(), applied.order().peekable());
    let mut out = Vec::new();
    let merged = |element: &Element| {
        merge_at(
            Use::plain(&list.elem),
            live.first(element),
            applied.first(element),
        )
    };
    loop {
        match (left.peek().copied(), right.peek().copied()) {
            (None, None) => return out,
            (Some(l), _) if !in_both.contains(l) => {
                out.extend(live.get(l).iter().map(|item| (*item).clone()));
                left.next();
            }
            (Some(l), r) if r == Some(l) => {
                out.extend(merged(l));
                shared.pop_front();
                left.next();
                right.next();
            }
            // In both, but its turn in the applied order is another.
            (Some(l), r) if r.is_none() || shared.front() != Some(&l) => {
                left.next();
            }
            (_, Some(r)) => {
                out.extend(merged(r));
                if shared.front() == Some(&r) {
                    shared.pop_front();
                }
                right.next();
            }
            (Some(_), None) => {
                left.next();
            }
        }
    }
}

/// `value` without the paths of `set`. Maps and lists that lose all they had stay, empty.
pub fn remove(ty: &Type, value: &Value, set: &Set) -> Value {
    remove_at(Use::plain(ty), value, set)
}

fn remove_at(used: Use<'_>, value: &Value, set: &Set) -> Value {
    match (used.shape(value), value) {
        (Shape::Map(fields), Value::Object(map)) => {
            let mut out = Map::new();
            for (key, child) in map {
                let element = Element::field(key);
                if set.has_child(&element) {
                    continue;
                }
                let kept = match set.below(&element) {
                    Some(below) => remove_at(fields.get_or_any(key), child, &below),
                    None => child.clone(),
                };
                out.insert(key.clone(), kept);
            }
            Value::Object(out)
        }
        (Shape::List(list), Value::Array(items)) => {
            let kept = items.iter().filter_map(|item| {
                let Ok(element) = element_of(list, item) else {
                    return Some(item.clone());
                };
                if set.has_child(&element) {
                    return None;
                }
                Some(match set.below(&element) {
                    Some(below) => remove_at(Use::plain(&list.elem), item, &below),
                    None => item.clone(),
                })
            });
            Value::Array(kept.collect())
        }
        _ => value.clone(),
    }
}

/// Why `value` cannot be applied: fields that the type does not have, values of another type, elements named twice.
/// `None` when it can.
pub fn invalid(ty: &Type, value: &Value) -> Option<String> {
    let mut errors = Vec::new();
    validate(Use::plain(ty), value, &mut Vec::new(), &mut errors);
    match errors.len() {
        0 => None,
        1 => errors.pop(),
        _ => Some(format!(
            "errors:\n{}",
            errors
                .iter()
                .map(|e| format!("  {e}"))
                .collect::<Vec<_>>()
                .join("\n")
        )),
    }
}

fn validate(used: Use<'_>, value: &Value, path: &mut Vec<Element>, errors: &mut Vec<String>) {
    let mut error = |path: &[Element], what: String| {
        errors.push(format!("{}: {what}", super::element::show(path)))
    };
    if value.is_null() {
        return;
    }
    if let Some(expected) = mismatch(used.ty, value) {
        return error(
            path,
            format!("expected {expected}, got &value.valueUnstructured{{Value:{value}}}"),
        );
    }
    match used.ty {
        Type::Struct(_) | Type::Map(_) => {
            let fields = match used.ty {
                Type::Map(m) => Fields::Free(&m.value),
                Type::Struct(s) => Fields::Named(s),
                _ => return,
            };
            for (key, child) in object(Some(value)).into_iter().flatten() {
                path.push(Element::field(key));
                match fields.get(key) {
                    Some(used) => validate(used, child, path, errors),
                    None => errors.push(format!(
                        "{}: field not declared in schema",
                        super::element::show(path)
                    )),
                }
                path.pop();
            }
        }
        Type::List(list) => validate_list(
            list,
            matches!(used.shape(value), Shape::List(_)),
            items(Some(value)),
            path,
            errors,
        ),
        _ => {}
    }
}

fn validate_list(
    list: &List,
    named: bool,
    items: &[Value],
    path: &mut Vec<Element>,
    errors: &mut Vec<String>,
) {
    let mut seen = HashSet::new();
    for (i, item) in items.iter().enumerate() {
        let element = match element_of(list, item) {
            _ if !named => Element::parse(&format!("i:{i}")),
            Ok(element) if seen.contains(&element) => {
                let at = super::element::show(path);
                errors.push(format!("{at}: duplicate entries for key {element}"));
                continue;
            }
            Ok(element) => Some(element),
            Err(why) => {
                errors.push(format!(
                    "{}: element {i}: {why}",
                    super::element::show(path)
                ));
                continue;
            }
        };
        let Some(element) = element else { continue };
        path.push(element.clone());
        seen.insert(element);
        validate(Use::plain(&list.elem), item, path, errors);
        path.pop();
    }
}

/// What was expected, when `value` is of another kind.
fn mismatch(ty: &Type, value: &Value) -> Option<&'static str> {
    let (fits, expected) = match ty {
        Type::Bool => (value.is_boolean(), "boolean"),
        Type::Int32 | Type::Int64 | Type::Double => (value.is_number(), "numeric (int or float)"),
        Type::String(_) | Type::Bytes => (value.is_string(), "string"),
        Type::Quantity | Type::IntOrString | Type::Time | Type::MicroTime => {
            (!value.is_object() && !value.is_array(), "scalar")
        }
        Type::Struct(_) | Type::Map(_) | Type::Raw | Type::FieldsV1 => (value.is_object(), "map"),
        Type::List(_) => (value.is_array(), "list"),
        Type::Any => (true, ""),
    };
    (!fits).then_some(expected)
}
