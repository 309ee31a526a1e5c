//! DeviceClasses.

use jiff::Timestamp;
use knarr_json::Value;

use super::{devices, names};
use crate::{
    field::Errors,
    strategy::{Column, Context, Strategy, defaults::ensure},
    table,
    validation::{At, meta},
};

/// `resource.k8s.io/v1/DeviceClass`.
pub struct DeviceClass;

fn check(ctx: &Context, object: &Value, old: Option<&Value>, errs: &mut Errors) {
    let spec = At::root(object, "spec");
    let known = old.map_or(&Value::Null, |o| &o["spec"]["selectors"]);
    devices::selectors(ctx, &spec.get("selectors"), known, errs);
    devices::configurations(&spec.get("config"), errs);
    if let Some(name) = spec.some("extendedResourceName")
        && !names::is_extended_resource(name.str())
    {
        errs.push(name.invalid("must be a valid extended resource name"));
    }
}

impl Strategy for DeviceClass {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        ensure(object, "spec");
    }

    fn validate_create(&self, ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        check(ctx, object, None, &mut errs);
        errs
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        check(ctx, object, Some(old), &mut errs);
        errs
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![table::name(), table::age()]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![table::name_of(object), table::age_of(object, now)]
    }
}
