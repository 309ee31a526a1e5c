//! Custom resources: one strategy for all of them, made from their definition.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use knarr_cel::{Budget, budget, rules};
use knarr_json::{Text, Value};

use super::{Column, Context, Strategy, common};
use crate::{
    custom::{self, Definition, Version, defaults, lists, meta, prune, validate},
    field::{Error, Errors, Kind, Path},
    go, names, table,
    validation::{
        At,
        meta::{self as checks, subdomain},
    },
};

/// The strategy of the resources that a definition describes.
pub struct Custom(pub Arc<Definition>);

/// What is said instead of the outcome of rules that were not run.
const RULES_SKIPPED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

impl Custom {
    fn version(&self, ctx: &Context) -> Option<&Version> {
        self.0.version(&ctx.version)
    }

    fn identity(&self, ctx: &Context, object: &Value) -> Errors {
        let wrong = |field: &str, wanted: &str| {
            let given = object[field].as_str().unwrap_or_default();
            (given != wanted)
                .then(|| Error::invalid(&Path::new(field), given, format!("must be {wanted}")))
        };
        let api_version = format!("{}/{}", self.0.group, ctx.version);
        wrong("kind", &self.0.kind)
            .or_else(|| wrong("apiVersion", &api_version))
            .into_iter()
            .collect()
    }

    /// What follows the schema: lists with keys, rules.
    fn beyond_schema(
        &self,
        version: &Version,
        object: &Value,
        old: Option<&Value>,
        errors: &mut Errors,
    ) {
        let root = Path::default();
        let schema = &version.schema;
        let repeated = lists::validate(&root, object, schema);
        let before = |old| lists::validate(&root, old, schema);
        if old.is_none_or(|old| repeated.is_empty() || before(old).is_empty()) {
            errors.extend(repeated);
        }
        let Some(validator) = &version.rules else {
            return;
        };
        if validate::blocks_rules(errors) {
            errors.push(Error::invalid(&root, Value::Null, RULES_SKIPPED));
            return;
        }
        let mut budget = Budget::new(budget::PER_REQUEST);
        let (violations, _) = validator.validate("", object, old, &mut budget);
        errors.extend(violations.into_iter().map(field_error));
    }
}

/// What is wrong with resources inside a resource.
fn embedded(version: &Version, object: &Value, errors: &mut Errors) {
    let root = Path::default();
    errors.extend(meta::validate_embedded(
        &root,
        object,
        &version.schema,
        false,
    ));
}

/// What is said of finalizers that are new and may be somebody else's, too.
fn finalizer_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    const STANDARD: [&str; 3] = ["foregroundDeletion", "kubernetes", "orphan"];
    let of = |object: &Value| -> BTreeSet<String> {
        let list = object["metadata"]["finalizers"].as_array();
        let names = list.into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    };
    let before = old.map(of).unwrap_or_default();
    let mut out = Vec::new();
    for name in of(object).difference(&before) {
        let said = |why: &str| format!("metadata.finalizers: {}: {why}", go::quote(name));
        out.extend(names::qualified_name(name).iter().map(|why| said(why)));
        if name.contains('/') || STANDARD.contains(&name.as_str()) {
            continue;
        }
        let including = if name.contains('.') {
            " including a path (/)"
        } else {
            ""
        };
        out.push(said(&format!(
            "prefer a domain-qualified finalizer name{including} to avoid accidental conflicts with other finalizer writers"
        )));
    }
    out
}

/// A violated rule as a field error.
pub(crate) fn field_error(violation: rules::Violation) -> Error {
    let kind = match violation.reason {
        rules::Reason::Invalid => Kind::Invalid,
        rules::Reason::Forbidden => Kind::Forbidden,
        rules::Reason::Required => Kind::Required,
        rules::Reason::Duplicate => Kind::Duplicate,
        rules::Reason::NotSupported => Kind::NotSupported,
        rules::Reason::Internal => Kind::Internal,
    };
    let path = Path::new(&violation.field);
    let value = violation.value.clone().unwrap_or_default();
    let mut error = Error::invalid(&path, value, violation.detail);
    error.kind = kind;
    error.omits_value = violation.value.is_none() && violation.shown.is_none();
    error.shown = violation.shown;
    error
}

impl Strategy for Custom {
    fn default(&self, ctx: &Context, object: &mut Value) {
        if let Some(version) = self.version(ctx) {
            if !self.0.preserve {
                prune::prune(object, &version.schema);
            }
            defaults::apply(object, &version.schema);
        }
    }

    fn prepare_create(&self, ctx: &Context, object: &mut Value) {
        if self.version(ctx).is_some_and(|v| v.status) {
            common::clear(object, "status");
        }
    }

