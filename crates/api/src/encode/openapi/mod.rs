//! OpenAPI documents in their binary forms: gnostic's `openapi.v2.Document`, which older clients read nothing else than, and
//! `openapi.v3.Document`.
//!
//! Messages are described by tables ([`v2`], [`v3`]): the name of a JSON field, its number, and what it is. What no table
//! names is an extension when its name begins with `x-`, and is left out otherwise.

mod v2;
mod v3;

use knarr_json::{Map, Value};

use super::wire::{self, Kind};

/// What a field of a message is.
#[derive(Clone, Copy)]
enum Is {
    Text,
    Bool,
    Int,
    Double,
    /// Any value, told as YAML, of which JSON is a part.
    Any,
    /// A number, a boolean or text, in a message of its own; other values are not told.
    Scalar,
    /// A type, which may be several, in a message of its own.
    Types,
    Message(&'static Message),
    /// A message of its own with either the one (field 1) or a reference (field 2).
    Referable(&'static Message, &'static Message),
    /// Repeated.
    List(&'static Is),
    /// A message of its own whose only field has this number.
    In(u32, &'static Is),
    /// An object whose keys are names: a message with this field for each, which has the name (field 1) and the value
    /// (field 2).
    Named(u32, &'static Is),
    /// A boolean, or else this.
    Additional(&'static Is),
    /// A parameter of version 2, whose type depends on its place.
    Parameter,
    Security,
}

struct Message {
    fields: &'static [(&'static str, u32, Is)],
    /// Number of the list of extensions; 0 when there is none.
    extensions: u32,
}

/// Encodes a document of version 2.
pub fn v2(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, &v2::DOCUMENT, document);
    out
}

/// Encodes a document of version 3.
pub fn v3(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, &v3::DOCUMENT, document);
    out
}

fn message(out: &mut Vec<u8>, is: &'static Message, value: &Value) {
    let Value::Object(map) = value else {
        return;
    };
    for (name, number, is) in is.fields {
        if let Some(value) = map.get(name).filter(|v| !v.is_null()) {
            field(out, *number, *is, value);
        }
    }
    if is.extensions != 0 {
        extensions(out, is.extensions, map);
    }
}

fn within(out: &mut Vec<u8>, number: u32, content: impl FnOnce(&mut Vec<u8>)) {
    let start = wire::open(out, number);
    content(out);
    wire::close(out, start);
}

fn field(out: &mut Vec<u8>, number: u32, is: Is, value: &Value) {
    match is {
        Is::Text => text(out, number, value),
        Is::Bool => varint(out, number, u64::from(value == &Value::Bool(true))),
        Is::Int => varint(out, number, value.as_i64().unwrap_or(0) as u64),
        Is::Double => double(out, number, value),
        Is::Any => any(out, number, value),
        Is::Scalar => scalar(out, number, value),
        Is::Types => within(out, number, |out| match value {
            Value::String(_) => text(out, 1, value),
            types => list(types).for_each(|v| text(out, 1, v)),
        }),
        Is::Message(is) => within(out, number, |out| message(out, is, value)),
        Is::Referable(is, reference) => within(out, number, |out| {
            let (number, is) = if value["$ref"].is_string() {
                (2, reference)
            } else {
                (1, is)
            };
            field(out, number, Is::Message(is), value);
        }),
        Is::List(is) => list(value).for_each(|v| field(out, number, *is, v)),
        Is::In(inner, is) => within(out, number, |out| field(out, inner, *is, value)),
        Is::Named(inner, is) => within(out, number, |out| named(out, inner, *is, value)),
        Is::Additional(is) => within(out, number, |out| match value {
            Value::Bool(_) => field(out, 2, Is::Bool, value),
            other => field(out, 1, *is, other),
        }),
        Is::Parameter => within(out, number, |out| parameter(out, value)),
        Is::Security => within(out, number, |out| security(out, value)),
    }
}

/// Requirements: names with lists of scopes.
fn security(out: &mut Vec<u8>, requirement: &Value) {
    for (name, scopes) in requirement.as_object().into_iter().flatten() {
        within(out, 1, |out| {
            wire::bytes(out, 1, name.as_bytes());
            within(out, 2, |out| list(scopes).for_each(|s| text(out, 1, s)));
        });
    }
}

/// A parameter, or a reference to one.
fn parameter(out: &mut Vec<u8>, value: &Value) {
    if value["$ref"].is_string() {
        return within(out, 2, |out| message(out, &v2::REFERENCE, value));
    }
    within(out, 1, |out| match value["in"].as_str() {
        Some("body") => within(out, 1, |out| message(out, &v2::BODY, value)),
        other => within(out, 2, |out| match other {
            Some("header") => within(out, 1, |out| message(out, &v2::PATH_PARAMETER, value)),
            Some("path") => within(out, 4, |out| message(out, &v2::PATH_PARAMETER, value)),
            _ => within(out, 3, |out| message(out, &v2::QUERY, value)),
        }),
    });
}

/// Entries of an object as field `number` each.
fn named(out: &mut Vec<u8>, number: u32, is: Is, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        within(out, number, |out| {
            wire::bytes(out, 1, name.as_bytes());
            field(out, 2, is, value);
        });
    }
}

