//! Strategic merge patch (`k8s.io/apimachinery/pkg/util/strategicpatch`): a merge patch that knows which lists merge by key
//! or as sets, with directives inside the patch:
//!
//! - `$patch: replace | delete` in a map or a list element
//! - `$retainKeys: [..]` drops all other keys of a map
//! - `$setElementOrder/<list>` orders a merged list
//! - `$deleteFromPrimitiveList/<list>` takes values out of a list of primitives

mod places;

use std::collections::HashSet;

use knarr_json::{Map, Text, Value};

use self::places::{Places, same};
use super::go_print;
use crate::schema::{Field, Patch, Struct, Type};

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The patch's format is wrong: 400.
    #[error("{0}")]
    Format(&'static str),
    /// A list in a list that merges: 422, without a word of why.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// Anything else, which the original answers with 500.
    #[error("{0}")]
    Other(String),
}

type Object = Map;
type Result<T> = std::result::Result<T, Failure>;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

const BAD_RETAIN: Failure = Failure::Format(
    "Invalid patch format of retainKeys, retainKeys list must be a list and contain all fields of the patch",
);

fn other<T>(why: impl Into<String>) -> Result<T> {
    Err(Failure::Other(why.into()))
}

/// What is known of the fields at some place.
#[derive(Clone, Copy)]
enum Known<'a> {
    Struct(&'a Struct),
    /// A map: all keys have this type.
    Map(&'a Type),
    Nothing,
}

impl<'a> Known<'a> {
    fn of(ty: &'a Type) -> Self {
        match ty {
            Type::Struct(schema) => Known::Struct(schema),
            Type::Map(map) => Known::Map(&map.value),
            _ => Known::Nothing,
        }
    }

    fn field(self, key: &str) -> Option<&'a Field> {
        if let Known::Struct(schema) = self {
            schema.field(key)
        } else {
            None
        }
    }

    fn child(self, key: &str) -> Self {
        match self {
            Known::Struct(schema) => schema
                .field(key)
                .map_or(Known::Nothing, |f| Known::of(&f.ty)),
            Known::Map(ty) => Known::of(ty),
            Known::Nothing => Known::Nothing,
        }
    }

    /// How the list under `key` merges, and what its elements are.
    fn list(self, key: &str) -> (Patch, Self) {
        match self.field(key) {
            Some(field) => {
                let elem = field
                    .ty
                    .as_list()
                    .map_or(Known::Nothing, |list| Known::of(&list.elem));
                (field.patch.clone(), elem)
            }
            None => (Patch::default(), Known::Nothing),
        }
    }
}

/// Applies a patch to an object of the given type.
///
/// # Errors
/// See [`Failure`].
pub fn apply(schema: &Struct, object: &Value, patch: &Object) -> Result<Value> {
    let original = object.as_object().cloned().unwrap_or_default();
    merge_map(original, patch.clone(), Known::Struct(schema)).map(Value::Object)
}

