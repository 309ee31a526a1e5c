//! The message types of an OpenAPI 3 document (gnostic's `openapi.v3`).

use super::{Is, Message};

pub static DOCUMENT: Message = Message {
    fields: &[
        ("openapi", 1, Is::Text),
        ("info", 2, Is::Message(&INFO)),
        ("paths", 4, Is::Named(1, &Is::Message(&PATH))),
        ("components", 5, Is::Message(&COMPONENTS)),
        ("security", 6, Is::List(&Is::Security)),
    ],
    extensions: 9,
};

static INFO: Message = Message {
    fields: &[
        ("title", 1, Is::Text),
        ("description", 2, Is::Text),
        ("version", 6, Is::Text),
        ("summary", 8, Is::Text),
    ],
    extensions: 7,
};

static PATH: Message = Message {
    fields: &[
        ("$ref", 1, Is::Text),
        ("summary", 2, Is::Text),
        ("description", 3, Is::Text),
        ("get", 4, Is::Message(&OPERATION)),
        ("put", 5, Is::Message(&OPERATION)),
        ("post", 6, Is::Message(&OPERATION)),
        ("delete", 7, Is::Message(&OPERATION)),
        ("options", 8, Is::Message(&OPERATION)),
        ("head", 9, Is::Message(&OPERATION)),
        ("patch", 10, Is::Message(&OPERATION)),
        ("trace", 11, Is::Message(&OPERATION)),
        (
            "parameters",
            13,
            Is::List(&Is::Referable(&PARAMETER, &REFERENCE)),
        ),
    ],
    extensions: 14,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Is::List(&Is::Text)),
        ("summary", 2, Is::Text),
        ("description", 3, Is::Text),
        ("operationId", 5, Is::Text),
        (
            "parameters",
            6,
            Is::List(&Is::Referable(&PARAMETER, &REFERENCE)),
        ),
        ("requestBody", 7, Is::Referable(&REQUEST_BODY, &REFERENCE)),
        (
            "responses",
            8,
            Is::Named(2, &Is::Referable(&RESPONSE, &REFERENCE)),
        ),
        ("deprecated", 10, Is::Bool),
        ("security", 11, Is::List(&Is::Security)),
    ],
    extensions: 13,
};

static PARAMETER: Message = Message {
    fields: &[
        ("name", 1, Is::Text),
        ("in", 2, Is::Text),
        ("description", 3, Is::Text),
        ("required", 4, Is::Bool),
        ("deprecated", 5, Is::Bool),
        ("allowEmptyValue", 6, Is::Bool),
        ("style", 7, Is::Text),
        ("explode", 8, Is::Bool),
        ("allowReserved", 9, Is::Bool),
        ("schema", 10, Is::Referable(&SCHEMA, &REFERENCE)),
        ("example", 11, Is::Any),
        ("content", 13, Is::Named(1, &Is::Message(&MEDIA_TYPE))),
    ],
    extensions: 14,
};

static REQUEST_BODY: Message = Message {
    fields: &[
        ("description", 1, Is::Text),
        ("content", 2, Is::Named(1, &Is::Message(&MEDIA_TYPE))),
        ("required", 3, Is::Bool),
    ],
    extensions: 4,
};

static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, Is::Text),
        ("content", 3, Is::Named(1, &Is::Message(&MEDIA_TYPE))),
    ],
    extensions: 5,
};

static MEDIA_TYPE: Message = Message {
    fields: &[
        ("schema", 1, Is::Referable(&SCHEMA, &REFERENCE)),
        ("example", 2, Is::Any),
    ],
    extensions: 5,
};

static COMPONENTS: Message = Message {
    fields: &[
        ("schemas", 1, Is::Named(1, &REFERABLE)),
        (
            "parameters",
            3,
            Is::Named(1, &Is::Referable(&PARAMETER, &REFERENCE)),
        ),
        (
            "securitySchemes",
            7,
            Is::Named(1, &Is::Referable(&SECURITY_SCHEME, &REFERENCE)),
        ),
    ],
    extensions: 10,
};

static SECURITY_SCHEME: Message = Message {
    fields: &[
        ("type", 1, Is::Text),
        ("description", 2, Is::Text),
        ("name", 3, Is::Text),
        ("in", 4, Is::Text),
        ("scheme", 5, Is::Text),
        ("bearerFormat", 6, Is::Text),
    ],
    extensions: 9,
};

static REFERENCE: Message = Message {
    fields: &[
        ("$ref", 1, Is::Text),
        ("summary", 2, Is::Text),
        ("description", 3, Is::Text),
    ],
    extensions: 0,
};

static SCHEMA: Message = Message {
    fields: &[
        ("nullable", 1, Is::Bool),
        ("readOnly", 3, Is::Bool),
        ("writeOnly", 4, Is::Bool),
        ("example", 7, Is::Any),
        ("deprecated", 8, Is::Bool),
        ("title", 9, Is::Text),
        ("multipleOf", 10, Is::Double),
        ("maximum", 11, Is::Double),
        ("exclusiveMaximum", 12, Is::Bool),
        ("minimum", 13, Is::Double),
        ("exclusiveMinimum", 14, Is::Bool),
        ("maxLength", 15, Is::Int),
        ("minLength", 16, Is::Int),
        ("pattern", 17, Is::Text),
        ("maxItems", 18, Is::Int),
        ("minItems", 19, Is::Int),
        ("uniqueItems", 20, Is::Bool),
        ("maxProperties", 21, Is::Int),
        ("minProperties", 22, Is::Int),
        ("required", 23, Is::List(&Is::Text)),
        ("enum", 24, Is::List(&Is::Any)),
        ("type", 25, Is::Text),
        ("allOf", 26, Is::List(&REFERABLE)),
        ("oneOf", 27, Is::List(&REFERABLE)),
        ("anyOf", 28, Is::List(&REFERABLE)),
        ("not", 29, Is::Message(&SCHEMA)),
        ("items", 30, Is::In(1, &REFERABLE)),
        ("properties", 31, Is::Named(1, &REFERABLE)),
        ("additionalProperties", 32, Is::Additional(&REFERABLE)),
        ("default", 33, Is::Scalar),
        ("description", 34, Is::Text),
        ("format", 35, Is::Text),
    ],
    extensions: 36,
};

static REFERABLE: Is = Is::Referable(&SCHEMA, &REFERENCE);