fn extensions(out: &mut Vec<u8>, number: u32, map: &Map) {
    for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
        within(out, number, |out| {
            wire::bytes(out, 1, name.as_bytes());
            any(out, 2, value);
        });
    }
}

fn any(out: &mut Vec<u8>, number: u32, value: &Value) {
    within(out, number, |out| {
        let yaml = format!("{value}\n");
        wire::bytes(out, 2, yaml.as_bytes());
    });
}

fn scalar(out: &mut Vec<u8>, number: u32, value: &Value) {
    match value {
        Value::Number(_) => within(out, number, |out| double(out, 1, value)),
        Value::Bool(b) => within(out, number, |out| varint(out, 2, u64::from(*b))),
        Value::String(_) => within(out, number, |out| text(out, 3, value)),
        _ => {}
    }
}

fn varint(out: &mut Vec<u8>, number: u32, value: u64) {
    wire::tag(out, number, Kind::Varint);
    wire::varint(out, value);
}

fn double(out: &mut Vec<u8>, number: u32, value: &Value) {
    wire::tag(out, number, Kind::Fixed64);
    let bits = value.as_f64().unwrap_or(0.0).to_bits();
    out.extend_from_slice(&bits.to_le_bytes());
}

fn text(out: &mut Vec<u8>, number: u32, value: &Value) {
    wire::bytes(out, number, value.as_str().unwrap_or_default().as_bytes());
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn a_small_document_has_the_bytes_it_must_have() {
        let value = json!({
            "swagger": "2.0",
            "definitions": {"A": {"type": "object", "x-n": [1]}},
            "paths": {"/p": {"get": {"operationId": "o", "parameters": [{"$ref": "#/parameters/x"}], "responses": {"200": {"description": "OK"}}}}},
        });
        let mut want = vec![1 << 3 | 2, 3];
        want.extend(b"2.0");
        // definitions: one entry, with name and schema; the schema has a type and an extension
        let extension = [&[0x0a, 3][..], b"x-n", &[0x12, 6, 0x12, 4], b"[1]\n"].concat();
        let mut schema = [&[0xb2, 1, 8, 0x0a, 6][..], b"object"].concat();
        schema.extend([0xfa, 1, extension.len() as u8]);
        schema.extend(&extension);
        let mut entry = vec![0x0a, 1, b'A', 0x12, schema.len() as u8];
        entry.extend(schema);
        let mut definitions = vec![0x0a, entry.len() as u8];
        definitions.extend(entry);
        let reference = [&[0x42, 18, 0x12, 16, 0x0a, 14][..], b"#/parameters/x"].concat();
        let response = [
            &[0x4a, 15, 0x0a, 13, 0x0a, 3][..],
            b"200",
            &[0x12, 6, 0x0a, 4, 0x0a, 2],
            b"OK",
        ]
        .concat();
        let operation = [&[0x2a, 1, b'o'][..], &reference, &response].concat();
        let item = [&[0x12, operation.len() as u8][..], &operation].concat();
        let entry = [&[0x0a, 2][..], b"/p", &[0x12, item.len() as u8], &item].concat();
        let paths = [&[0x12, entry.len() as u8][..], &entry].concat();
        want.extend([0x42, paths.len() as u8]);
        want.extend(paths);
        want.extend([0x4a, definitions.len() as u8]);
        want.extend(definitions);
        assert_eq!(v2(&value), want);
    }
}