fn merge_map(mut original: Object, mut patch: Object, known: Known) -> Result<Object> {
    match patch.get(DIRECTIVE).map(|d| d.as_str().unwrap_or_default()) {
        None => {}
        Some("replace") => {
            patch.remove(DIRECTIVE);
            return Ok(patch);
        }
        Some("delete") => return Ok(Object::new()),
        Some(directive) => {
            return other(unknown_directive(directive, &Value::Object(patch.clone())));
        }
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered(&mut original, &mut patch, known)?;
    for (key, change) in patch {
        match key.strip_prefix(DELETE) {
            Some(list) => delete_primitives(&mut original, list, change, known)?,
            None => merge_key(&mut original, key, change, known)?,
        }
    }
    Ok(original)
}

fn unknown_directive(directive: &str, map: &Value) -> String {
    format!("unknown patch type: {directive} in map: {}", go_print(map))
}

fn merge_key(original: &mut Object, key: Text, change: Value, known: Known) -> Result<()> {
    if change.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let merged = match (original.remove(&key), change) {
        (Some(Value::Object(_)), new) if known.field(&key).is_some_and(|f| f.patch.replace) => new,
        (Some(Value::Object(old)), Value::Object(new)) => {
            Value::Object(merge_map(old, new, known.child(&key))?)
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let (how, elem) = known.list(&key);
            if how.merge {
                merge_list(old.into(), new.into(), &how, elem)?.into()
            } else {
                Value::Array(new)
            }
        }
        (_, new) => cleaned(new),
    };
    original.insert(key, merged);
    Ok(())
}

/// Takes values out of a list of primitives. What is no list on either side is left alone; lists of maps merge as ever.
fn delete_primitives(original: &mut Object, key: &str, delete: Value, known: Known) -> Result<()> {
    let (Some(Value::Array(list)), Value::Array(delete)) = (original.get_mut(key), delete) else {
        return Ok(());
    };
    if list.is_empty() && delete.is_empty() {
        return Ok(());
    }
    if of_maps(list, &delete)? {
        let (how, elem) = known.list(key);
        *list = merge_list(std::mem::take(list).into(), delete.into(), &how, elem)?.into();
    } else {
        let gone: HashSet<&Value> = delete.iter().collect();
        list.retain(|v| !gone.contains(v));
    }
    Ok(())
}

/// Whether two lists that meet are of maps. All their elements must be of one kind, which is not that of lists.
fn of_maps(old: &[Value], new: &[Value]) -> Result<bool> {
    let mut all = old.iter().chain(new);
    let Some(first) = all.next() else {
        return Ok(false);
    };
    if first.is_array() {
        return Err(Failure::ListOfLists);
    }
    if all.any(|v| go_kind(v) != go_kind(first)) {
        let lists = go_print(&Value::from(
            [Value::from(old), Value::from(new)].as_slice(),
        ));
        return other(format!("list element types are not identical: {lists}"));
    }
    Ok(first.is_object())
}

/// Tells apart what Go reads into different types.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A patch's value where there is nothing to merge it into: without nulls and directives.
fn cleaned(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .into_iter()
                .filter(|(key, value)| !value.is_null() && !is_directive(key));
            Value::Object(kept.map(|(key, value)| (key, cleaned(value))).collect())
        }
        Value::Array(list) => {
            let kept = list.into_iter().filter(|v| v.get(DIRECTIVE).is_none());
            Value::Array(kept.map(cleaned).collect())
        }
        value => value,
    }
}

fn is_directive(key: &str) -> bool {
    key == DIRECTIVE || key == RETAIN || key.starts_with(ORDER) || key.starts_with(DELETE)
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<()> {
    let Some(retain) = patch.remove(RETAIN) else {
        return Ok(());
    };
    let Value::Array(retain) = retain else {
        return Err(BAD_RETAIN);
    };
    let retain: HashSet<&str> = retain.iter().filter_map(Value::as_str).collect();
    let kept = |key: &str| retain.contains(key);
    let is_change = |(key, value): &(&Text, &Value)| {
        !value.is_null() && !key.starts_with(ORDER) && !key.starts_with(DELETE)
    };
    if patch.iter().filter(is_change).any(|(key, _)| !kept(key)) {
        return Err(BAD_RETAIN);
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

/// Merges every list that `$setElementOrder` speaks of, and takes it out of the patch.
fn merge_ordered(original: &mut Object, patch: &mut Object, known: Known) -> Result<()> {
    let orders: Vec<Text> = patch
        .keys()
        .filter(|k| k.starts_with(ORDER))
        .cloned()
        .collect();
    for directive in orders {
        let Some(order) = patch.remove(&directive) else {
            continue;
        };
        let key = directive[ORDER.len()..].to_owned();
        let Value::Array(order) = order else {
            return other(bad_list(&order));
        };
        let (how, elem) = known.list(&key);
        let old = as_list(original.get(&key))?;
        let new = as_list(patch.get(&key))?;
        if let Some(new) = &new {
            check_order(new, &order, &how)?;
        }
        let merged = match (old.clone(), new) {
            (Some(old), None) => old,
            (None, Some(new)) => new,
            (Some(old), Some(new)) if how.merge => merge_list(old, new, &how, elem)?,
            (Some(_), Some(new)) => new,
            (None, None) => continue,
        };
        let sorted = sort_merged(merged, &order, &old.unwrap_or_default(), &how)?;
        original.insert(key.as_str(), sorted.into());
        patch.remove(&key);
    }
    Ok(())
}

fn as_list(value: Option<&Value>) -> Result<Option<Vec<Value>>> {
    match value {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list.to_vec())),
        Some(value) => other(bad_list(value)),
    }
}

fn bad_list(value: &Value) -> String {
    format!(
        "expected a []interface {{}}, but received a {}",
        go_print(value)
    )
}

/// The patch's elements must come in the order that the directive gives.
fn check_order(new: &[Value], order: &[Value], how: &Patch) -> Result<()> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for element in new.iter().filter(|e| e.get(DIRECTIVE).is_none()) {
        require_key(element, how)?;
        if !rest.any(|o| same(element, o, how)) {
            let (new, order) = (go_print(&Value::from(new)), go_print(&Value::from(order)));
            return other(format!(
                "The order in patch list:\n{new}\n doesn't match {ORDER} list:\n{order}\n"
            ));
        }
    }
    Ok(())
}

