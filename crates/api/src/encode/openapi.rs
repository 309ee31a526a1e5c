//! The OpenAPI 2 document in its binary form (gnostic's `openapi.v2.Document`), which older clients read nothing else than.
//!
//! Messages are described by tables: the name of a JSON field, its number, and what it is. What no table names is an
//! extension when its name begins with `x-`, and is left out otherwise.

use serde_json::{Map, Value};

use super::wire::{self, Kind};

/// What a field of a message is.
#[derive(Clone, Copy)]
enum Is {
    Text,
    Texts,
    Bool,
    Int,
    Double,
    /// Any value, told as YAML, of which JSON is a part.
    Any,
    Anys,
    Message(&'static Message),
    Messages(&'static Message),
    /// An object whose keys are names: a message with field 1 for each, which has the name and the value.
    Named(&'static Message),
    /// A type, which may be several, in a message of its own.
    Types,
    /// A schema, or a boolean.
    Additional,
    /// Schema of items, in a message of its own.
    Items,
    /// A value that is one of several kinds of message, here always of this number.
    One(u32, &'static Message),
    Parameters,
    Security,
}

struct Message {
    fields: &'static [(&'static str, u32, Is)],
    /// Number of the list of extensions; 0 when there is none.
    extensions: u32,
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Is::Text),
        ("info", 2, Is::Message(&INFO)),
        ("definitions", 9, Is::Named(&SCHEMA)),
        ("security", 12, Is::Security),
        ("securityDefinitions", 13, Is::Named(&SECURITY_DEFINITION)),
    ],
    extensions: 16,
};

static INFO: Message = Message {
    fields: &[
        ("title", 1, Is::Text),
        ("version", 2, Is::Text),
        ("description", 3, Is::Text),
    ],
    extensions: 7,
};

static API_KEY: Message = Message {
    fields: &[
        ("type", 1, Is::Text),
        ("name", 2, Is::Text),
        ("in", 3, Is::Text),
        ("description", 4, Is::Text),
    ],
    extensions: 5,
};

/// One of several; only keys are used.
static SECURITY_DEFINITION: Message = Message {
    fields: &[("", 2, Is::One(2, &API_KEY))],
    extensions: 0,
};

static PATH: Message = Message {
    fields: &[
        ("get", 2, Is::Message(&OPERATION)),
        ("put", 3, Is::Message(&OPERATION)),
        ("post", 4, Is::Message(&OPERATION)),
        ("delete", 5, Is::Message(&OPERATION)),
        ("options", 6, Is::Message(&OPERATION)),
        ("head", 7, Is::Message(&OPERATION)),
        ("patch", 8, Is::Message(&OPERATION)),
        ("parameters", 9, Is::Parameters),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Is::Texts),
        ("summary", 2, Is::Text),
        ("description", 3, Is::Text),
        ("operationId", 5, Is::Text),
        ("produces", 6, Is::Texts),
        ("consumes", 7, Is::Texts),
        ("parameters", 8, Is::Parameters),
        ("responses", 9, Is::Named(&RESPONSE_VALUE)),
        ("schemes", 10, Is::Texts),
        ("deprecated", 11, Is::Bool),
    ],
    extensions: 13,
};

static RESPONSE_VALUE: Message = Message {
    fields: &[("", 1, Is::One(1, &RESPONSE))],
    extensions: 0,
};

static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, Is::Text),
        ("schema", 2, Is::One(1, &SCHEMA)),
    ],
    extensions: 5,
};

static REFERENCE: Message = Message {
    fields: &[("$ref", 1, Is::Text), ("description", 2, Is::Text)],
    extensions: 0,
};

static BODY: Message = Message {
    fields: &[
        ("description", 1, Is::Text),
        ("name", 2, Is::Text),
        ("in", 3, Is::Text),
        ("required", 4, Is::Bool),
        ("schema", 5, Is::Message(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, Is::Bool),
        ("in", 2, Is::Text),
        ("description", 3, Is::Text),
        ("name", 4, Is::Text),
        ("type", 6, Is::Text),
        ("format", 7, Is::Text),
        ("uniqueItems", 20, Is::Bool),
    ],
    extensions: 23,
};

/// Of paths, and of headers.
static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Is::Bool),
        ("in", 2, Is::Text),
        ("description", 3, Is::Text),
        ("name", 4, Is::Text),
        ("type", 5, Is::Text),
        ("format", 6, Is::Text),
        ("uniqueItems", 19, Is::Bool),
    ],
    extensions: 22,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Is::Text),
        ("format", 2, Is::Text),
        ("title", 3, Is::Text),
        ("description", 4, Is::Text),
        ("default", 5, Is::Any),
        ("multipleOf", 6, Is::Double),
        ("maximum", 7, Is::Double),
        ("exclusiveMaximum", 8, Is::Bool),
        ("minimum", 9, Is::Double),
        ("exclusiveMinimum", 10, Is::Bool),
        ("maxLength", 11, Is::Int),
        ("minLength", 12, Is::Int),
        ("pattern", 13, Is::Text),
        ("maxItems", 14, Is::Int),
        ("minItems", 15, Is::Int),
        ("uniqueItems", 16, Is::Bool),
        ("maxProperties", 17, Is::Int),
        ("minProperties", 18, Is::Int),
        ("required", 19, Is::Texts),
        ("enum", 20, Is::Anys),
        ("additionalProperties", 21, Is::Additional),
        ("type", 22, Is::Types),
        ("items", 23, Is::Items),
        ("allOf", 24, Is::Messages(&SCHEMA)),
        ("properties", 25, Is::Named(&SCHEMA)),
        ("readOnly", 27, Is::Bool),
        ("example", 30, Is::Any),
    ],
    extensions: 31,
};

