//! Custom resources: what a CustomResourceDefinition makes of the objects of its kind.
//!
//! A [`Definition`] is compiled once per generation of its object and shared by all requests. Its versions have schemas,
//! columns, rules and selectable fields; walking them clones nothing.

pub mod columns;
pub mod defaults;
pub mod format;
pub mod jsonpath;
pub mod lists;
pub mod meta;
mod number;
pub mod openapi;
pub mod pattern;
pub mod prune;
mod scale;
pub mod schema;
pub mod shape;
pub mod validate;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use knarr_cel::rules;
use knarr_json::Value;

pub use columns::PrinterColumn;
pub use scale::Scale;
pub use schema::Schema;

use crate::{decode, field::Path};

/// A definition compiled.
#[derive(Debug)]
pub struct Definition {
    /// `widgets.example.com`.
    pub name: String,
    pub group: String,
    pub kind: String,
    pub namespaced: bool,
    /// Fields that schemas do not know are kept (`spec.preserveUnknownFields`, of definitions older than v1).
    pub preserve: bool,
    /// All versions, served or not, in the order of the definition.
    pub versions: Vec<Version>,
    /// Index of the version that objects are stored at.
    pub storage: usize,
    /// `spec.conversion.webhook`, when conversion is its work.
    pub webhook: Option<Value>,
}

/// One version of a definition.
#[derive(Debug)]
pub struct Version {
    pub name: String,
    pub served: bool,
    /// What users of a deprecated version are told.
    pub warning: Option<String>,
    pub schema: Schema,
    /// The schema as it was written, as text: documents are made of it, rarely.
    pub written: Box<str>,
    pub columns: Vec<PrinterColumn>,
    pub status: bool,
    pub scale: Option<Scale>,
    /// Paths of selectable fields: `spec.colour`.
    pub selectable: Vec<String>,
    pub rules: Option<rules::Validator>,
}

impl Definition {
    /// Compiles a CustomResourceDefinition.
    pub fn compile(crd: &Value) -> Definition {
        let spec = &crd["spec"];
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let given = spec["versions"].items();
        let group = text(&spec["group"]);
        let kind = text(&crd["status"]["acceptedNames"]["kind"]);
        let kind = if kind.is_empty() {
            text(&spec["names"]["kind"])
        } else {
            kind
        };
        let versions: Vec<Version> = given.iter().map(Version::compile).collect();
        let mut out = Definition {
            name: text(&crd["metadata"]["name"]),
            namespaced: spec["scope"] == "Namespaced",
            preserve: spec["preserveUnknownFields"] == true,
            storage: given.iter().position(|v| v["storage"] == true).unwrap_or(0),
            webhook: (spec["conversion"]["strategy"] == "Webhook")
                .then(|| spec["conversion"]["webhook"].clone()),
            versions,
            group,
            kind,
        };
        out.word_warnings(given);
        out
    }

    /// Deprecated versions without a text of their own get the standard one.
    fn word_warnings(&mut self, given: &[Value]) {
        let newest = self.successor(given);
        let (group, kind) = (&self.group, &self.kind);
        for (version, given) in self.versions.iter_mut().zip(given) {
            if given["deprecated"] != true {
                continue;
            }
            let own = given["deprecationWarning"].as_str().map(str::to_owned);
            version.warning = Some(own.unwrap_or_else(|| {
                let mut text = format!("{group}/{} {kind} is deprecated", version.name);
                if let Some(newest) = newest.as_ref().filter(|n| **n != version.name) {
                    text.push_str(&format!("; use {group}/{newest} {kind}"));
                }
                text
            }));
        }
    }

    /// The version to use instead of a deprecated one: the first by priority that is served and not deprecated.
    fn successor(&self, given: &[Value]) -> Option<String> {
        let mut good: Vec<&str> = given
            .iter()
            .filter(|v| v["served"] == true && v["deprecated"] != true)
            .filter_map(|v| v["name"].as_str())
            .collect();
        good.sort_by(|a, b| compare_versions(a, b));
        good.first().map(|v| (*v).to_owned())
    }

    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|v| v.name == name)
    }

    /// The version of an `apiVersion` of this group.
    pub fn version_of(&self, api_version: &str) -> Option<&Version> {
        let (group, version) = api_version.split_once('/')?;
        (group == self.group).then(|| self.version(version))?
    }

    /// Brings a body to its schema: metadata to its type, unknown fields dropped. Gives strict errors.
    ///
    /// # Errors
    /// Go's words for metadata of the wrong type.
    pub fn coerce(&self, version: &str, object: &mut Value) -> Result<Vec<String>, String> {
        normalize(object);
        let mut strict = meta::coerce_root(object)?;
        let Some(version) = self.version(version) else {
            return Ok(strict);
        };
        if !self.preserve {
            let dropped = prune::prune(object, &version.schema);
            strict.extend(dropped.iter().map(|path| format!("unknown field {path:?}")));
        }
        meta::coerce_embedded(&Path::default(), object, &version.schema, false)
            .map_err(|e| e.to_string())?;
        strict.sort();
        Ok(strict)
    }

    /// Brings a stored object to what the schema of its version makes of it now: pruned and with defaults.
    pub fn freshen(&self, object: &mut Value) {
        let api_version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        let Some(version) = self.version_of(&api_version) else {
            return;
        };
        if !self.preserve {
            prune::prune(object, &version.schema);
        }
        defaults::apply(object, &version.schema);
    }

    /// Brings an object from one version to another that has the same fields: conversion `None`.
    pub fn relabel(&self, object: &mut Value, api_version: &str) {
        object["apiVersion"] = api_version.into();
        if let Some(version) = self.version_of(api_version)
            && !self.preserve
        {
            prune::prune(object, &version.schema);
        }
    }
}

