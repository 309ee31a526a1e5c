//! Namespaces.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{Column, Context, Strategy, common, defaults::ensure};
use crate::{
    field::Errors,
    names, table,
    validation::{At, meta, text},
};

/// `v1/Namespace`.
pub struct Namespace;

impl Strategy for Namespace {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let name = text(&object["metadata"], "name").to_owned();
        if !name.is_empty() {
            // kept right by the server, so that namespaces can be selected by name
            ensure(ensure(object, "metadata"), "labels")["kubernetes.io/metadata.name"] =
                name.into();
        }
        super::defaults::set_text(ensure(object, "status"), "phase", "Active");
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        object["status"] = json!({"phase": "Active"});
        let spec = ensure(object, "spec");
        let finalizers = spec["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|f| f == "kubernetes") {
            spec["finalizers"] = [&finalizers[..], &[json!("kubernetes")]].concat().into();
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::label, &mut errs);
        finalizers(object, false, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        if ctx.subresource == "finalize" {
            common::keep(object, old, "status");
        } else {
            // the finalizers of a namespace's content are changed by /finalize only
            let finalizers = old["spec"]["finalizers"].clone();
            let spec = ensure(object, "spec");
            if finalizers.is_null() {
                common::clear(spec, "finalizers");
            } else {
                spec["finalizers"] = finalizers;
            }
            if ctx.subresource != "status" {
                common::keep(object, old, "status");
            }
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = match ctx.subresource.as_str() {
            "" => self.validate_create(ctx, object),
            _ => Errors::new(),
        };
        meta::update_core(object, old, &mut errs);
        match ctx.subresource.as_str() {
            "finalize" => finalizers(object, true, &mut errs),
            "status" => phase(object, &mut errs),
            _ => {}
        }
        errs
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::label(name, prefix)
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.phase", text(&object["status"], "phase").to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column("Status", "The status of the namespace"),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let phase = text(&object["status"], "phase").into();
        vec![table::name_of(object), phase, table::age_of(object, now)]
    }
}

/// Only those who change the finalizers are told which one is wrong.
fn finalizers(object: &Value, by_index: bool, errs: &mut Errors) {
    let all = At::root(object, "spec").get("finalizers");
    for mut f in all.each() {
        if !by_index {
            f.path = all.path.clone();
        }
        f.push(names::qualified_name(f.str()), errs);
        meta::standard_finalizer(&f, errs);
    }
}

/// A namespace is terminating exactly when it is being deleted.
fn phase(object: &Value, errs: &mut Errors) {
    let phase = At::root(object, "status").get_as("phase", "Phase");
    if object["metadata"]["deletionTimestamp"].is_null() {
        if phase.str() != "Active" {
            errs.push(phase.invalid("may only be 'Active' if `deletionTimestamp` is empty"));
        }
    } else if phase.str() != "Terminating" {
        errs.push(phase.invalid("may only be 'Terminating' if `deletionTimestamp` is not empty"));
    }
}
