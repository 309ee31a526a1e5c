//! Types of expressions, named as error messages name them.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// The type of an expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// Known only when the expression runs.
    Dyn,
    /// What follows from a mistake that has been reported.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// The type of a type: `type(int)`.
    Of(Arc<Type>),
    /// A type to be found: a parameter of a declaration, or a variable of the checker.
    Param(Param),
    /// A type with declared fields.
    Object(Arc<ObjectType>),
    /// A type of a library without fields: `kubernetes.Quantity`, `net.IP`.
    Opaque(&'static str),
}

/// What stands for a type until it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Param {
    /// A parameter in a function's declaration.
    Declared(char),
    /// A variable of one run of the checker.
    Variable(u32),
}

/// A type with declared fields; two are the same if their names are.
#[derive(Debug, Clone)]
pub struct ObjectType {
    name: String,
    fields: Fields,
}

/// Which fields an object type has.
#[derive(Debug, Clone)]
enum Fields {
    /// These, by the names that expressions use.
    Declared(BTreeMap<String, Type>),
    /// Whatever is written: the configuration that a mutating policy makes.
    /// A field `f` of `Object` that is itself made with braces has the type `Object.f`.
    Any,
}

impl ObjectType {
    pub fn new(name: impl Into<String>, fields: BTreeMap<String, Type>) -> Self {
        ObjectType {
            name: name.into(),
            fields: Fields::Declared(fields),
        }
    }

    /// A type that takes any field.
    pub fn open(name: impl Into<String>) -> Self {
        ObjectType {
            name: name.into(),
            fields: Fields::Any,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of the field `name`, if there is such a field.
    pub fn field(&self, name: &str) -> Option<Type> {
        match &self.fields {
            Fields::Declared(fields) => fields.get(name).cloned(),
            Fields::Any => Some(Type::Dyn),
        }
    }
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ObjectType {}

impl std::hash::Hash for ObjectType {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl PartialOrd for ObjectType {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectType {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name)
    }
}

impl Type {
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }

    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    pub fn optional(inner: Type) -> Type {
        Type::Optional(Arc::new(inner))
    }

    /// The object type with these fields.
    pub fn object(name: impl Into<String>, fields: BTreeMap<String, Type>) -> Type {
        Type::Object(Arc::new(ObjectType::new(name, fields)))
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// Whether values of this type have a constant size.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Type::Bool
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::Timestamp
            | Type::Duration => true,
            Type::Optional(inner) => inner.is_scalar(),
            _ => false,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(element) => write!(f, "list({element})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Optional(inner) => write!(f, "optional_type({inner})"),
            Type::Of(inner) => write!(f, "type({inner})"),
            Type::Param(Param::Declared(c)) => write!(f, "{c}"),
            Type::Param(Param::Variable(n)) => write!(f, "_var{n}"),
            Type::Object(object) => f.write_str(object.name()),
            Type::Opaque(name) => f.write_str(name),
        }
    }
}
