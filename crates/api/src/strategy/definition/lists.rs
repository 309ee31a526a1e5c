//! Lists that are sets or maps: what their elements must be.

use knarr_json::Value;

use super::internal;
use crate::{
    field::{Error, Errors},
    validation::{At, list, text},
};

/// Whether a list is a set of elements that are not compared as wholes.
pub fn is_bad_set(schema: &Value) -> bool {
    let mut errors = Errors::new();
    sets(&At::new(schema, ""), &mut errors);
    !errors.is_empty()
}

/// Elements of a set are compared as wholes.
pub fn sets(schema: &At, errors: &mut Errors) {
    let items = schema.get("items");
    if schema.text("x-kubernetes-list-type") != "set" || !items.v.is_object() {
        return;
    }
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let list_type = items.get("x-kubernetes-list-type");
    match items.text("type") {
        "array" if !["", "atomic"].contains(&list_type.str()) => {
            errors.push(list_type.invalid(why));
        }
        "object" if items.text("x-kubernetes-map-type") != "atomic" => {
            // The original shows the list type here.
            let path = items.path.child("x-kubernetes-map-type");
            errors.push(Error::invalid(&path, list_type.v.clone(), why));
        }
        _ => {}
    }
}

/// A list that is a map has keys, which are scalar properties of its elements.
pub fn maps(schema: &At, errors: &mut Errors) {
    let list_type = schema.get("x-kubernetes-list-type");
    let keys = schema.get("x-kubernetes-list-map-keys");
    let names = list(keys.v);
    if !names.is_empty() && list_type.str() != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(if list_type.v.is_null() {
            list_type.required(why)
        } else {
            list_type.invalid(why)
        });
    }
    if list_type.str() != "map" {
        return;
    }
    if names.is_empty() {
        errors.push(keys.required("must not be empty if x-kubernetes-list-type is map"));
    }
    let items = schema.get("items");
    match items.v {
        Value::Null => {
            errors.push(items.required("must have a schema if x-kubernetes-list-type is map"));
            return;
        }
        Value::Array(_) => {
            let why = "must only have a single schema if x-kubernetes-list-type is map";
            errors.push(items.invalid(why).showing(internal::items(items.v)));
            return;
        }
        _ => {}
    }
    let kind = items.get("type");
    if kind.str() != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(&kind.path, kind.str(), why));
        return;
    }
    for (i, name) in names.iter().enumerate() {
        match items.v["properties"].get(name.as_str().unwrap_or_default()) {
            Some(property) if ["array", "object"].contains(&text(property, "type")) => {
                let path = items
                    .path
                    .child("properties")
                    .key(name.as_str().unwrap_or_default());
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(Error::invalid(&path.child("type"), kind.str(), why));
            }
            Some(_) => {}
            None => errors.push(keys.invalid("entries must all be names of item properties")),
        }
        if names[..i].contains(name) {
            errors.push(keys.invalid("must not contain duplicate entries"));
        }
    }
}

/// Elements of sets and maps are never null, and neither are keys; keys are always there.
pub fn keys(schema: &At, errors: &mut Errors) {
    let list_type = schema.text("x-kubernetes-list-type");
    let items = schema.get("items");
    if !["set", "map"].contains(&list_type) || !items.v.is_object() {
        return;
    }
    if items.flag("nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(items.get("nullable").forbidden(why));
    }
    if list_type != "map" {
        return;
    }
    let required = list(&items.v["required"]);
    for name in list(&schema.v["x-kubernetes-list-map-keys"]) {
        let key = name.as_str().unwrap_or_default();
        let Some(property) = items.v["properties"].get(key) else {
            continue;
        };
        let path = items.path.child("properties").key(key);
        if !required.contains(name) && property.get("default").is_none_or(Value::is_null) {
            errors.push(Error::required(&path.child("default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"));
        }
        if property["nullable"] == true {
            errors.push(Error::forbidden(
                &path.child("nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            ));
        }
    }
}
