//! Lists that are sets or maps: no element twice.

use std::collections::HashSet;

use knarr_json::{Map, Value};

use super::schema::{ListType, Schema};
use crate::field::{Error, Errors, Path};

/// Finds elements of lists with `x-kubernetes-list-type` `set` or `map` that are there twice.
pub fn validate(path: &Path, value: &Value, schema: &Schema) -> Errors {
    let mut errors = Errors::new();
    if schema.below.keyed_lists {
        walk(path, value, schema, &mut errors);
    }
    errors
}

fn walk(path: &Path, value: &Value, schema: &Schema, errors: &mut Errors) {
    if !schema.below.keyed_lists {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    walk(&path.child(key), child, property, errors);
                } else if let Some(additional) = schema.additional_schema() {
                    walk(&path.key(key), child, additional, errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type {
                ListType::Set => twice(path, items, errors),
                ListType::Map => keyed(path, items, &schema.list_keys, errors),
                ListType::Atomic => {}
            }
            if let Some(schema) = schema.items.as_deref() {
                for (i, item) in items.iter().enumerate() {
                    walk(&path.index(i), item, schema, errors);
                }
            }
        }
        _ => {}
    }
}

fn keyed(path: &Path, items: &[Value], keys: &[String], errors: &mut Errors) {
    for (i, item) in items.iter().enumerate() {
        if !item.is_object() && !item.is_null() {
            let why = "must be an object for an array of list-type map";
            errors.push(Error::invalid(&path.index(i), item.clone(), why));
            return;
        }
    }
    let key_of = |item: &Value| {
        let given = keys
            .iter()
            .filter_map(|key| Some((key.clone(), item.get(key.as_str())?.clone())));
        Value::Object(given.collect::<Map>())
    };
    let keys: Vec<Value> = items.iter().map(key_of).collect();
    twice(path, &keys, errors);
}

/// Tells the first repetition of each element.
fn twice(path: &Path, items: &[Value], errors: &mut Errors) {
    let mut seen = HashSet::new();
    let mut told = HashSet::new();
    for (i, item) in items.iter().enumerate() {
        let text = item.to_string();
        if !seen.insert(text.clone()) && told.insert(text) {
            errors.push(Error::duplicate(&path.index(i), item.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn elements_that_are_there_twice_are_told_once() {
        let schema = Schema::compile(&json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object"}}}}));
        let value = json!({"set": ["a", "b", "a", "a"], "map": [{"name": "x", "v": 1}, {"name": "y"}, {"name": "x", "v": 2}]});
        let shown: Vec<String> = validate(&Path::default(), &value, &schema)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "map[2]: Duplicate value: {\"name\":\"x\"}",
                "set[2]: Duplicate value: \"a\""
            ]
        );
    }
}
