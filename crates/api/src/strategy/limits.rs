//! LimitRanges, ResourceQuotas and PodTemplates.

mod quota;
mod range;

use jiff::Timestamp;
use knarr_json::Value;

use super::{
    Column, Context, Strategy, common,
    defaults::{each, ensure, set},
    pod,
};
use crate::{
    field::Errors,
    table,
    validation::{At, amount::Amount, map, meta, text},
};

/// `v1/LimitRange`.
pub struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        for limit in each(ensure(object, "spec"), "limits") {
            if limit["type"] != "Container" {
                continue;
            }
            for (from, to) in [
                ("max", "default"),
                ("default", "defaultRequest"),
                ("min", "defaultRequest"),
            ] {
                let given = map(limit, from).cloned().unwrap_or_default();
                if given.is_empty() {
                    continue;
                }
                let filled = ensure(limit, to);
                for (name, quantity) in given {
                    set(filled, &name, quantity);
                }
            }
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        range::check(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        range::check(object, &mut errs);
        meta::update_core(object, old, &mut errs);
        errs
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

/// `v1/ResourceQuota`.
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        quota::spec(&At::root(object, "spec"), &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource == "status" {
            quota::status(&At::root(object, "status"), &mut errs);
        } else {
            let spec = At::root(object, "spec");
            quota::spec(&spec, &mut errs);
            let scopes = spec.get("scopes");
            if !quota::same_scopes(scopes.v, &old["spec"]["scopes"]) {
                errs.push(scopes.invalid("field is immutable"));
            }
        }
        errs
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Request",
                "Request represents a minimum amount of cpu/memory that a container may consume.",
            ),
            table::column(
                "Limit",
                "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = &object["status"];
        let shown = |limits: bool| {
            let all = map(status, "hard")
                .into_iter()
                .flatten()
                .filter(|(name, _)| name.starts_with("limits.") == limits);
            let each = all.map(|(name, hard)| {
                format!(
                    "{name}: {}/{}",
                    Amount::of(&status["used"][name]),
                    Amount::of(hard)
                )
            });
            Value::from(each.collect::<Vec<_>>().join(", "))
        };
        vec![
            table::name_of(object),
            shown(false),
            shown(true),
            table::age_of(object, now),
        ]
    }
}

/// `v1/PodTemplate`.
pub struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        pod::defaults::template(object);
        pod::round_template(object);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        pod::validate::template(&At::root(object, "template"), None, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        pod::validate::template(
            &At::root(object, "template"),
            Some(&old["template"]),
            &mut errs,
        );
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some_and(|o| o["template"] == object["template"]) {
            Vec::new()
        } else {
            pod::warnings::template(&At::root(object, "template"))
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        object["template"] != old["template"]
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column("Containers", "Names of each container in the template."),
            table::column(
                "Images",
                "Images referenced by each container in the template.",
            ),
            table::column("Pod Labels", "The labels for the pod template."),
        ]
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let (names, images) = table::containers(&object["template"]["spec"]["containers"]);
        let labels = table::labels(&object["template"]["metadata"]["labels"]);
        vec![
            text(&object["metadata"], "name").into(),
            names.into(),
            images.into(),
            labels.into(),
        ]
    }
}
