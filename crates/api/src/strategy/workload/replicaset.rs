//! ReplicaSets.

use jiff::Timestamp;
use knarr_json::Value;

use super::selector;
use crate::{
    field::Errors,
    strategy::{
        Column, Context, Strategy, common,
        defaults::{ensure, set},
        pod,
    },
    table,
    validation::{At, meta, non_negative, status},
};

/// `apps/v1/ReplicaSet`.
pub struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        set(spec, "replicas", 1);
        pod::defaults::template(spec);
        pod::round_template(spec);
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
        object["status"]["replicas"] = 0.into();
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        check(&At::root(object, "spec"), None, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource == "status" {
            check_status(object, &mut errs);
            return errs;
        }
        let spec = At::root(object, "spec");
        check(&spec, Some(&old["spec"]), &mut errs);
        super::immutable_selector(&spec, old, &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        super::named_warnings(object, old)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain(name, prefix)
    }

    fn columns(&self) -> Vec<Column> {
        let mut out = vec![
            table::name(),
            table::count(
                "Desired",
                "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
            ),
            table::count(
                "Current",
                "Replicas is the most recently observed number of non-terminating pods. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
            ),
            table::count(
                "Ready",
                "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition.",
            ),
            table::age(),
        ];
        out.extend(super::wide_columns());
        out
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let number = |v: &Value| Value::from(v.as_i64().unwrap_or(0));
        let mut out = vec![
            table::name_of(object),
            number(&spec["replicas"]),
            number(&status["replicas"]),
            number(&status["readyReplicas"]),
            table::age_of(object, now),
        ];
        out.extend(super::wide_cells(spec));
        out
    }
}

fn check(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    non_negative(spec, "replicas", errs);
    non_negative(spec, "minReadySeconds", errs);
    selector(spec, "deployment", errs);
    super::pod_template(spec, "ReplicaSet", old, errs);
}

fn check_status(object: &Value, errs: &mut Errors) {
    let s = At::root(object, "status");
    status::counts(
        &s,
        &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "terminatingReplicas",
            "observedGeneration",
        ],
        errs,
    );
    let whole = "cannot be greater than status.replicas";
    status::at_most(&s, "fullyLabeledReplicas", "replicas", whole, errs);
    status::at_most(&s, "readyReplicas", "replicas", whole, errs);
    status::at_most(&s, "availableReplicas", "replicas", whole, errs);
    status::at_most(
        &s,
        "availableReplicas",
        "readyReplicas",
        "cannot be greater than readyReplicas",
        errs,
    );
}
