//! Values: what expressions compute with.

mod compare;
mod json;

pub(crate) use compare::merge_key;

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use knarr_json::Value as Json;

use crate::{EvalError, Schema, Type, authorizer, library, schema::Merge};

/// A value. Parts of JSON documents are borrowed for `'a`, not copied.
#[derive(Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Arc<Value<'a>>>),
    Type(Arc<Type>),
    /// Something of a library.
    Opaque(Opaque),
    /// Data that a schema keeps without knowing it: good for comparing only.
    Unknown(&'a Json),
}

/// A text, borrowed or shared.
#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// A list.
#[derive(Clone)]
pub enum List<'a> {
    Made(Arc<Vec<Value<'a>>>),
    /// A list of a document, with the schema of its elements if it is known.
    Json(&'a [Json], Option<&'a Schema>),
    /// A list of a document that was joined with another; compares as its schema says.
    Joined(Arc<Vec<Value<'a>>>, &'a Schema),
}

/// A map, or an object.
#[derive(Clone)]
pub enum Map<'a> {
    Made(Arc<BTreeMap<Key, Value<'a>>>),
    /// A map or object of a document, with its schema if that is known.
    Json(&'a knarr_json::Map, Option<&'a Schema>),
    /// An object that an expression made: `Object{}`.
    Object(Arc<Object<'a>>),
}

/// An object that an expression made.
pub struct Object<'a> {
    pub name: String,
    pub fields: BTreeMap<String, Value<'a>>,
}

/// A key of a map. Whole numbers are the same whatever their type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Int(i64),
    /// Too large for `Int`.
    Uint(u64),
    String(Arc<str>),
}

/// A value of a library.
#[derive(Clone)]
pub enum Opaque {
    Url(Arc<library::url::Url>),
    Quantity(library::quantity::Quantity),
    Semver(Arc<library::semver::Semver>),
    Format(&'static library::format::Format),
    Ip(IpAddr),
    Cidr(library::ip::Cidr),
    Authorizer(authorizer::Scope),
    PathCheck(authorizer::Scope, Arc<str>),
    ResourceCheck(Arc<authorizer::ResourceCheck>),
    GroupCheck(authorizer::Scope, Arc<str>),
    Decision(Arc<authorizer::Decision>),
}

impl Opaque {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Opaque::Url(_) => "kubernetes.URL",
            Opaque::Quantity(_) => "kubernetes.Quantity",
            Opaque::Semver(_) => "kubernetes.Semver",
            Opaque::Format(_) => "kubernetes.NamedFormat",
            Opaque::Ip(_) => "net.IP",
            Opaque::Cidr(_) => "net.CIDR",
            Opaque::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Opaque::PathCheck(..) => "kubernetes.authorization.PathCheck",
            Opaque::ResourceCheck(_) => "kubernetes.authorization.ResourceCheck",
            Opaque::GroupCheck(..) => "kubernetes.authorization.GroupCheck",
            Opaque::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}

impl<'a> Value<'a> {
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Value::String(Text::Shared(text.into()))
    }

    pub fn list(values: Vec<Value<'a>>) -> Self {
        Value::List(List::Made(Arc::new(values)))
    }

    pub fn map(entries: BTreeMap<Key, Value<'a>>) -> Self {
        Value::Map(Map::Made(Arc::new(entries)))
    }