impl Version {
    fn compile(version: &Value) -> Version {
        let written = &version["schema"]["openAPIV3Schema"];
        let subresources = &version["subresources"];
        let paths = version["selectableFields"].as_array().into_iter().flatten();
        let schema = if written.is_object() {
            Schema::compile(written)
        } else {
            Schema {
                preserve: true,
                ..Schema::default()
            }
        };
        Version {
            name: version["name"].as_str().unwrap_or_default().to_owned(),
            served: version["served"] == true,
            warning: None,
            rules: schema
                .below
                .rules
                .then(|| rules::Validator::new(written))
                .flatten(),
            schema,
            written: written.to_string().into(),
            columns: columns::compile(&version["additionalPrinterColumns"]),
            status: subresources["status"].is_object(),
            scale: Scale::compile(&subresources["scale"]),
            selectable: paths
                .filter_map(|p| Some(p["jsonPath"].as_str()?.trim_start_matches('.').to_owned()))
                .collect(),
        }
    }
}

/// Numbers as Go's decoder takes them: what does not fit 64 bits is a float, floats without a fraction print without one.
fn normalize(value: &mut Value) {
    match value {
        Value::Number(n) if !n.is_i64() => {
            if let Some(number) = n.as_f64().and_then(decode::yaml::number) {
                *value = number;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Object(map) => map.values_mut().for_each(normalize),
        _ => {}
    }
}

/// Kubernetes' order of versions: stable before beta before alpha, newer before older, other names last.
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor of `v1beta2`.
fn parse_version(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let major = rest[..end].parse().ok()?;
    let (stability, minor) = match &rest[end..] {
        "" => return Some((2, major, 0)),
        rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(minor), _) => (1, minor),
            (_, Some(minor)) => (0, minor),
            _ => return None,
        },
    };
    Some((stability, major, minor.parse().ok()?))
}

/// The value at a dotted path of fields.
pub fn at<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.')
        .try_fold(object, |value, key| value.get(key))
}

/// What the registry knows of a custom resource beyond what it knows of every resource.
#[derive(Debug)]
pub struct Origin {
    pub definition: Arc<Definition>,
    /// Objects written at this revision or later are as the definition makes them; older ones may lack defaults or have
    /// fields that are no more.
    pub fresh_from: AtomicU64,
}

impl Origin {
    pub fn is_fresh(&self, revision: u64) -> bool {
        revision >= self.fresh_from.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = ["foo1", "v1alpha1", "v10", "v2beta1", "v2", "v1beta2", "bar"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(
            versions,
            ["v10", "v2", "v2beta1", "v1beta2", "v1alpha1", "bar", "foo1"]
        );
    }

    #[test]
    fn deprecated_versions_are_told_of() {
        let version = |name: &str, extra: Value| {
            let mut out = json!({"name": name, "served": true, "storage": name == "v1", "schema": {"openAPIV3Schema": {"type": "object"}}});
            for (key, value) in extra.as_object().into_iter().flatten() {
                out[key] = value.clone();
            }
            out
        };
        let crd = json!({"metadata": {"name": "lamps.e.com"}, "spec": {"group": "e.com", "names": {"kind": "Lamp"}, "versions": [
            version("v1alpha1", json!({"deprecated": true})),
            version("v1beta1", json!({"deprecated": true, "deprecationWarning": "soon"})),
            version("v1", json!({}))]}});
        let definition = Definition::compile(&crd);
        let warnings: Vec<Option<&str>> = definition
            .versions
            .iter()
            .map(|v| v.warning.as_deref())
            .collect();
        assert_eq!(
            warnings,
            [
                Some("e.com/v1alpha1 Lamp is deprecated; use e.com/v1 Lamp"),
                Some("soon"),
                None
            ]
        );
        assert_eq!(definition.storage, 2);
    }
}
