//! What a structural schema says about values: their types, their sizes, how lists and maps compare.

use std::{collections::BTreeMap, sync::Arc};

use knarr_json::{Map, Value as Json};

use crate::{Type, budget::MAX_REQUEST_BYTES, escape::escape};

/// Schemas deeper than this are taken as unknown below (they are refused elsewhere long before).
const DEEPEST: usize = 256;

/// A schema node as expressions see it.
#[derive(Debug)]
pub struct Schema {
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    /// The most elements, entries or bytes that a value can have.
    pub(crate) max_elements: i64,
    /// The most bytes of a key of a map, where that is known.
    pub(crate) max_key: u64,
    /// The fewest bytes of JSON that a value takes.
    pub(crate) min_size: i64,
    ty: Option<Type>,
}

/// What kind of value.
#[derive(Debug)]
pub(crate) enum Kind {
    Object(BTreeMap<String, Field>),
    Map(Arc<Schema>),
    List(Arc<Schema>, Merge),
    String,
    Bytes,
    Date,
    DateTime,
    Duration,
    Bool,
    Int,
    Double,
    IntOrString,
    /// Kept as it is; only equality can look at it.
    Unknown,
}

/// One property.
#[derive(Debug)]
pub(crate) struct Field {
    /// How expressions write it; none if they cannot.
    pub(crate) escaped: Option<String>,
    pub(crate) schema: Arc<Schema>,
}

/// How two lists are compared and joined (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merge {
    Atomic,
    Set,
    Map(Vec<String>),
}

impl Schema {
    /// Reads a structural schema; `root` is true for the root of a resource, whose `metadata.name` and
    /// `metadata.generateName` can always be read. `name` is what its object types are called.
    pub fn new(schema: &Json, root: bool, name: &str) -> Arc<Schema> {
        read(schema, root, name, 0)
    }

    /// The type that expressions see; none where they see nothing.
    pub fn ty(&self) -> Option<&Type> {
        self.ty.as_ref()
    }

    /// The schema of a property, by its real name.
    pub fn property(&self, name: &str) -> Option<&Arc<Schema>> {
        match &self.kind {
            Kind::Object(fields) => fields.get(name).map(|f| &f.schema),
            _ => None,
        }
    }

    /// The schema of list elements or map values.
    pub fn element(&self) -> Option<&Arc<Schema>> {
        match &self.kind {
            Kind::Map(element) | Kind::List(element, _) => Some(element),
            _ => None,
        }
    }

    /// The schema of a field by the name that expressions use.
    pub(crate) fn field(&self, escaped: &str) -> Option<&Arc<Schema>> {
        let Kind::Object(fields) = &self.kind else {
            return None;
        };
        fields
            .values()
            .find(|f| f.escaped.as_deref() == Some(escaped))
            .map(|f| &f.schema)
    }

    /// The schema of a map's entry that is named like a field, where values of any type are known in size.
    pub(crate) fn named_entry(&self) -> Option<&Arc<Schema>> {
        match &self.kind {
            Kind::Map(entry) if matches!(entry.kind, Kind::Unknown) && entry.max_elements > 0 => {
                Some(entry)
            }
            _ => None,
        }
    }

    /// How often a value of this schema could be in one request.
    pub(crate) fn most_often(&self) -> u64 {
        (MAX_REQUEST_BYTES / (self.min_size + 1)).max(0) as u64
    }

    fn simple(kind: Kind, ty: Type, min_size: i64, max_elements: i64) -> Schema {
        Schema {
            kind,
            nullable: false,
            max_elements,
            max_key: 0,
            min_size,
            ty: Some(ty),
        }
    }

    /// A node that no schema describes.
    pub(crate) fn declared(kind: Kind, ty: Type, max_elements: i64, max_key: u64) -> Schema {
        Schema {
            max_key,
            ..Schema::simple(kind, ty, 0, max_elements)
        }
    }

    fn unknown() -> Schema {
        Schema {
            kind: Kind::Unknown,
            nullable: true,
            max_elements: 0,
            max_key: 0,
            min_size: 1,
            ty: None,
        }
    }
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool).unwrap_or(false)
}

fn limit(schema: &Json, name: &str) -> Option<i64> {
    schema.get(name).and_then(Json::as_i64).map(|n| n.max(0))
}

fn read(schema: &Json, root: bool, name: &str, depth: usize) -> Arc<Schema> {
    if depth > DEEPEST {
        return Arc::new(Schema::unknown());
    }
    let mut read = if flag(schema, "x-kubernetes-int-or-string") {
        let most =
            limit(schema, "maxLength").map_or(MAX_REQUEST_BYTES - 2, |n| n.saturating_mul(4));
        Schema::simple(Kind::IntOrString, Type::Dyn, 1, most)
    } else {
        match schema.get("type").and_then(Json::as_str) {
            _ if root => object(schema, true, name, depth),
            Some("object") => object(schema, false, name, depth),
            Some("array") => array(schema, name, depth),
            Some("string") => string(schema),
            Some("boolean") => Schema::simple(Kind::Bool, Type::Bool, 4, 0),
            Some("number") => Schema::simple(Kind::Double, Type::Double, 1, 0),
            Some("integer") => Schema::simple(Kind::Int, Type::Int, 1, 0),
            _ => Schema::unknown(),
        }
    };
    read.nullable = read.nullable || flag(schema, "nullable");
    Arc::new(read)
}