    pub fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Arc::new(value)))
    }

    pub fn none() -> Self {
        Value::Optional(None)
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The type, as far as a value knows it.
    pub(crate) fn ty(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Duration(_) => Type::Duration,
            Value::List(_) => Type::list(Type::Dyn),
            Value::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Value::Optional(_) => Type::optional(Type::Dyn),
            Value::Type(_) => Type::Of(Type::Dyn.into()),
            Value::Opaque(opaque) => Type::Opaque(opaque.type_name()),
            Value::Unknown(_) => Type::Dyn,
        }
    }

    /// What `size()` says, where it says something.
    pub(crate) fn size(&self) -> Option<usize> {
        Some(match self {
            Value::String(text) => text.as_str().chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            Value::Opaque(Opaque::Ip(ip)) => library::ip::octets(ip).len(),
            Value::Opaque(Opaque::Cidr(cidr)) => usize::from(cidr.prefix.div_ceil(8)),
            _ => return None,
        })
    }

    /// The size that costs reckon with.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            // Counting bytes is quicker than counting characters; the cost differs for the better of nobody.
            Value::String(text) if text.as_str().is_ascii() => text.as_str().len() as u64,
            _ => self.size().map_or(1, |n| n as u64),
        }
    }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            List::Made(values) | List::Joined(values, _) => values.len(),
            List::Json(values, _) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            List::Made(values) | List::Joined(values, _) => values.get(index).cloned().map(Ok),
            List::Json(values, schema) => {
                let element = schema.and_then(|s| s.element()).map(|e| &**e);
                values.get(index).map(|v| Value::from_json(v, element))
            }
        }
    }

    /// All elements.
    ///
    /// # Errors
    /// A document that is not as its schema says.
    pub fn values(&self) -> Result<Vec<Value<'a>>, EvalError> {
        match self {
            List::Made(values) | List::Joined(values, _) => Ok(values.to_vec()),
            List::Json(..) => (0..self.len()).filter_map(|i| self.get(i)).collect(),
        }
    }

    /// How it compares, if a schema says so.
    pub(crate) fn merge(&self) -> Option<(&'a Merge, &'a Schema)> {
        match self {
            List::Json(_, Some(schema)) | List::Joined(_, schema) => match &schema.kind {
                crate::schema::Kind::List(_, merge) => Some((merge, schema)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Map::Made(entries) => entries.len(),
            Map::Json(entries, _) => entries.len(),
            Map::Object(object) => object.fields.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under a key.
    pub(crate) fn get(&self, key: &Key) -> Option<Result<Value<'a>, EvalError>> {
        match (self, key) {
            (Map::Made(entries), key) => entries.get(key).cloned().map(Ok),
            (_, Key::String(name)) => self.field(name),
            _ => None,
        }
    }

    /// The value of a field, by the name that expressions use.
    pub(crate) fn field(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Map::Made(entries) => entries.get(&Key::String(name.into())).cloned().map(Ok),
            Map::Object(object) => object.fields.get(name).cloned().map(Ok),
            Map::Json(entries, schema) => json_field(entries, *schema, name),
        }
    }

    /// Keys and values, sorted by key.
    ///
    /// # Errors
    /// A document that is not as its schema says.
    pub(crate) fn entries(&self) -> Result<Vec<(Key, Value<'a>)>, EvalError> {
        match self {
            Map::Made(entries) => Ok(entries
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()),
            Map::Object(object) => {
                let fields = object.fields.iter();
                Ok(fields
                    .map(|(k, v)| (Key::String(k.as_str().into()), v.clone()))
                    .collect())
            }
            Map::Json(entries, schema) => {
                let mut out = Vec::with_capacity(entries.len());
                for (name, value) in entries.iter() {
                    let below = below(*schema, name);
                    out.push((
                        Key::String(name.as_str().into()),
                        Value::from_json(value, below)?,
                    ));
                }
                Ok(out)
            }
        }
    }
}

/// The schema of a property or entry by its real name.
fn below<'a>(schema: Option<&'a Schema>, name: &str) -> Option<&'a Schema> {
    let schema = schema?;
    schema
        .property(name)
        .or_else(|| schema.element())
        .map(|s| &**s)
}

fn json_field<'a>(
    entries: &'a knarr_json::Map,
    schema: Option<&'a Schema>,
    name: &str,
) -> Option<Result<Value<'a>, EvalError>> {
    let Some(schema) = schema else {
        return entries.get(name).map(|v| Value::from_json(v, None));
    };
    if let crate::schema::Kind::Object(fields) = &schema.kind {
        // Expressions write some names differently.
        let (real, field) = match fields.get_key_value(name) {
            Some((real, field)) if field.escaped.as_deref() == Some(name) => (real, field),
            _ => fields
                .iter()
                .find(|(_, f)| f.escaped.as_deref() == Some(name))?,
        };
        return entries
            .get(real)
            .map(|v| Value::from_json(v, Some(&field.schema)));
    }
    entries
        .get(name)
        .map(|v| Value::from_json(v, schema.element().map(|s| &**s)))
}

impl Key {
    /// The key that a value makes, if it can be one.
    pub(crate) fn of(value: &Value<'_>) -> Option<Key> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => i64::try_from(*value).map_or(Key::Uint(*value), Key::Int),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9e18 => {
                Key::Int(*value as i64)
            }
            Value::String(text) => Key::String(text.as_str().into()),
            _ => return None,
        })
    }

    pub(crate) fn value<'a>(&self) -> Value<'a> {
        match self {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => Value::Int(*value),
            Key::Uint(value) => Value::Uint(*value),
            Key::String(text) => Value::String(Text::Shared(text.clone())),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Bool(value) => write!(f, "{value}"),
            Key::Int(value) => write!(f, "{value}"),
            Key::Uint(value) => write!(f, "{value}"),
            Key::String(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Uint(value) => write!(f, "{value}u"),
            Value::Double(value) => write!(f, "{value:?}"),
            Value::String(text) => write!(f, "{:?}", text.as_str()),
            Value::Bytes(bytes) => write!(f, "b{:?}", String::from_utf8_lossy(bytes)),
            Value::Timestamp(time) => write!(f, "timestamp({time})"),
            Value::Duration(nanos) => {
                write!(f, "duration({})", library::time::show_duration(*nanos))
            }
            Value::List(list) => f
                .debug_list()
                .entries((0..list.len()).filter_map(|i| list.get(i)?.ok()))
                .finish(),
            Value::Map(map) => {
                let entries = map.entries().unwrap_or_default();
                f.debug_map()
                    .entries(entries.iter().map(|(k, v)| (k.value(), v.clone())))
                    .finish()
            }
            Value::Optional(Some(value)) => write!(f, "optional({value:?})"),
            Value::Optional(None) => f.write_str("optional.none()"),
            Value::Type(ty) => write!(f, "{ty}"),
            Value::Opaque(opaque) => write!(f, "{}", opaque.type_name()),
            Value::Unknown(json) => write!(f, "{json}"),
        }
    }
}
