//! The type graph itself.

use std::{borrow::Cow, ops::Deref, sync::Arc};

use knarr_json::{Text, Value};

use super::{builtin, places::Places};

/// A name, borrowed from the built-in text or owned by a custom resource's schema.
pub type Name = Cow<'static, str>;

/// An object with named fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Struct {
    /// Full OpenAPI name: `io.k8s.api.core.v1.PodSpec`.
    pub name: Name,
    /// What Go calls it in messages: `v1.PodSpec`.
    pub go: Name,
    /// Sorted by JSON name.
    pub fields: Vec<Field>,
    /// Owned and replaced as a whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Fields that are not listed are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// An object of its own inside (`x-kubernetes-embedded-resource`): has apiVersion, kind and metadata.
    pub embedded: bool,
    /// Where the fields are by name.
    pub places: Places,
}

impl Struct {
    /// The field with this JSON name. Names are case-sensitive.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.place(name).map(|place| &self.fields[place])
    }

    /// The position of the field with this JSON name.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.find(&self.fields, name)
    }

    /// What field ownership calls a field: `f:name`.
    pub fn element(&self, place: usize) -> Text {
        self.places.element(&self.fields, place)
    }

    /// The fields that are emitted when they are absent, and their positions.
    pub fn filled(&self) -> impl Iterator<Item = (usize, &Field)> {
        let places = self.places.filled(&self.fields).iter();
        places.map(|place| (usize::from(*place), &self.fields[usize::from(*place)]))
    }

    /// Name without the package: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }
}

/// One field of a [`Struct`].
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// JSON name.
    pub name: Name,
    pub ty: Type,
    pub presence: Presence,
    /// Listed as required in OpenAPI.
    pub required: bool,
    /// Owned and replaced as a whole although its type is not.
    pub atomic: bool,
    /// How a strategic merge patch treats it.
    pub patch: Patch,
    /// What OpenAPI gives as default, where that does not follow from the presence. List keys of field ownership need it.
    pub default: Option<Value>,
    /// Protobuf field number; 0 when unknown.
    pub number: u32,
    /// Numbers of the embedded messages that the field is in on the wire, outermost in the lowest byte; 0 for the struct's
    /// own message.
    pub inside: u32,
}

impl Field {
    /// The name as a key of values.
    pub fn key(&self) -> Text {
        match &self.name {
            Cow::Borrowed(name) => Text::const_new(name),
            Cow::Owned(name) => name.as_str().into(),
        }
    }

    /// The embedded messages that the field is in on the wire, outermost first.
    pub fn path(&self) -> impl Iterator<Item = u32> {
        let inside = self.inside;
        (0..4)
            .map(move |i| inside >> (8 * i) & 0xff)
            .take_while(|number| *number != 0)
    }
}

/// What is emitted for a field that is absent, null or zero: the part of Go's encoding that clients see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// Pointer with omitempty: absent stays absent, anything but null is kept, also zero values.
    #[default]
    Optional,
    /// Pointer, raw value or time without omitempty: absent is emitted as `null`.
    Nullable,
    /// Value with omitempty: zero scalars and empty lists and maps are dropped.
    OmitEmpty,
    /// Value without omitempty, and every struct by value: zero scalars, `null` for lists and maps, a struct with its own
    /// such fields.
    Always,
    /// Struct by value that is dropped when all of it is zero (omitzero).
    OmitZero,
    /// Custom resources: as the client wrote it, never added and never dropped.
    Verbatim,
}

/// Strategic merge patch directives of a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patch {
    /// `x-kubernetes-patch-strategy` has `merge`.
    pub merge: bool,
    /// `x-kubernetes-patch-strategy` is `replace`, on a field that would otherwise merge.
    pub replace: bool,
    /// `x-kubernetes-patch-strategy` has `retainKeys`.
    pub retain_keys: bool,
    /// `x-kubernetes-patch-merge-key`; none for lists of primitives.
    pub key: Option<Name>,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Bool,
    Int32,
    Int64,
    Double,
    /// Text; with the Go name of its type when that is not plain `string` (`v1.PullPolicy`).
    String(Option<Name>),
    /// Base64 text.
    Bytes,
    Quantity,
    IntOrString,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// Any JSON, kept as it is.
    Any,
    /// Any JSON object (embedded object of unknown kind, `runtime.RawExtension`).
    Raw,
    /// The `fieldsV1` set of managedFields.
    FieldsV1,
    Struct(StructRef),
    List(Box<List>),
    Map(Box<Map>),
}

impl Type {
    /// The struct, when it is one.
    pub fn as_struct(&self) -> Option<&Struct> {
        match self {
            Type::Struct(r) => Some(r),
            _ => None,
        }
    }

    /// The list, when it is one.
    pub fn as_list(&self) -> Option<&List> {
        match self {
            Type::List(l) => Some(l),
            _ => None,
        }
    }

    /// The map, when it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Type::Map(m) => Some(m),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct List {
    pub elem: Type,
    pub kind: ListKind,
}

/// How server-side apply treats a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    /// Elements are known by these fields.
    Map(Vec<Name>),
}

/// An object with keys that users choose.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    pub value: Type,
    pub atomic: bool,
    /// Go name of the map's type when it has one (`v1.ResourceList`).
    pub go: Option<Name>,
}

/// A reference to a struct; dereferences to it. Built-in ones are indices, so types may refer to themselves.
#[derive(Debug, Clone)]
pub enum StructRef {
    /// Index into the built-in types.
    Builtin(u32),
    Owned(Arc<Struct>),
}

impl Deref for StructRef {
    type Target = Struct;

    fn deref(&self) -> &Struct {
        match self {
            StructRef::Builtin(i) => builtin::get(*i),
            StructRef::Owned(s) => s,
        }
    }
}

impl PartialEq for StructRef {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (StructRef::Builtin(a), StructRef::Builtin(b)) => a == b,
            (StructRef::Owned(a), StructRef::Owned(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }
}
