//! What Go prints of what was not given.

use knarr_json::{Map, Value};

use crate::schema::{Field, Presence, Struct, Type};

/// The value of a struct of which nothing is given: only what Go emits anyway.
pub fn empty(schema: &Struct) -> Map {
    let mut out = Map::new();
    fill(schema, &mut out);
    out
}

/// Adds what Go emits although it was not given.
pub(super) fn fill(schema: &Struct, out: &mut Map) {
    for (_, field) in schema.filled() {
        if !out.contains_key(&field.name) {
            out.insert(field.key(), emitted(field));
        }
    }
}

/// What Go emits of a field that was not given, when it emits anything.
pub(super) fn emitted(field: &Field) -> Value {
    match field.presence {
        Presence::Nullable => Value::Null,
        _ => zero(&field.ty),
    }
}

/// What Go emits for a value of this type that nothing was stored in.
pub(super) fn zero(ty: &Type) -> Value {
    match ty {
        Type::Bool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => Value::from(0),
        Type::String(_) | Type::Bytes => Value::from(""),
        Type::Quantity => Value::from("0"),
        Type::Struct(schema) => Value::Object(empty(schema)),
        Type::Time
        | Type::MicroTime
        | Type::Any
        | Type::Raw
        | Type::FieldsV1
        | Type::List(_)
        | Type::Map(_) => Value::Null,
    }
}

/// Whether omitempty drops it.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