fn array(schema: &Json, name: &str, depth: usize) -> Schema {
    let Some(items) = schema.get("items") else {
        return Schema::unknown();
    };
    let embedded = flag(items, "x-kubernetes-embedded-resource");
    let element = read(items, embedded, &format!("{name}.@idx"), depth + 1);
    let merge = match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => Merge::Set,
        Some("map") => Merge::Map(texts(schema.get("x-kubernetes-list-map-keys"))),
        _ => Merge::Atomic,
    };
    let most =
        limit(schema, "maxItems").unwrap_or((MAX_REQUEST_BYTES - 2) / (element.min_size + 1));
    let ty = element.ty().map(|t| Type::list(t.clone()));
    Schema {
        kind: Kind::List(element, merge),
        nullable: false,
        max_elements: most,
        max_key: 0,
        min_size: 2,
        ty,
    }
}

fn texts(list: Option<&Json>) -> Vec<String> {
    let list = list.and_then(Json::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .map(str::to_owned)
        .collect()
}

fn object(schema: &Json, root: bool, name: &str, depth: usize) -> Schema {
    let additional = schema.get("additionalProperties").filter(|a| a.is_object());
    if let (Some(values), false) = (additional, root) {
        return map(schema, values, name, depth);
    }
    let empty = Map::new();
    let properties = schema
        .get("properties")
        .and_then(Json::as_object)
        .unwrap_or(&empty);
    let required = texts(schema.get("required"));
    let mut fields = BTreeMap::new();
    let mut min_size = 2;
    for (property, below) in properties {
        let embedded = flag(below, "x-kubernetes-embedded-resource");
        let escaped = escape(property);
        let label = escaped.as_deref().unwrap_or(property);
        let field = if root && property == "metadata" {
            metadata(Some(below), &format!("{name}.{label}"), depth + 1)
        } else {
            read(below, embedded, &format!("{name}.{label}"), depth + 1)
        };
        if field.ty.is_some()
            && required.iter().any(|r| r == property.as_str())
            && below.get("default").is_none()
        {
            min_size += property.len() as i64 + field.min_size + 4;
        }
        let schema = field;
        fields.insert(property.to_string(), Field { escaped, schema });
    }
    if root {
        add_type_and_metadata(&mut fields, name, depth);
    }
    let types = fields
        .values()
        .filter_map(|f| Some((f.escaped.clone()?, f.schema.ty()?.clone())))
        .collect();
    Schema {
        kind: Kind::Object(fields),
        nullable: false,
        max_elements: 0,
        max_key: 0,
        min_size,
        ty: Some(Type::object(name, types)),
    }
}

fn map(schema: &Json, values: &Json, name: &str, depth: usize) -> Schema {
    let embedded = flag(values, "x-kubernetes-embedded-resource");
    let element = read(values, embedded, &format!("{name}.@elem"), depth + 1);
    let most =
        limit(schema, "maxProperties").unwrap_or((MAX_REQUEST_BYTES - 2) / (element.min_size + 6));
    let ty = element.ty().map(|t| Type::map(Type::String, t.clone()));
    Schema {
        kind: Kind::Map(element),
        nullable: false,
        max_elements: most,
        max_key: 0,
        min_size: 2,
        ty,
    }
}

/// The root's metadata: only `name` and `generateName` can be read, whatever the schema says of them.
fn metadata(schema: Option<&Json>, name: &str, depth: usize) -> Arc<Schema> {
    let mut fields = BTreeMap::new();
    for property in ["name", "generateName"] {
        let given = schema
            .and_then(|s| s.get("properties")?.get(property))
            .filter(|s| s.get("type").and_then(Json::as_str) == Some("string"));
        let field = match given {
            Some(given) => read(given, false, name, depth + 1),
            None => Arc::new(plain_string()),
        };
        let field = Field {
            escaped: Some(property.to_owned()),
            schema: field,
        };
        fields.insert(property.to_owned(), field);
    }
    let types = fields
        .iter()
        .filter_map(|(n, f)| Some((n.clone(), f.schema.ty()?.clone())))
        .collect();
    Arc::new(Schema {
        kind: Kind::Object(fields),
        nullable: false,
        max_elements: 0,
        max_key: 0,
        min_size: 2,
        ty: Some(Type::object(name, types)),
    })
}

fn add_type_and_metadata(fields: &mut BTreeMap<String, Field>, name: &str, depth: usize) {
    for property in ["apiVersion", "kind"] {
        fields.entry(property.to_owned()).or_insert_with(|| Field {
            escaped: Some(property.to_owned()),
            schema: Arc::new(plain_string()),
        });
    }
    fields
        .entry("metadata".to_owned())
        .or_insert_with(|| Field {
            escaped: Some("metadata".to_owned()),
            schema: metadata(None, &format!("{name}.metadata"), depth + 1),
        });
}

fn plain_string() -> Schema {
    Schema::simple(Kind::String, Type::String, 2, MAX_REQUEST_BYTES - 2)
}

fn string(schema: &Json) -> Schema {
    let max_length = limit(schema, "maxLength");
    match schema.get("format").and_then(Json::as_str) {
        Some("byte") => {
            let most = max_length.unwrap_or(MAX_REQUEST_BYTES - 2);
            Schema::simple(Kind::Bytes, Type::Bytes, 2, most)
        }
        Some("duration") => Schema::simple(Kind::Duration, Type::Duration, 3, 32),
        Some("date") => Schema::simple(Kind::Date, Type::Timestamp, 12, 12),
        Some("date-time") => Schema::simple(Kind::DateTime, Type::Timestamp, 21, 32),
        _ => {
            let mut string = plain_string();
            let choices = schema
                .get("enum")
                .and_then(Json::as_array)
                .filter(|e| !e.is_empty());
            if let Some(length) = max_length {
                // Characters of up to four bytes.
                string.max_elements = length.saturating_mul(4);
            } else if let Some(choices) = choices {
                let longest = choices.iter().filter_map(Json::as_str).map(str::len).max();
                string.max_elements = longest.unwrap_or(0) as i64;
            }
            string
        }
    }
}
