//! Objects in the shape a client asked for: whole, as metadata only, as a Table.

use bytes::Bytes;
use jiff::Timestamp;
use knarr_api::{
    Status,
    field::{Error, Path},
};
use knarr_json::{Value, json};

use super::Target;
use crate::{
    Outcome,
    accept::{Accept, Shape},
    body::Response,
    chain::Call,
    respond,
};

/// Answers with one object from its stored bytes.
pub fn one(
    call: &Call,
    target: &Target,
    accept: &Accept,
    code: u16,
    json: &Bytes,
) -> Outcome<Response> {
    if accept.shape == Shape::Whole && is_at(json, &target.shown_api_version()) {
        return Ok(respond::stored(code, accept, json));
    }
    let object = target.decode(json)?;
    let shown = match accept.shape {
        Shape::Partial => partial(object, accept.beta),
        Shape::Table => {
            let include = included(call)?;
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            table(target, include, accept.beta, vec![object], metadata)
        }
        Shape::Whole | Shape::PartialList | Shape::Groups => target.shown(object),
    };
    Ok(respond::encoded(code, accept, &shown))
}

/// What the rows of a Table are to hold of their objects: `None`, `Metadata` or `Object`.
///
/// # Errors
/// When it is something else.
pub fn included(call: &Call) -> Outcome<&str> {
    match call.query.get("includeObject").unwrap_or_default() {
        "" => Ok("Metadata"),
        known @ ("None" | "Metadata" | "Object") => Ok(known),
        other => {
            let detail = "must be 'Metadata', 'Object', 'None', or empty";
            let error = Error::invalid(&Path::new("includeObject"), other, detail);
            Err(
                Status::bad_request(format!("Unable to convert to Table as requested: {error}"))
                    .into(),
            )
        }
    }
}

/// Whether stored bytes are at this apiVersion; encoders write it first.
pub fn is_at(json: &[u8], api_version: &str) -> bool {
    json.strip_prefix(b"{\"apiVersion\":\"")
        .and_then(|rest| rest.strip_prefix(api_version.as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&b'"'))
}

pub fn meta_version(beta: bool) -> &'static str {
    if beta {
        "meta.k8s.io/v1beta1"
    } else {
        "meta.k8s.io/v1"
    }
}

/// Only the metadata of an object.
pub fn partial(mut object: Value, beta: bool) -> Value {
    json!({"apiVersion": meta_version(beta), "kind": "PartialObjectMetadata", "metadata": object["metadata"].take()})
}

/// A list of metadata.
pub fn partial_list(objects: Vec<Value>, beta: bool, metadata: Value) -> Value {
    let items: Vec<Value> = objects.into_iter().map(|o| partial(o, beta)).collect();
    let items = if items.is_empty() {
        Value::Null
    } else {
        items.into()
    };
    json!({"apiVersion": meta_version(beta), "kind": "PartialObjectMetadataList", "metadata": metadata, "items": items})
}

/// A Table with a row per object, which holds what `include` says.
pub fn table(
    target: &Target,
    include: &str,
    beta: bool,
    mut objects: Vec<Value>,
    metadata: Value,
) -> Value {
    let strategy = &target.resource.strategy;
    let columns: Vec<Value> = strategy
        .columns_at(&target.version)
        .into_iter()
        .map(|c| json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority}))
        .collect();
    strategy.order_rows(&mut objects);
    let now = Timestamp::now();
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| {
            let conditions = strategy.row_conditions(&object);
            let mut row = json!({"cells": strategy.cells_at(&target.version, &object, now)});
            if !conditions.is_empty() {
                row["conditions"] = conditions.into();
            }
            row["object"] = match include {
                "None" => Value::Null,
                "Object" => object,
                _ => partial(object, beta),
            };
            row
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": meta_version(beta),
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}
