//! A custom resource's schema as the type that field ownership and patches walk.

use std::sync::Arc;

use knarr_json::Value;

use super::schema::{Additional, Kind, ListType, Schema};
use crate::schema::{
    Field, List, ListKind, Map, Name, Patch, Presence, Schemas, Struct, StructRef, Type,
};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The type of a resource. `name` is its OpenAPI name, `go` what messages call it.
pub fn resource(schema: &Schema, name: String, go: String) -> Struct {
    let mut out = object(schema);
    out.name = Name::Owned(name);
    out.go = Name::Owned(go);
    // Whatever the schema says of these, they are what they are in every resource.
    out.fields
        .retain(|f| !["apiVersion", "kind", "metadata"].contains(&&*f.name));
    for name in ["apiVersion", "kind"] {
        out.fields.push(field(name, Type::String(None), None));
    }
    if let Some(meta) = Schemas::default().by_name(OBJECT_META) {
        out.fields.push(field("metadata", Type::Struct(meta), None));
    }
    out.fields.sort_by(|a, b| a.name.cmp(&b.name));
    out.atomic = false;
    out
}

fn object(schema: &Schema) -> Struct {
    let fields = schema.properties.iter().map(|(name, property)| {
        let mut field = field(name, ty(property), property.default.clone());
        field.required = schema.required.contains(name);
        field
    });
    Struct {
        fields: fields.collect(),
        atomic: schema.map_atomic,
        preserve_unknown: schema.preserve,
        embedded: schema.embedded,
        ..Struct::default()
    }
}

fn field(name: &str, ty: Type, default: Option<Value>) -> Field {
    Field {
        name: Name::Owned(name.to_owned()),
        ty,
        presence: Presence::Verbatim,
        required: false,
        atomic: false,
        patch: Patch::default(),
        default,
        number: 0,
        inside: 0,
    }
}

fn ty(schema: &Schema) -> Type {
    if schema.int_or_string {
        return Type::IntOrString;
    }
    match schema.kind {
        None => Type::Any,
        Some(Kind::Boolean) => Type::Bool,
        Some(Kind::Integer) => Type::Int64,
        Some(Kind::Number) => Type::Double,
        Some(Kind::String) => Type::String(None),
        Some(Kind::Array) => list(schema),
        Some(Kind::Object) => map_or_struct(schema),
    }
}

fn list(schema: &Schema) -> Type {
    let Some(items) = schema.items.as_deref() else {
        return Type::Any;
    };
    let kind = match schema.list_type {
        ListType::Atomic => ListKind::Atomic,
        ListType::Set => ListKind::Set,
        ListType::Map => {
            let keys = schema.list_keys.iter().cloned().map(Name::Owned);
            ListKind::Map(keys.collect())
        }
    };
    Type::List(Box::new(List {
        elem: ty(items),
        kind,
    }))
}

fn map_or_struct(schema: &Schema) -> Type {
    let value = match &schema.additional {
        Additional::Schema(value) => ty(value),
        Additional::Any(true) => Type::Any,
        _ => {
            let mut inner = object(schema);
            if schema.embedded {
                embedded(&mut inner);
            }
            return Type::Struct(StructRef::Owned(Arc::new(inner)));
        }
    };
    Type::Map(Box::new(Map {
        value,
        atomic: schema.map_atomic,
        go: None,
    }))
}

/// A resource inside a resource has what all resources have.
fn embedded(inner: &mut Struct) {
    for name in ["apiVersion", "kind"] {
        if inner.fields.iter().all(|f| f.name != name) {
            inner.fields.push(field(name, Type::String(None), None));
        }
    }
    if let Some(meta) = Schemas::default().by_name(OBJECT_META) {
        inner.fields.retain(|f| f.name != "metadata");
        inner
            .fields
            .push(field("metadata", Type::Struct(meta), None));
    }
    inner.fields.sort_by(|a, b| a.name.cmp(&b.name));
}
