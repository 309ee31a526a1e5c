//! Objects in the shape a client asked for: whole, as metadata only, as a Table.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

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
    Ok(object_response(call, target, accept, code, object))
}

/// Answers with one decoded object, already at the version of the request.
pub fn object_response(
    call: &Call,
    target: &Target,
    accept: &Accept,
    code: u16,
    object: Value,
) -> Response {
    let shown = match accept.shape {
        Shape::Partial => partial(object, accept.beta),
        Shape::Table => {
            let revision = object["metadata"]["resourceVersion"].clone();
            table(
                call,
                target,
                accept,
                vec![object],
                json!({"resourceVersion": revision}),
            )
        }
        Shape::Whole | Shape::PartialList | Shape::Groups => target.shown(object),
    };
    respond::encoded(code, accept, &shown)
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

/// A Table with a row per object.
pub fn table(
    call: &Call,
    target: &Target,
    accept: &Accept,
    objects: Vec<Value>,
    metadata: Value,
) -> Value {
    table_of(
        target,
        call.query.get("includeObject").unwrap_or("Metadata"),
        accept.beta,
        objects,
        metadata,
    )
}

/// A Table whose rows hold what `include` says: `None`, `Metadata` or `Object`.
pub fn table_of(
    target: &Target,
    include: &str,
    beta: bool,
    objects: Vec<Value>,
    metadata: Value,
) -> Value {
    let strategy = &target.resource.strategy;
    let columns: Vec<Value> = strategy
        .columns_at(&target.version)
        .into_iter()
        .map(|c| json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority}))
        .collect();
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