fn require_key(element: &Value, how: &Patch) -> Result<()> {
    match &how.key {
        Some(key) if element.get(&**key).is_none() => other(format!(
            "map: {} does not contain declared merge key: {key}",
            go_print(element)
        )),
        _ => Ok(()),
    }
}

fn merge_list(old: Vec<Value>, new: Vec<Value>, how: &Patch, elem: Known) -> Result<Vec<Value>> {
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    if !of_maps(&old, &new)? {
        let whole = Patch::default();
        let (mut merged, mut places) = (old.clone(), Places::new(&old, &whole, new.len()));
        for value in &new {
            if places.find(&merged, value).is_none() {
                places.add(merged.len(), value);
                merged.push(value.clone());
            }
        }
        return sort_merged(merged, &new, &old, &whole);
    }
    if how.key.is_none() {
        return other("cannot merge lists without merge key");
    }
    let (mut merged, new) = special_elements(old, new, how)?;
    let server = merged.clone();
    let mut places = Places::new(&merged, how, new.len());
    for element in &new {
        require_key(element, how)?;
        let place = places.find(&merged, element).unwrap_or(merged.len());
        let value = match merged.get_mut(place).map(std::mem::take) {
            Some(old) => {
                places.remove(place, &old);
                Value::Object(merge_map(into_map(old), into_map(element.clone()), elem)?)
            }
            None => {
                merged.push(Value::Null);
                cleaned(element.clone())
            }
        };
        places.add(place, &value);
        merged[place] = value;
    }
    sort_merged(merged, &new, &server, how)
}

fn into_map(value: Value) -> Object {
    if let Value::Object(map) = value {
        map
    } else {
        Object::new()
    }
}

/// Carries out `$patch` directives among the elements; gives what is left of both lists.
fn special_elements(
    mut old: Vec<Value>,
    new: Vec<Value>,
    how: &Patch,
) -> Result<(Vec<Value>, Vec<Value>)> {
    let (mut plain, mut gone) = (Vec::new(), Vec::new());
    let mut replace = false;
    for element in new {
        match element
            .get(DIRECTIVE)
            .map(|d| d.as_str().unwrap_or_default())
        {
            None => plain.push(element),
            Some("delete") => {
                require_key(&element, how)?;
                gone.push(element);
            }
            Some("replace") => replace = true,
            Some("merge") => return other("merging lists cannot yet be specified in the patch"),
            Some(directive) => return other(unknown_directive(directive, &element)),
        }
    }
    if replace {
        Ok((plain, Vec::new()))
    } else {
        let places = Places::new(&gone, how, old.len());
        old.retain(|o| places.find(&gone, o).is_none());
        Ok((old, plain))
    }
}

/// Elements named in `order` come in that order; the others keep the server's order and stand where they stood relative
/// to those that the server had too.
fn sort_merged(
    merged: Vec<Value>,
    order: &[Value],
    server: &[Value],
    how: &Patch,
) -> Result<Vec<Value>> {
    for element in merged.iter().chain(order) {
        require_key(element, how)?;
    }
    let ordered = Places::new(order, how, merged.len());
    let served = Places::new(server, how, merged.len());
    let in_order = |v: &Value| ordered.find(order, v);
    let on_server = |v: &Value| served.find(server, v);
    let (mut named, mut rest): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|v| in_order(v).is_some());
    named.sort_by_cached_key(in_order);
    rest.sort_by_cached_key(|v| on_server(v).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + rest.len());
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    while let (Some(left), Some(right)) = (rest.peek(), named.peek()) {
        let server_first =
            matches!((on_server(left), on_server(right)), (Some(l), Some(r)) if l < r);
        out.extend(if server_first {
            rest.next()
        } else {
            named.next()
        });
    }
    out.extend(rest);
    out.extend(named);
    Ok(out)
}

#[cfg(test)]
mod tests;
