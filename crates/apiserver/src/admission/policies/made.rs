//! What expressions of mutations make: configurations and patches, as JSON.

use knarr_cel::{Map, Object, Value as Cel};
use knarr_json::{Value, json};

/// An `Object{}` as a configuration.
///
/// # Errors
/// A part that is named as a part of something else, or has no form in JSON.
pub(super) fn configuration(value: &Cel<'_>) -> Result<Value, String> {
    let Cel::Map(Map::Object(object)) = value else {
        return Err("unsupported return type from ApplyConfiguration expression".to_owned());
    };
    names_fit(object, "Object").map_err(|why| format!("type mismatch: {why}"))?;
    value.to_json().map_err(|e| e.to_string())
}

/// Objects are named by the fields that they are in.
fn names_fit(object: &Object<'_>, path: &str) -> Result<(), String> {
    if object.name != path {
        return Err(format!(
            "unexpected type name \"{}\", expected \"{path}\", which matches field name path from root Object type",
            object.name
        ));
    }
    for (name, value) in &object.fields {
        part_fits(value, &format!("{path}.{name}"))?;
    }
    Ok(())
}

fn part_fits(value: &Cel<'_>, path: &str) -> Result<(), String> {
    match value {
        Cel::Map(Map::Object(object)) => names_fit(object, path),
        Cel::List(list) => {
            let values = list.values().unwrap_or_default();
            values.iter().try_for_each(|value| part_fits(value, path))
        }
        Cel::Optional(Some(value)) => part_fits(value, path),
        _ => Ok(()),
    }
}

/// A list of `JSONPatch{}` as the operations of a patch.
///
/// # Errors
/// A value that has no form in JSON.
pub(super) fn operations(value: &Cel<'_>) -> Result<Vec<Value>, String> {
    let Cel::List(list) = value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let values = list.values().map_err(|e| e.to_string())?;
    values.iter().map(operation).collect()
}

fn operation(value: &Cel<'_>) -> Result<Value, String> {
    let Cel::Map(Map::Object(patch)) = value else {
        return Err(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch"
                .to_owned(),
        );
    };
    let text = |name: &str| {
        patch
            .fields
            .get(name)
            .and_then(Cel::as_str)
            .unwrap_or_default()
    };
    let mut operation = json!({"op": text("op"), "path": text("path")});
    if !text("from").is_empty() {
        operation["from"] = json!(text("from"));
    }
    if let Some(value) = patch.fields.get("value") {
        let json = value.to_json().map_err(|e| {
            format!(
                "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {e}"
            )
        })?;
        operation["value"] = json;
    }
    Ok(operation)
}
