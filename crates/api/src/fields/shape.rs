//! What a type means for field ownership: what is owned as a whole, and what lies below.

use knarr_json::{Map, Value};
use smallvec::SmallVec;

use super::element::Element;
use crate::schema::{Field, List, ListKind, Presence, Struct, Type};

/// Any JSON is owned by fields down to scalars and lists.
static ANY: Type = Type::Any;

/// How ownership treats a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'t> {
    /// Owned as a whole.
    Scalar,
    Map(Fields<'t>),
    List(&'t List),
    /// A list or map that is owned as a whole.
    Atomic,
}

/// What the fields of an object are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fields<'t> {
    Named(&'t Struct),
    /// Keys that users choose, all of this type.
    Free(&'t Type),
}

/// A type where it is used: some fields are owned as a whole although their type is not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use<'t> {
    pub ty: &'t Type,
    pub atomic: bool,
}

impl<'t> Use<'t> {
    pub(super) fn plain(ty: &'t Type) -> Self {
        Use { ty, atomic: false }
    }

    fn field(field: &'t Field) -> Self {
        Use {
            ty: &field.ty,
            atomic: field.atomic,
        }
    }

    /// The shape of `value`, which only matters where anything goes.
    pub(super) fn shape(self, value: &Value) -> Shape<'t> {
        let shape = match self.ty {
            Type::Struct(s) if !s.atomic => Shape::Map(Fields::Named(s)),
            Type::Map(m) if !m.atomic => Shape::Map(Fields::Free(&m.value)),
            Type::List(l) if l.kind != ListKind::Atomic => Shape::List(l),
            Type::Struct(_) | Type::Map(_) | Type::List(_) => Shape::Atomic,
            Type::Raw => Shape::Atomic,
            Type::FieldsV1 => Shape::Map(Fields::Free(&ANY)),
            Type::Any => match value {
                Value::Object(_) | Value::Null => Shape::Map(Fields::Free(&ANY)),
                Value::Array(_) => Shape::Atomic,
                _ => Shape::Scalar,
            },
            _ => Shape::Scalar,
        };
        if self.atomic && !matches!(shape, Shape::Scalar) {
            Shape::Atomic
        } else {
            shape
        }
    }
}

impl<'t> Fields<'t> {
    /// The type of a field; `None` when there is no such field.
    pub(super) fn get(self, name: &str) -> Option<Use<'t>> {
        match self {
            Fields::Free(ty) => Some(Use::plain(ty)),
            Fields::Named(s) => s
                .field(name)
                .map(Use::field)
                .or(s.preserve_unknown.then_some(Use::plain(&ANY))),
        }
    }

    /// The same, and anything for a field that the type does not have.
    pub(super) fn get_or_any(self, name: &str) -> Use<'t> {
        self.get(name).unwrap_or(Use::plain(&ANY))
    }

    /// The type of a field, as [`Fields::get_or_any`] gives it, and what the field is called.
    pub(super) fn step(self, name: &str) -> (Use<'t>, Element) {
        if let Fields::Named(s) = self
            && let Some(place) = s.place(name)
        {
            return (
                Use::field(&s.fields[place]),
                Element::made(s.element(place)),
            );
        }
        (self.get_or_any(name), Element::field(name))
    }

    /// Whether the type names this field, as opposed to a key that a user chose.
    pub(super) fn names(self, name: &str) -> bool {
        matches!(self, Fields::Named(s) if s.field(name).is_some())
    }
}

/// One step down a type.
pub(super) struct Step<'t> {
    pub ty: &'t Type,
    /// The type names this field.
    pub named: bool,
}

/// Where `element` leads from `ty`.
pub(super) fn step<'t>(ty: &'t Type, element: &Element) -> Option<Step<'t>> {
    match (ty, element.field_name()) {
        (Type::Struct(s), Some(name)) => {
            let fields = Fields::Named(s);
            Some(Step {
                ty: fields.get_or_any(name).ty,
                named: fields.names(name),
            })
        }
        (Type::Map(m), Some(_)) => Some(Step {
            ty: &m.value,
            named: false,
        }),
        (Type::List(l), None) => Some(Step {
            ty: &l.elem,
            named: false,
        }),
        (Type::Any | Type::FieldsV1, _) => Some(Step {
            ty: &ANY,
            named: false,
        }),
        _ => None,
    }
}

/// The element that names `item` in a list of this type; `Err` says why it has none.
pub(super) fn element_of(list: &List, item: &Value) -> Result<Element, String> {
    let ListKind::Map(keys) = &list.kind else {
        return match item {
            Value::Object(_) | Value::Array(_) => {
                Err("expected a scalar in a list of type set".into())
            }
            Value::Null => Err("invalid null in a list of type set".into()),
            scalar => Ok(Element::value(scalar)),
        };
    };
    let Value::Object(object) = item else {
        return Err("associative list with keys may not have non-map elements".into());
    };
    let keyed = keys
        .iter()
        .map(|key| Ok((&**key, key_value(list, object, key)?)));
    Ok(Element::keys(
        keyed.collect::<Result<SmallVec<[_; 2]>, String>>()?,
    ))
}

fn key_value(list: &List, object: &Map, key: &str) -> Result<Value, String> {
    if let Some(value) = object.get(key) {
        return Ok(value.clone());
    }
    let field = list.elem.as_struct().and_then(|s| s.field(key));
    let missing = || {
        format!(
            "associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
        )
    };
    let field = field.ok_or_else(missing)?;
    match &field.default {
        Some(default) => Ok(default.clone()),
        None if field.presence == Presence::Always => zero(&field.ty).ok_or_else(missing),
        None => Err(missing()),
    }
}

/// The zero value of a scalar.
fn zero(ty: &Type) -> Option<Value> {
    match ty {
        Type::Bool => Some(false.into()),
        Type::Int32 | Type::Int64 | Type::IntOrString => Some(0.into()),
        Type::String(_) => Some("".into()),
        _ => None,
    }
}
