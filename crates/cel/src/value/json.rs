//! Values from JSON and back.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_json::{Array, Value as Json};

use super::{List, Map, Text, Value};
use crate::{EvalError, Schema, library::time, schema::Kind};

/// Values nest no deeper than this when they become JSON.
const DEEPEST: usize = 512;

impl<'a> Value<'a> {
    /// A value of a document, read as its schema says.
    ///
    /// # Errors
    /// A document that is not as its schema says.
    pub fn typed(json: &'a Json, schema: &'a Schema) -> Result<Self, EvalError> {
        Self::from_json(json, Some(schema))
    }

    /// A value of a document that has no schema.
    pub fn untyped(json: &'a Json) -> Self {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::String(Text::Borrowed(text)),
            Json::Array(values) => Value::List(List::Json(values, None)),
            Json::Object(entries) => Value::Map(Map::Json(entries, None)),
        }
    }

    pub(crate) fn from_json(json: &'a Json, schema: Option<&'a Schema>) -> Result<Self, EvalError> {
        let Some(schema) = schema else {
            return Ok(Self::untyped(json));
        };
        if json.is_null() && !matches!(schema.kind, Kind::Unknown) {
            return match schema.nullable {
                true => Ok(Value::Null),
                false => wrong("got null for schema with nullable=false"),
            };
        }
        match (&schema.kind, json) {
            (Kind::Object(_) | Kind::Map(_), Json::Object(entries)) => {
                Ok(Value::Map(Map::Json(entries, Some(schema))))
            }
            (Kind::Object(_) | Kind::Map(_), _) => {
                wrong("expected a map for the provided schema with type=object")
            }
            (Kind::List(..), Json::Array(values)) => {
                Ok(Value::List(List::Json(values, Some(schema))))
            }
            (Kind::List(..), _) => {
                wrong("expected an array for the provided schema with type=array")
            }
            (Kind::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
            (Kind::Int, Json::Number(number)) => match number.as_i64() {
                Some(value) => Ok(Value::Int(value)),
                None => wrong("expected int, got float64"),
            },
            (Kind::Double, Json::Number(number)) => {
                Ok(Value::Double(number.as_f64().unwrap_or(f64::NAN)))
            }
            (Kind::IntOrString, Json::String(text)) => Ok(Value::String(Text::Borrowed(text))),
            (Kind::IntOrString, Json::Number(number)) => match number.as_i64() {
                Some(value) => Ok(Value::Int(value)),
                None => wrong("expected XIntOrString value to be either a string or integer"),
            },
            (Kind::String, Json::String(text)) => Ok(Value::String(Text::Borrowed(text))),
            (Kind::Bytes | Kind::Date | Kind::DateTime | Kind::Duration, Json::String(text)) => {
                formatted(&schema.kind, text)
            }
            (Kind::Unknown, _) => Ok(Value::Unknown(json)),
            _ => wrong(&format!(
                "expected {}, got {}",
                expected(&schema.kind),
                go_type(json)
            )),
        }
    }

    /// The value as JSON, where it has a form there.
    ///
    /// # Errors
    /// Types and values of libraries have none.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        to_json(self, 0)
    }
}

fn wrong<T>(what: &str) -> Result<T, EvalError> {
    Err(EvalError::other(format!("invalid data, {what}")))
}

fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int => "int",
        Kind::Double => "float",
        _ => "string",
    }
}

/// What the original calls the types of decoded JSON.
fn go_type(json: &Json) -> &'static str {
    match json {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(n) if n.is_i64() => "int64",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

fn formatted<'a>(kind: &Kind, text: &str) -> Result<Value<'a>, EvalError> {
    let bad = |what: &str| EvalError::other(format!("Invalid {what} {text}"));
    match kind {
        Kind::Bytes => {
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| bad("byte formatted string"))?;
            Ok(Value::Bytes(bytes.into()))
        }
        Kind::Duration => {
            let nanos = time::parse_schema_duration(text).ok_or_else(|| bad("duration"))?;
            Ok(Value::Duration(nanos))
        }
        Kind::Date => {
            let time = time::parse_date(text).ok_or_else(|| bad("date formatted string"))?;
            Ok(Value::Timestamp(time))
        }
        _ => {
            let time =
                time::parse_timestamp(text).ok_or_else(|| bad("date-time formatted string"))?;
            Ok(Value::Timestamp(time))
        }
    }
}

fn to_json(value: &Value<'_>, depth: usize) -> Result<Json, EvalError> {
    if depth > DEEPEST {
        return Err(EvalError::other("value is nested too deeply"));
    }
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Uint(value) => Json::from(*value),
        Value::Double(value) => knarr_json::Number::from_f64(*value)
            .map(Json::Number)
            .ok_or_else(|| EvalError::other(format!("unsupported value: {value}")))?,
        Value::String(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => Json::from(STANDARD.encode(bytes)),
        Value::Timestamp(time) => Json::from(time::show_timestamp(*time)),
        Value::Duration(nanos) => Json::from(time::show_duration(*nanos)),
        Value::Unknown(json) => (*json).clone(),
        Value::List(List::Json(values, _)) => Json::from(*values),
        Value::List(list) => {
            let values = list.values()?;
            let values: Result<Array, EvalError> =
                values.iter().map(|v| to_json(v, depth + 1)).collect();
            Json::Array(values?)
        }
        Value::Map(Map::Json(entries, _)) => Json::Object((*entries).clone()),
        Value::Map(map) => {
            let mut out = knarr_json::Map::new();
            for (key, value) in map.entries()? {
                // What has no value is left out.
                let value = match &value {
                    Value::Optional(None) => continue,
                    Value::Optional(Some(inner)) => to_json(inner, depth + 1)?,
                    value => to_json(value, depth + 1)?,
                };
                out.insert(key.to_string(), value);
            }
            Json::Object(out)
        }
        Value::Optional(Some(inner)) => to_json(inner, depth + 1)?,
        Value::Optional(None) => Json::Null,
        Value::Opaque(super::Opaque::Quantity(quantity)) => Json::from(quantity.to_string()),
        Value::Opaque(super::Opaque::Ip(ip)) => Json::from(ip.to_string()),
        Value::Opaque(super::Opaque::Cidr(cidr)) => Json::from(cidr.to_string()),
        Value::Type(_) | Value::Opaque(_) => {
            let message = format!("type conversion error from '{}' to JSON", value.ty());
            return Err(EvalError::other(message));
        }
    })
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::String(Text::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::String(Text::Shared(Arc::from(text)))
    }
}
