//! Types as OpenAPI schemas.

use std::collections::{BTreeMap, BTreeSet};

use knarr_json::{Map, Value, json};

use super::Flavor;
use crate::{
    Resource, custom,
    schema::{Field, ListKind, Presence, Schemas, Struct, StructRef, Type, words, words::Words},
};

/// Types that Go knows by name and JSON as a scalar.
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const FIELDS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const JSON: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Definitions by name, collected with everything that they refer to.
pub(super) struct Definitions<'a> {
    flavor: Flavor,
    schemas: &'a Schemas,
    done: BTreeMap<String, Value>,
    waiting: Vec<StructRef>,
    scalars: BTreeSet<&'static str>,
    /// Groups and versions that options and watch events are kinds of.
    groups: BTreeSet<(String, String)>,
    /// Names of custom resources' types, by group, version and kind.
    custom: BTreeMap<(String, String, String), String>,
}

/// Kinds that belong to every group and version.
const EVERYWHERE: [&str; 2] = [
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent",
];

/// Fields that are one of several things, with the names that these have.
fn several(owner: &str, field: &str) -> Option<&'static str> {
    if !owner.ends_with(".v1.JSONSchemaProps") {
        return None;
    }
    const ARRAY: &str =
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray";
    const BOOL: &str =
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool";
    const STRINGS: &str =
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray";
    match field {
        "items" => Some(ARRAY),
        "additionalItems" | "additionalProperties" => Some(BOOL),
        "dependencies" => Some(STRINGS),
        _ => None,
    }
}

/// Fields of which only one is set, by the type that has them.
fn unions(name: &str) -> Option<Value> {
    let by = |discriminator: &str, fields: Value| {
        let mut union = json!({"fields-to-discriminateBy": fields});
        if !discriminator.is_empty() {
            union["discriminator"] = discriminator.into();
        }
        Some(json!([union]))
    };
    match name {
        "io.k8s.api.core.v1.AppArmorProfile" | "io.k8s.api.core.v1.SeccompProfile" => {
            by("type", json!({"localhostProfile": "LocalhostProfile"}))
        }
        "io.k8s.api.core.v1.PodSchedulingGroup" => by("", json!({"podGroupName": "PodGroupName"})),
        "io.k8s.api.flowcontrol.v1.LimitResponse" => by("type", json!({"queuing": "Queuing"})),
        "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec" => {
            by("type", json!({"exempt": "Exempt", "limited": "Limited"}))
        }
        "io.k8s.api.flowcontrol.v1.Subject" => by(
            "kind",
            json!({"group": "Group", "serviceAccount": "ServiceAccount", "user": "User"}),
        ),
        _ => None,
    }
}

/// A mark that says what holds anyway.
fn said_anyway(owner: &str, field: &str) -> Option<(&'static str, &'static str)> {
    match (owner, field) {
        ("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef")
        | ("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "allocatedResourceStatuses") => {
            Some(("x-kubernetes-map-type", "granular"))
        }
        ("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec", "caBundle") => {
            Some(("x-kubernetes-list-type", "atomic"))
        }
        _ => None,
    }
}

impl<'a> Definitions<'a> {
    pub fn new(flavor: Flavor, schemas: &'a Schemas) -> Self {
        Definitions {
            flavor,
            schemas,
            done: BTreeMap::new(),
            waiting: Vec::new(),
            scalars: BTreeSet::new(),
            groups: BTreeSet::new(),
            custom: BTreeMap::new(),
        }
    }

    /// Adds a group and version that options and watch events are kinds of.
    pub fn of(mut self, group: &str, version: &str) -> Self {
        self.groups.insert((group.to_owned(), version.to_owned()));
        self
    }

    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// A reference to a type by its full name; a plain object when there is no such type.
    pub fn full(&mut self, name: &str) -> Value {
        match self.schemas.by_name(name) {
            Some(schema) => self.reference(&schema),
            None => json!({"type": "object"}),
        }
    }

    /// Adds the types of a custom resource and its list, as its definition has them. Does nothing for other resources.
    pub fn custom(&mut self, resource: &Resource, version: &str) {
        let definition = resource.custom.as_ref().map(|o| o.definition.clone());
        let Some((definition, of)) = definition.as_ref().and_then(|d| {
            let of = d.versions.iter().find(|v| v.name == version)?;
            Some((d, of))
        }) else {
            return;
        };
        let (object, list) = (self.full(OBJECT_META), self.full(LIST_META));
        let link = |name: &str| match name {
            LIST_META => list.clone(),
            _ => object.clone(),
        };
        let flavor = match self.flavor {
            Flavor::V2 => custom::openapi::Flavor::V2,
            Flavor::V3 => custom::openapi::Flavor::V3,
        };
        let name = |kind: &str| custom::openapi::name(&resource.group, version, kind);
        let item = self.link(&name(&resource.kind));
        let kinds = [
            (
                &resource.kind,
                custom::openapi::kind(definition, of, flavor, &link),
            ),
            (
                &resource.list_kind,
                custom::openapi::list(definition, of, &resource.list_kind, item, &link),
            ),
        ];
        for (kind, schema) in kinds {
            let key = (resource.group.clone(), version.to_owned(), kind.clone());
            self.custom.insert(key, name(kind));
            self.done.insert(name(kind), schema);
        }
    }

