//! Printer columns, scale paths and selectable fields of a version.

use knarr_json::Value;

use super::path::find;
use crate::{
    field::{Error, Errors},
    validation::At,
};

const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const FORMATS: &[&str] = &[
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
const MOST_SELECTABLE: usize = 8;

pub fn printer(columns: &At, errors: &mut Errors) {
    for column in columns.each() {
        if column.text("name").is_empty() {
            errors.push(column.get("name").required(""));
        }
        let of = |known: &[&str]| format!("must be one of {}", known.join(","));
        let kind = column.get("type");
        match kind.str() {
            "" => errors.push(kind.required(&of(TYPES))),
            text if TYPES.contains(&text) => {}
            _ => errors.push(kind.invalid(of(TYPES))),
        }
        let format = column.get("format");
        if !format.str().is_empty() && !FORMATS.contains(&format.str()) {
            errors.push(format.invalid(of(FORMATS)));
        }
        let path = column.get_as("jsonPath", "JSONPath");
        match path.str() {
            "" => errors.push(path.required("")),
            _ => simple_path(&path, errors),
        }
    }
}

/// The original does not look further than the first character.
fn simple_path(path: &At, errors: &mut Errors) {
    if !path.str().starts_with('.') {
        errors.push(path.invalid("must be a simple json path starting with ."));
    }
}

pub fn subresources(subresources: &At, errors: &mut Errors) {
    let Some(scale) = subresources.some("scale") else {
        return;
    };
    let at = |key: &str| At {
        v: scale.v.get(key).unwrap_or(&Value::Null),
        path: scale.path.child(key),
    };
    for (key, root) in [
        ("specReplicasPath", ".spec."),
        ("statusReplicasPath", ".status."),
    ] {
        let path = at(key);
        if path.str().is_empty() {
            errors.push(path.required(""));
        } else if !path.str().starts_with('.') {
            simple_path(&path, errors);
        } else if !path.str().starts_with(root) {
            let below = root.trim_end_matches('.');
            errors.push(path.invalid(format!("should be a json path under {below}")));
        }
    }
    let selector = at("labelSelectorPath");
    let text = selector.str();
    if text.is_empty() {
        return;
    }
    if !text.starts_with('.') {
        simple_path(&selector, errors);
    } else if !text.starts_with(".spec.") && !text.starts_with(".status.") {
        errors.push(selector.invalid("should be a json path under either .spec or .status"));
    }
}

pub fn selectable(fields: &At, schema: &Value, errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for field in fields.each() {
        let path = field.get("jsonPath");
        if path.str().is_empty() {
            errors.push(path.required(""));
            continue;
        }
        let found = match find(path.str(), schema, false) {
            Ok(found) => found,
            Err(why) => {
                errors.push(path.invalid(format!("is an invalid path: {why}")));
                continue;
            }
        };
        if found.path.first().is_some_and(|p| p == "metadata") {
            errors.push(path.invalid("must not point to fields in metadata"));
        }
        if !["string", "boolean", "integer"]
            .contains(&found.schema["type"].as_str().unwrap_or_default())
        {
            errors.push(path.invalid("must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."));
        }
        let name = found.path.join(".");
        if seen.contains(&name) {
            errors.push(path.duplicate());
        } else {
            seen.push(name);
        }
    }
    if seen.len() > MOST_SELECTABLE {
        errors.push(Error::too_many(&fields.path, seen.len(), MOST_SELECTABLE));
    }
}
