//! The message types of an OpenAPI 2 document (gnostic's `openapi.v2`).

use super::{Is, Message};

pub static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Is::Text),
        ("info", 2, Is::Message(&INFO)),
        ("paths", 8, Is::Named(2, &Is::Message(&PATH))),
        ("definitions", 9, Is::Named(1, &Is::Message(&SCHEMA))),
        ("security", 12, Is::List(&Is::Security)),
        (
            "securityDefinitions",
            13,
            // One of several kinds, of which only keys are used.
            Is::Named(1, &Is::In(2, &Is::Message(&API_KEY))),
        ),
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

static PATH: Message = Message {
    fields: &[
        ("get", 2, Is::Message(&OPERATION)),
        ("put", 3, Is::Message(&OPERATION)),
        ("post", 4, Is::Message(&OPERATION)),
        ("delete", 5, Is::Message(&OPERATION)),
        ("options", 6, Is::Message(&OPERATION)),
        ("head", 7, Is::Message(&OPERATION)),
        ("patch", 8, Is::Message(&OPERATION)),
        ("parameters", 9, Is::List(&Is::Parameter)),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Is::List(&Is::Text)),
        ("summary", 2, Is::Text),
        ("description", 3, Is::Text),
        ("operationId", 5, Is::Text),
        ("produces", 6, Is::List(&Is::Text)),
        ("consumes", 7, Is::List(&Is::Text)),
        ("parameters", 8, Is::List(&Is::Parameter)),
        (
            "responses",
            9,
            Is::Named(1, &Is::Referable(&RESPONSE, &REFERENCE)),
        ),
        ("schemes", 10, Is::List(&Is::Text)),
        ("deprecated", 11, Is::Bool),
    ],
    extensions: 13,
};

static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, Is::Text),
        ("schema", 2, Is::In(1, &Is::Message(&SCHEMA))),
    ],
    extensions: 5,
};

pub static REFERENCE: Message = Message {
    fields: &[("$ref", 1, Is::Text), ("description", 2, Is::Text)],
    extensions: 0,
};

pub static BODY: Message = Message {
    fields: &[
        ("description", 1, Is::Text),
        ("name", 2, Is::Text),
        ("in", 3, Is::Text),
        ("required", 4, Is::Bool),
        ("schema", 5, Is::Message(&SCHEMA)),
    ],
    extensions: 6,
};

pub static QUERY: Message = Message {
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
pub static PATH_PARAMETER: Message = Message {
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
        ("required", 19, Is::List(&Is::Text)),
        ("enum", 20, Is::List(&Is::Any)),
        (
            "additionalProperties",
            21,
            Is::Additional(&Is::Message(&SCHEMA)),
        ),
        ("type", 22, Is::Types),
        ("items", 23, Is::In(1, &Is::Message(&SCHEMA))),
        ("allOf", 24, Is::List(&Is::Message(&SCHEMA))),
        ("properties", 25, Is::Named(1, &Is::Message(&SCHEMA))),
        ("readOnly", 27, Is::Bool),
        ("example", 30, Is::Any),
    ],
    extensions: 31,
};