    /// A reference to a kind's type; a plain object when there is no such type.
    pub fn kind(&mut self, group: &str, version: &str, kind: &str) -> Value {
        let key = (group.to_owned(), version.to_owned(), kind.to_owned());
        if let Some(name) = self.custom.get(&key) {
            return self.link(name);
        }
        match self.schemas.by_kind(group, version, kind) {
            Some(schema) => self.reference(&schema),
            None => json!({"type": "object"}),
        }
    }

    /// A reference to a type by its full name.
    pub fn named(&mut self, name: &'static str) -> Value {
        match self.schemas.by_name(name) {
            Some(schema) => self.reference(&schema),
            None => self.scalar(name),
        }
    }

    /// All that was referred to, and what that refers to.
    pub fn finish(mut self) -> Value {
        while let Some(schema) = self.waiting.pop() {
            if self.done.contains_key(&*schema.name) {
                continue;
            }
            // Keeps a type that refers to itself from being made twice.
            self.done.insert(schema.name.to_string(), Value::Null);
            let mut definition = self.object(&schema);
            if let Some((group, version, kind)) = self.schemas.kind_of(&schema) {
                let mut all = vec![(group, version)];
                if EVERYWHERE.contains(&&*schema.name) {
                    let others = self.groups.iter().filter(|g| **g != all[0]).cloned();
                    all.extend(others.collect::<Vec<_>>());
                }
                let gvk = |(g, v)| json!({"group": g, "kind": kind, "version": v});
                definition["x-kubernetes-group-version-kind"] = all.into_iter().map(gvk).collect();
            }
            self.done.insert(schema.name.to_string(), definition);
        }
        for name in std::mem::take(&mut self.scalars) {
            let mut definition = self.scalar_definition(name);
            if let Some(words) = words::scalar(name) {
                definition["description"] = words.into();
            }
            self.done.insert(name.to_owned(), definition);
        }
        Value::Object(self.done.into_iter().collect())
    }

    fn link(&self, name: &str) -> Value {
        let place = match self.flavor {
            Flavor::V2 => "#/definitions/",
            Flavor::V3 => "#/components/schemas/",
        };
        json!({"$ref": format!("{place}{name}")})
    }

    fn scalar(&mut self, name: &'static str) -> Value {
        self.scalars.insert(name);
        self.link(name)
    }

