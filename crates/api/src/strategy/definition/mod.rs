//! CustomResourceDefinitions: what they are filled in with, what is checked, and what only the server writes.

pub mod approval;
mod columns;
mod conversion;
mod internal;
mod keywords;
mod lists;
mod names;
mod path;
mod rules;
mod schema;
mod spec;
mod structural;
mod value_defaults;

use jiff::Timestamp;
use knarr_json::{Map, Value, json};

use super::{Column, Context, Strategy, common, defaults};
use crate::{
    custom::format::Format,
    field::{Error, Errors, Path},
    table,
    validation::{At, meta},
};

pub use spec::is_structural;

/// The strategy of `customresourcedefinitions`.
pub struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = defaults::ensure(object, "spec");
        let names = defaults::ensure(spec, "names");
        let kind = names["kind"].as_str().unwrap_or_default().to_owned();
        if !kind.is_empty() {
            defaults::set_text(names, "listKind", &format!("{kind}List"));
        }
        defaults::set_text(names, "singular", &kind.to_lowercase());
        let conversion = defaults::ensure(spec, "conversion");
        defaults::set_text(conversion, "strategy", "None");
        if let Some(service) = conversion
            .get_mut("webhook")
            .and_then(|w| w.get_mut("clientConfig"))
            .and_then(|c| defaults::at(c, "service"))
        {
            defaults::set(service, "port", 443);
        }
        let stored = &object["status"]["storedVersions"];
        if stored.items().is_empty() {
            note_storage_version(object);
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        object["status"] = Value::Object(Map::new());
        note_storage_version(object);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errors = Errors::new();
        metadata(object, &mut errors);
        spec::validate(object, None, &mut errors);
        status(object, &mut errors);
        stored_versions(object, &mut errors);
        approval::validate(object, None, &mut errors);
        preserve(object, None, &mut errors);
        errors
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        if ctx.subresource == "status" {
            common::keep(object, old, "spec");
        } else {
            common::keep(object, old, "status");
            note_storage_version(object);
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errors = Errors::new();
        meta::update(object, old, &mut errors);
        if ctx.subresource == "status" {
            status(object, &mut errors);
            return errors;
        }
        spec::validate(object, Some(old), &mut errors);
        status(object, &mut errors);
        stored_versions(object, &mut errors);
        approval::validate(object, Some(old), &mut errors);
        preserve(object, Some(old), &mut errors);
        errors
    }

    fn warnings(&self, ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        if !ctx.subresource.is_empty() {
            return Vec::new();
        }
        let before = old.map(unrecognized_formats).unwrap_or_default();
        let mut found = unrecognized_formats(object);
        found.retain(|f| !before.contains(f));
        found
            .into_iter()
            .map(|f| format!("unrecognized format {f:?}"))
            .collect()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            Column {
                kind: "date".into(),
                ..table::column("Created At", table::AGE)
            },
        ]
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let meta = &object["metadata"];
        vec![meta["name"].clone(), meta["creationTimestamp"].clone()]
    }
}

/// The name of a definition is what it defines.
fn metadata(object: &Value, errors: &mut Errors) {
    let metadata = At::root(object, "metadata");
    meta::create_any(&metadata, false, meta::subdomain, errors);
    let at = metadata.get("name");
    let spec = &object["spec"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let wanted = format!(
        "{}.{}",
        text(&spec["names"]["plural"]),
        text(&spec["group"])
    );
    if !at.str().is_empty() && at.str() != wanted {
        // It belongs to what is wrong with the name, which stands first.
        let first = errors
            .iter()
            .rposition(|e| e.field == "metadata.name")
            .map_or(0, |i| i + 1);
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.insert(first, at.invalid(why));
    }
}

/// A new storage version is one that objects may be stored at.
fn note_storage_version(object: &mut Value) {
    let versions = object["spec"]["versions"].as_array();
    let storage = versions
        .into_iter()
        .flatten()
        .find(|v| v["storage"] == true)
        .map(|v| v["name"].clone());
    let Some(storage) = storage else { return };
    let status = defaults::ensure(object, "status");
    match status
        .get_mut("storedVersions")
        .and_then(Value::as_array_mut)
    {
        Some(stored) if stored.contains(&storage) => {}
        Some(stored) => stored.push(storage),
        None => status["storedVersions"] = json!([storage]),
    }
}

fn status(object: &Value, errors: &mut Errors) {
    let status = At::root(object, "status");
    names::validate(&status.get("acceptedNames"), errors);
}

fn stored_versions(object: &Value, errors: &mut Errors) {
    let stored = At::root(object, "status").get("storedVersions");
    let list = stored.v.items();
    if list.is_empty() {
        let why = "must have at least one stored version";
        errors.push(Error::invalid(&stored.path, stored.v.clone(), why));
        return;
    }
    let versions = object["spec"]["versions"].as_array();
    let versions = versions.map_or(&[][..], |v| v);
    for version in versions.iter().filter(|v| v["storage"] == true) {
        if !list.contains(&version["name"]) {
            let name = version["name"].as_str().unwrap_or_default();
            errors.push(stored.invalid(format!("must have the storage version {name}")));
        }
    }
    for version in stored.each() {
        if !versions.iter().any(|v| v["name"] == *version.v) {
            let v = version.str();
            errors.push(version.invalid(format!("missing from spec.versions; {v} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {v} and removes {v} from status.storedVersions")));
        }
    }
}

/// Definitions of v1 prune; only old ones that never did may go on so.
fn preserve(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let kept = |o: &Value| o["spec"]["preserveUnknownFields"] == true;
    if kept(object) && !old.is_some_and(kept) {
        let path = Path::new("spec").child("preserveUnknownFields");
        errors.push(Error::invalid(&path, true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"));
    }
}

/// Formats in schemas that mean nothing, sorted.
fn unrecognized_formats(object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let versions = object["spec"]["versions"].as_array();
    for version in versions.into_iter().flatten() {
        spec::each_schema(&version["schema"]["openAPIV3Schema"], &mut |schema| {
            let format = schema["format"].as_str().unwrap_or_default();
            let kind = schema["type"].as_str().unwrap_or_default();
            if !format.is_empty() && !Format::is_recognized(format, kind) {
                out.push(format.to_owned());
            }
        });
    }
    out.sort();
    out.dedup();
    out
}
