//! Leases.

use jiff::Timestamp;
use knarr_json::Value;

use super::{Column, Context, Strategy, common};
use crate::{
    field::Errors,
    table,
    validation::{At, meta, non_negative, text},
};

/// `coordination.k8s.io/v1/Lease`.
pub struct Lease;

/// Drops what only coordinated elections use, which are off, unless it was there before.
fn without_coordination(object: &mut Value, old: Option<&Value>) {
    for key in ["strategy", "preferredHolder"] {
        if old.is_none_or(|o| o["spec"][key].is_null())
            && let Some(spec) = object.get_mut("spec")
        {
            common::clear(spec, key);
        }
    }
}

impl Strategy for Lease {
    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        without_coordination(object, None);
    }

    fn prepare_update(&self, _ctx: &Context, object: &mut Value, old: &Value) {
        without_coordination(object, Some(old));
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        check(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        check(object, &mut errs);
        errs
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Holder",
                "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let holder = text(&object["spec"], "holderIdentity").into();
        vec![table::name_of(object), holder, table::age_of(object, now)]
    }
}

fn check(object: &Value, errs: &mut Errors) {
    let spec = At::root(object, "spec");
    if spec.int("leaseDurationSeconds").is_some_and(|s| s <= 0) {
        errs.push(
            spec.get("leaseDurationSeconds")
                .invalid("must be greater than 0"),
        );
    }
    non_negative(&spec, "leaseTransitions", errs);
    if let Some(holder) = spec.some("holderIdentity").filter(|h| h.str().is_empty()) {
        errs.push(holder.invalid("must not be empty"));
    }
}