    fn scalar_definition(&self, name: &str) -> Value {
        match (name, self.flavor) {
            (QUANTITY, Flavor::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            (QUANTITY, Flavor::V2) => json!({"type": "string"}),
            (INT_OR_STRING, Flavor::V3) => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            (INT_OR_STRING, Flavor::V2) => json!({"format": "int-or-string", "type": "string"}),
            (TIME | MICRO_TIME, _) => json!({"format": "date-time", "type": "string"}),
            (JSON, _) => json!({}),
            (name, _) if name.contains(".JSONSchemaPropsOr") => json!({}),
            _ => json!({"type": "object"}),
        }
    }

    fn reference(&mut self, schema: &StructRef) -> Value {
        let link = self.link(&schema.name);
        if !self.done.contains_key(&*schema.name) {
            self.waiting.push(schema.clone());
        }
        link
    }

    fn object(&mut self, schema: &Struct) -> Value {
        let mut out = Map::new();
        let words = Words::of(&schema.name);
        if let Some(own) = words.own() {
            out.insert("description", own.into());
        }
        out.insert("type", "object".into());
        let properties: Map = schema
            .fields
            .iter()
            .map(|f| (f.name.to_string(), self.property(schema, f, &words)))
            .collect();
        if !properties.is_empty() {
            out.insert("properties", Value::Object(properties));
        }
        let required: Vec<&str> = schema
            .fields
            .iter()
            .filter(|f| f.required)
            .map(|f| &*f.name)
            .collect();
        if !required.is_empty() {
            out.insert("required", json!(required));
        }
        if schema.atomic {
            out.insert("x-kubernetes-map-type", "atomic".into());
        }
        if schema.preserve_unknown {
            out.insert("x-kubernetes-preserve-unknown-fields", true.into());
        }
        if let Some(unions) = unions(&schema.name) {
            out.insert("x-kubernetes-unions", unions);
        }
        if schema.embedded {
            out.insert("x-kubernetes-embedded-resource", true.into());
        }
        Value::Object(out)
    }

    /// A field with the marks and words that depend on whose it is.
    fn property(&mut self, owner: &Struct, field: &Field, words: &Words<'_>) -> Value {
        let mut out = self.field(field);
        if let Some(name) = several(&owner.name, &field.name) {
            let link = self.scalar(name);
            match field.ty {
                Type::Map(_) => out["additionalProperties"] = link,
                _ => out = link,
            }
        }
        // Lists of objects are not lists inside an object: they have no kind. Nor have the verbs of discovery.
        let bare = (&*field.name == "items" && owner.name.ends_with("List"))
            || (&*field.name == "verbs" && owner.name.ends_with(".meta.v1.APIResource"));
        if bare && let Some(map) = out.as_object_mut() {
            map.remove("x-kubernetes-list-type");
        }
        if let Some((mark, value)) = said_anyway(&owner.name, &field.name) {
            out = self.beside(out);
            out[mark] = value.into();
        }
        if let Some(words) = words.field(&field.name) {
            out = self.beside(out);
            out["description"] = words.into();
        }
        out
    }

    fn field(&mut self, field: &Field) -> Value {
        let mut out = self.ty(&field.ty);
        let default = match (&field.default, &field.ty, field.presence) {
            (Some(default), _, _) => Some(default.clone()),
            (None, Type::Struct(_), Presence::Always) => Some(json!({})),
            (None, Type::String(_), Presence::Always) => Some(json!("")),
            (None, Type::Int32 | Type::Int64, Presence::Always) => Some(json!(0)),
            (None, Type::Bool, Presence::Always) => Some(json!(false)),
            _ => None,
        };
        out = self.beside(out);
        // Only OpenAPI 3 gives defaults.
        if self.flavor == Flavor::V3
            && let Some(default) = default
        {
            out["default"] = default;
        }
        if field.atomic {
            out["x-kubernetes-map-type"] = "atomic".into();
        }
        let patch = &field.patch;
        let strategies: Vec<&str> = [
            ("merge", patch.merge),
            ("replace", patch.replace),
            ("retainKeys", patch.retain_keys),
        ]
        .iter()
        .filter_map(|(word, on)| on.then_some(*word))
        .collect();
        if !strategies.is_empty() {
            out["x-kubernetes-patch-strategy"] = strategies.join(",").into();
        }
        if let Some(key) = &patch.key {
            out["x-kubernetes-patch-merge-key"] = key.to_string().into();
        }
        out
    }

    /// The schema, so that more can be said of it: in OpenAPI 3 nothing may stand beside a reference.
    fn beside(&self, schema: Value) -> Value {
        if self.flavor == Flavor::V3 && schema.get("$ref").is_some() {
            json!({"allOf": [schema]})
        } else {
            schema
        }
    }

    fn ty(&mut self, ty: &Type) -> Value {
        match ty {
            Type::Bool => json!({"type": "boolean"}),
            Type::Int32 => json!({"format": "int32", "type": "integer"}),
            Type::Int64 => json!({"format": "int64", "type": "integer"}),
            Type::Double => json!({"format": "double", "type": "number"}),
            Type::String(_) => json!({"type": "string"}),
            Type::Bytes => json!({"format": "byte", "type": "string"}),
            Type::Quantity => self.scalar(QUANTITY),
            Type::IntOrString => self.scalar(INT_OR_STRING),
            Type::Time => self.scalar(TIME),
            Type::MicroTime => self.scalar(MICRO_TIME),
            Type::FieldsV1 => self.scalar(FIELDS),
            Type::Raw => self.scalar(RAW),
            Type::Any => self.scalar(JSON),
            // A custom resource's inner types have no names.
            Type::Struct(schema) if schema.name.is_empty() => self.object(schema),
            Type::Struct(schema) => self.reference(schema),
            Type::Map(map) => {
                let mut value = self.ty(&map.value);
                if let (Type::List(_), Some(marks)) = (&map.value, value.as_object_mut()) {
                    marks.remove("x-kubernetes-list-type");
                }
                let mut out = json!({"additionalProperties": value, "type": "object"});
                if map.atomic {
                    out["x-kubernetes-map-type"] = "atomic".into();
                }
                out
            }
            Type::List(list) => {
                let mut out = json!({"items": self.ty(&list.elem), "type": "array"});
                match &list.kind {
                    ListKind::Atomic => out["x-kubernetes-list-type"] = "atomic".into(),
                    ListKind::Set => out["x-kubernetes-list-type"] = "set".into(),
                    ListKind::Map(keys) => {
                        out["x-kubernetes-list-type"] = "map".into();
                        out["x-kubernetes-list-map-keys"] = json!(keys);
                    }
                }
                out
            }
        }
    }
}