/// Encodes the document.
pub fn document(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, &DOCUMENT, document);
    let start = wire::open(&mut out, 8);
    named(&mut out, 2, &PATH, &document["paths"]);
    wire::close(&mut out, start);
    out
}

fn message(out: &mut Vec<u8>, is: &'static Message, value: &Value) {
    // A message that is one of several kinds has no fields of its own.
    if let [("", number, Is::One(_, inner))] = is.fields {
        return within(out, *number, |out| message(out, inner, value));
    }
    let Value::Object(map) = value else {
        return;
    };
    for (name, number, is) in is.fields {
        if let Some(value) = map.get(*name).filter(|v| !v.is_null()) {
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
        Is::Texts => list(value).for_each(|v| text(out, number, v)),
        Is::Bool => {
            wire::tag(out, number, Kind::Varint);
            wire::varint(out, u64::from(value == &Value::Bool(true)));
        }
        Is::Int => {
            wire::tag(out, number, Kind::Varint);
            wire::varint(out, value.as_i64().unwrap_or(0) as u64);
        }
        Is::Double => {
            wire::tag(out, number, Kind::Fixed64);
            let bits = value.as_f64().unwrap_or(0.0).to_bits();
            out.extend_from_slice(&bits.to_le_bytes());
        }
        Is::Any => any(out, number, value),
        Is::Anys => list(value).for_each(|v| any(out, number, v)),
        Is::Message(is) => within(out, number, |out| message(out, is, value)),
        Is::Messages(is) => {
            list(value).for_each(|v| within(out, number, |out| message(out, is, v)))
        }
        Is::Named(is) => within(out, number, |out| named(out, 1, is, value)),
        Is::Types => within(out, number, |out| match value {
            Value::String(_) => text(out, 1, value),
            types => list(types).for_each(|v| text(out, 1, v)),
        }),
        Is::Additional => within(out, number, |out| match value {
            Value::Bool(_) => field(out, 2, Is::Bool, value),
            schema => within(out, 1, |out| message(out, &SCHEMA, schema)),
        }),
        Is::Items => within(out, number, |out| {
            within(out, 1, |out| message(out, &SCHEMA, value))
        }),
        Is::One(inner, is) => within(out, number, |out| {
            within(out, inner, |out| message(out, is, value))
        }),
        Is::Parameters => list(value).for_each(|v| within(out, number, |out| parameter(out, v))),
        Is::Security => list(value).for_each(|v| within(out, number, |out| security(out, v))),
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
        return within(out, 2, |out| message(out, &REFERENCE, value));
    }
    within(out, 1, |out| match value["in"].as_str() {
        Some("body") => within(out, 1, |out| message(out, &BODY, value)),
        other => within(out, 2, |out| match other {
            Some("header") => within(out, 1, |out| message(out, &PATH_PARAMETER, value)),
            Some("path") => within(out, 4, |out| message(out, &PATH_PARAMETER, value)),
            _ => within(out, 3, |out| message(out, &QUERY, value)),
        }),
    });
}

/// Entries of an object as field `number` each.
fn named(out: &mut Vec<u8>, number: u32, is: &'static Message, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        within(out, number, |out| {
            wire::bytes(out, 1, name.as_bytes());
            within(out, 2, |out| message(out, is, value));
        });
    }
}

fn extensions(out: &mut Vec<u8>, number: u32, map: &Map<String, Value>) {
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

fn text(out: &mut Vec<u8>, number: u32, value: &Value) {
    wire::bytes(out, number, value.as_str().unwrap_or_default().as_bytes());
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        want.extend([0x4a, definitions.len() as u8]);
        want.extend(definitions);
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
        assert_eq!(document(&value), want);
    }
}
