//! What the fields of every kind are: types, how Go encodes them, how lists and maps merge.
//!
//! Generic code (decoding, patching, field ownership, OpenAPI) walks objects by these types. Built-in kinds come from the
//! `*.schema` files beside this one (see [`text`]); a CustomResourceDefinition builds the same types at run time and
//! adds them with [`Schemas::add`].

mod builtin;
mod places;
mod text;
mod types;
pub(crate) mod words;

pub(crate) use builtin::text_hash;
pub use places::Places;
pub use types::{Field, List, ListKind, Map, Name, Patch, Presence, Struct, StructRef, Type};

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// All types known: the built-in ones, always, and those of custom resources. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    custom: HashMap<Gvk, Arc<Struct>>,
    by_name: HashMap<Name, Arc<Struct>>,
}

/// Group (empty for core), version, kind.
pub type Gvk = (String, String, String);

impl Schemas {
    /// The type of a kind: `("apps", "v1", "Deployment")`.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<StructRef> {
        if !self.custom.is_empty()
            && let Some(found) =
                self.custom
                    .get(&(group.to_owned(), version.to_owned(), kind.to_owned()))
        {
            return Some(StructRef::Owned(found.clone()));
        }
        builtin::by_kind(group, version, kind).or_else(|| {
            let old = crate::old::same_fields(group, version, kind)?;
            builtin::by_kind(old.now.0, old.now.1, kind)
        })
    }

    /// The type of an object by what its `apiVersion` and `kind` say.
    pub fn by_api_version(&self, api_version: &str, kind: &str) -> Option<StructRef> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.by_kind(group, version, kind)
    }

    /// The type with a full OpenAPI name: `io.k8s.api.core.v1.PodSpec`.
    pub fn by_name(&self, name: &str) -> Option<StructRef> {
        self.by_name
            .get(name)
            .map(|s| StructRef::Owned(s.clone()))
            .or_else(|| builtin::by_name(name))
    }

    /// Adds or replaces the type of a custom kind.
    pub fn add(&mut self, group: &str, version: &str, kind: &str, schema: Struct) {
        let schema = Arc::new(schema);
        self.by_name.insert(schema.name.clone(), schema.clone());
        self.custom.insert(
            (group.to_owned(), version.to_owned(), kind.to_owned()),
            schema,
        );
    }

    /// Takes a custom kind's type out again.
    pub fn remove(&mut self, group: &str, version: &str, kind: &str) {
        if let Some(old) =
            self.custom
                .remove(&(group.to_owned(), version.to_owned(), kind.to_owned()))
        {
            self.by_name.remove(&old.name);
        }
    }

    /// Feeds what is known of a custom kind to a hasher. Built-in kinds are in [`text_hash`].
    pub(crate) fn hash_kind(
        &self,
        group: &str,
        version: &str,
        kind: &str,
        hasher: &mut impl Hasher,
    ) {
        if let Some(StructRef::Owned(schema)) = self.by_kind(group, version, kind) {
            format!("{schema:?}").hash(hasher);
        }
    }

    /// The kind that a type is, when it is one.
    pub fn kind_of(&self, schema: &StructRef) -> Option<Gvk> {
        match schema {
            StructRef::Builtin(i) => builtin::kind_of(*i),
            StructRef::Owned(owned) => self
                .custom
                .iter()
                .find(|(_, s)| Arc::ptr_eq(s, owned))
                .map(|(gvk, _)| gvk.clone()),
        }
    }

    /// Every built-in type with a kind of its own.
    pub fn builtin_kinds(&self) -> impl Iterator<Item = (Gvk, StructRef)> {
        builtin::kinds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_built_in_text_is_understood() {
        let mut seen = 0;
        for (entry, schema) in builtin::all() {
            assert_eq!(
                schema.fields.len(),
                entry.body.lines().count(),
                "fields of {}",
                schema.name
            );
            seen += 1;
        }
        assert!(seen > 700, "{seen} types");
    }

    #[test]
    fn kinds_are_found_and_fields_know_how_they_are_encoded_and_merged() {
        let schemas = Schemas::default();
        let pod = schemas.by_kind("", "v1", "Pod").unwrap();
        assert_eq!(pod.go, "v1.Pod");
        let spec = pod.field("spec").unwrap().ty.as_struct().unwrap();
        let containers = spec.field("containers").unwrap();
        assert_eq!(
            (containers.presence, containers.required),
            (Presence::Always, true)
        );
        assert_eq!(
            containers.patch,
            Patch {
                merge: true,
                key: Some("name".into()),
                ..Patch::default()
            }
        );
        let list = containers.ty.as_list().unwrap();
        assert_eq!(list.kind, ListKind::Map(vec!["name".into()]));
        let container = list.elem.as_struct().unwrap();
        assert_eq!(
            container.field("imagePullPolicy").unwrap().ty,
            Type::String(Some("v1.PullPolicy".into()))
        );
        assert_eq!(spec.field("replicas"), None);
        assert!(schemas.by_kind("apps", "v1", "DeleteOptions").is_some());
        assert!(schemas.by_kind("apps", "v1", "Pod").is_none());
        let meta = pod.field("metadata").unwrap().ty.as_struct().unwrap();
        assert_eq!(
            meta.field("creationTimestamp").unwrap().presence,
            Presence::OmitZero
        );
        assert_eq!(
            schemas
                .by_name("io.k8s.api.core.v1.PodSpec")
                .unwrap()
                .short_name(),
            "PodSpec"
        );
    }
}
