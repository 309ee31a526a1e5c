//! Metadata of custom resources: of the resource itself and of resources inside it.

use knarr_json::{Map, Value};

use super::schema::Schema;
use crate::{
    decode,
    field::{Error, Errors, Path},
    names,
    schema::{Schemas, StructRef},
    validation::{At, meta as checks},
};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn object_meta() -> Option<StructRef> {
    Schemas::default().by_name(OBJECT_META)
}

/// Brings the metadata of a resource to its type. Gives strict errors: `unknown field "metadata.x"`.
///
/// # Errors
/// Go's words for a field of the wrong type.
pub fn coerce_root(object: &mut Value) -> Result<Vec<String>, String> {
    let Some(meta) = object.get_mut("metadata") else {
        return Ok(Vec::new());
    };
    let strict = coerce(meta)?;
    let below = |e: String| match e.split_once('"') {
        Some((words, path)) => format!("{words}\"metadata.{path}"),
        None => e,
    };
    Ok(strict.into_iter().map(below).collect())
}

fn coerce(meta: &mut Value) -> Result<Vec<String>, String> {
    let Some(schema) = object_meta() else {
        return Ok(Vec::new());
    };
    let read = decode::read(&schema, meta.to_string().as_bytes())?;
    *meta = match read.value {
        Value::Object(map) => Value::Object(map),
        _ => Value::Object(Map::new()),
    };
    Ok(read.strict)
}

/// Brings types and metadata of embedded resources to their types. `root` tells whether the value is one itself.
///
/// # Errors
/// The first thing that cannot be brought to its type.
pub fn coerce_embedded(
    path: &Path,
    value: &mut Value,
    schema: &Schema,
    root: bool,
) -> Result<(), Box<Error>> {
    if !schema.below.embedded && !root {
        return Ok(());
    }
    match value {
        Value::Object(map) => {
            if root || schema.embedded {
                coerce_resource(path, map)?;
            }
            for (key, child) in map.iter_mut() {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    coerce_embedded(&path.child(key), child, property, false)?;
                } else if let Some(additional) = schema.additional_schema() {
                    coerce_embedded(&path.key(key), child, additional, false)?;
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items.as_deref() {
                for (i, item) in items.iter_mut().enumerate() {
                    coerce_embedded(&path.index(i), item, schema, false)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn coerce_resource(path: &Path, map: &mut Map) -> Result<(), Box<Error>> {
    for key in ["apiVersion", "kind"] {
        if let Some(value) = map.get(key).filter(|v| !v.is_string()) {
            let error = Error::invalid(&path.child(key), value.clone(), "must be a string");
            return Err(error.into());
        }
    }
    if let Some(meta) = map.get_mut("metadata") {
        let before = meta.clone();
        coerce(meta)
            .map_err(|why| Box::new(Error::invalid(&path.child("metadata"), before, why)))?;
    }
    Ok(())
}

/// Checks resources inside a resource. `root` tells whether the value is one itself.
pub fn validate_embedded(path: &Path, value: &Value, schema: &Schema, root: bool) -> Errors {
    let mut errors = Errors::new();
    if schema.below.embedded || root {
        walk(path, value, schema, root, &mut errors);
    }
    errors
}

fn walk(path: &Path, value: &Value, schema: &Schema, root: bool, errors: &mut Errors) {
    match value {
        Value::Object(map) => {
            if root || schema.embedded {
                resource(path, value, errors);
            }
            for (key, child) in map {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    walk(&path.child(key), child, property, false, errors);
                } else if let Some(additional) = schema.additional_schema() {
                    walk(&path.key(key), child, additional, false, errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items.as_deref() {
                for (i, item) in items.iter().enumerate() {
                    walk(&path.index(i), item, schema, false, errors);
                }
            }
        }
        _ => {}
    }
}

fn resource(path: &Path, value: &Value, errors: &mut Errors) {
    let at = At {
        v: value,
        path: path.clone(),
    };
    for key in ["apiVersion", "kind"] {
        let field = at.get(key);
        match value.get(key) {
            None => errors.push(field.required("")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(field.required(""));
            }
            Some(Value::String(text)) if key == "apiVersion" => {
                if text.matches('/').count() > 1 {
                    errors.push(field.invalid(format!("unexpected GroupVersion string: {text}")));
                }
            }
            Some(Value::String(text)) => {
                let wrong = names::dns1035_label(&text.to_lowercase());
                if !wrong.is_empty() {
                    errors.push(field.invalid(format!(
                        "may have mixed case, but should otherwise match: {}",
                        wrong.join(",")
                    )));
                }
            }
            Some(_) => errors.push(field.invalid("must be a string")),
        }
    }
    let Some(meta) = value.get("metadata") else {
        return;
    };
    let mut named = meta.clone();
    if let Some(map) = named.as_object_mut()
        && map
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
    {
        // A resource inside another one needs no name.
        map.insert("name", "fakename".into());
    }
    let namespaced = named["namespace"].as_str().is_some_and(|n| !n.is_empty());
    let at = At {
        v: &named,
        path: path.child("metadata"),
    };
    checks::create_any(&at, namespaced, checks::path_segment, errors);
}