    fn validate_create(&self, ctx: &Context, object: &Value) -> Errors {
        let mut errors = self.identity(ctx, object);
        let Some(version) = self.version(ctx).filter(|_| errors.is_empty()) else {
            return errors;
        };
        let metadata = At::root(object, "metadata");
        checks::create_any(&metadata, self.0.namespaced, subdomain, &mut errors);
        errors.extend(validate::validate(
            &Path::default(),
            object,
            &version.schema,
        ));
        if let Some(scale) = &version.scale {
            scale.validate(object, true, &mut errors);
        }
        embedded(version, object, &mut errors);
        self.beyond_schema(version, object, None, &mut errors);
        errors
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        let has_status = self.version(ctx).is_some_and(|v| v.status);
        match ctx.subresource.as_str() {
            "status" => only_status(object, old),
            _ if has_status => common::keep(object, old, "status"),
            _ => {}
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errors = self.identity(ctx, object);
        let Some(version) = self.version(ctx).filter(|_| errors.is_empty()) else {
            return errors;
        };
        checks::update(object, old, &mut errors);
        let is_status = ctx.subresource == "status";
        if is_status {
            if let (Some(status), Some(schema)) = (
                object.get("status"),
                version.schema.properties.get("status"),
            ) {
                let path = Path::new("status");
                errors.extend(validate::validate_update(
                    &path,
                    status,
                    &old["status"],
                    schema,
                ));
            }
        } else {
            let root = Path::default();
            errors.extend(validate::validate_update(
                &root,
                object,
                old,
                &version.schema,
            ));
        }
        if let Some(scale) = &version.scale {
            scale.validate(object, !is_status, &mut errors);
        }
        if !is_status {
            embedded(version, object, &mut errors);
        }
        self.beyond_schema(version, object, Some(old), &mut errors);
        errors
    }

    fn warnings(&self, ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        let rules = self.version(ctx).and_then(|v| v.rules.as_ref());
        if let (Some(rules), Some(old)) = (rules, old) {
            let mut budget = Budget::new(budget::PER_REQUEST);
            let (_, kept) = rules.validate("", object, Some(old), &mut budget);
            out.extend(kept.into_iter().map(|v| field_error(v).to_string()));
        }
        if ctx.subresource != "status" {
            out.extend(finalizer_warnings(object, old));
        }
        out
    }

    fn deprecated_at(&self, version: &str) -> Option<String> {
        self.0.version(version)?.warning.clone()
    }

    fn has_generation(&self) -> bool {
        true
    }

    /// Everything but metadata counts; the status only where it has no subresource, as else it cannot have changed.
    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        let keys = |v: &Value| v.as_object().map_or(0, |m| m.len());
        let changed =
            |(key, value): (&Text, &Value)| key != "metadata" && old.get(key) != Some(value);
        keys(object) != keys(old) || object.as_object().into_iter().flatten().any(changed)
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn selectable(&self, version: &str, field: &str) -> bool {
        let version = self.0.version(version);
        version.is_some_and(|v| v.selectable.iter().any(|s| s == field))
    }

    fn unknown_field(&self, field: &str) -> String {
        format!("field label not supported: {field}")
    }

    fn columns_at(&self, version: &str) -> Vec<Column> {
        let own = self.0.version(version).map(|v| v.columns.iter());
        let own = own.into_iter().flatten().map(|c| c.column.clone());
        std::iter::once(table::name()).chain(own).collect()
    }

    fn cells_at(&self, version: &str, object: &Value, now: Timestamp) -> Vec<Value> {
        let own = self.0.version(version).map(|v| v.columns.iter());
        let own = own.into_iter().flatten().map(|c| c.cell(object, now));
        std::iter::once(table::name_of(object)).chain(own).collect()
    }

    fn convert(&self, object: &mut Value, _from: &str, to: &str) {
        self.0.relabel(object, to);
    }
}

/// The old object with the status, and what was noted of who set it, of the new one.
fn only_status(object: &mut Value, old: &Value) {
    let status = object.get("status").cloned();
    let managed = object["metadata"]["managedFields"].clone();
    let revision = object["metadata"]["resourceVersion"].clone();
    let (api_version, kind) = (object["apiVersion"].clone(), object["kind"].clone());
    let mut out = old.clone();
    out["apiVersion"] = api_version;
    out["kind"] = kind;
    match status {
        Some(status) => out["status"] = status,
        None => common::clear(&mut out, "status"),
    }
    for (key, value) in [("managedFields", managed), ("resourceVersion", revision)] {
        if value.is_null() {
            common::clear(&mut out["metadata"], key);
        } else {
            out["metadata"][key] = value;
        }
    }
    *object = out;
}

/// The value of a selectable field as selectors compare it.
pub fn selectable_value(object: &Value, path: &str) -> String {
    match custom::at(object, path) {
        Some(Value::String(text)) => text.to_string(),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn new_finalizers_should_say_whose_they_are() {
        let of = |names: Value| json!({"metadata": {"finalizers": names}});
        let new = of(json!(["orphan", "e.com/x", "plain", "e.com", "old"]));
        let why = "to avoid accidental conflicts with other finalizer writers";
        assert_eq!(
            finalizer_warnings(&new, Some(&of(json!(["old"])))),
            [
                format!(
                    "metadata.finalizers: \"e.com\": prefer a domain-qualified finalizer name including a path (/) {why}"
                ),
                format!(
                    "metadata.finalizers: \"plain\": prefer a domain-qualified finalizer name {why}"
                ),
            ]
        );
        assert_eq!(finalizer_warnings(&new, Some(&new)), [""; 0]);
    }
}
