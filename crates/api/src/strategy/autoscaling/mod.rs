//! HorizontalPodAutoscalers, `autoscaling/v1` and `autoscaling/v2`. They are stored as v2; what v1 has no field for travels in
//! annotations.

pub mod convert;
mod printer;
mod validate;

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{
    Column, Context, Strategy, common,
    defaults::{at, ensure, set},
};
use crate::{
    field::Errors,
    validation::{At, is_empty, meta, non_negative},
};

/// `autoscaling/v2/HorizontalPodAutoscaler` and its older version.
pub struct HorizontalPodAutoscaler;

/// The share of requested CPU that pods are kept at when nothing else is asked for.
const CPU_PERCENT: i64 = 80;

/// What the newest version makes of an object of either.
fn newest(object: &Value) -> Value {
    let mut object = object.clone();
    if object["apiVersion"] == "autoscaling/v1" {
        convert::to_v2(&mut object);
    }
    object
}

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, ctx: &Context, object: &mut Value) {
        set(ensure(object, "spec"), "minReplicas", 1);
        if ctx.version != "v1" {
            defaults(object);
        } else if object["metadata"]["annotations"][convert::METRICS].is_null() {
            set(&mut object["spec"], convert::CPU, CPU_PERCENT);
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let object = newest(object);
        let mut errs = Errors::new();
        meta::create(&object, true, meta::subdomain, &mut errs);
        validate::spec(&At::root(&object, "spec"), None, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let (object, old) = (newest(object), newest(old));
        let mut errs = Errors::new();
        meta::update_core(&object, &old, &mut errs);
        if ctx.subresource == "status" {
            let status = At::root(&object, "status");
            non_negative(&status, "currentReplicas", &mut errs);
            non_negative(&status, "desiredReplicas", &mut errs);
        } else {
            validate::spec(&At::root(&object, "spec"), Some(&old["spec"]), &mut errs);
        }
        errs
    }

    fn columns(&self) -> Vec<Column> {
        printer::columns()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        printer::cells(&newest(object), now)
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) {
        match (from, to) {
            ("autoscaling/v1", "autoscaling/v2") => convert::to_v2(object),
            ("autoscaling/v2", "autoscaling/v1") => convert::to_v1(object),
            _ => {}
        }
    }
}

/// Defaults of v2: a target of 80 % of the CPU, and rules for both directions when there are some for one.
fn defaults(object: &mut Value) {
    let spec = ensure(object, "spec");
    if is_empty(&spec["metrics"]) {
        spec["metrics"] = json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT}},
        }]);
    }
    let Some(behavior) = at(spec, "behavior") else {
        return;
    };
    let up = ensure(behavior, "scaleUp");
    set(up, "stabilizationWindowSeconds", 0);
    set(up, "selectPolicy", "Max");
    let steps = json!([
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ]);
    set(up, "policies", steps);
    let down = ensure(behavior, "scaleDown");
    set(down, "selectPolicy", "Max");
    let steps = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
    set(down, "policies", steps);
}
