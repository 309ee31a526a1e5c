//! ResourceClaims, and the templates that pods make them from.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{devices, status};
use crate::{
    field::Errors,
    strategy::{Column, Context, Strategy, common, defaults::at},
    table,
    validation::{At, immutable_struct, labels, list, meta},
};

/// `resource.k8s.io/v1/ResourceClaim`.
pub struct ResourceClaim;

/// The spec of a claim as Go knows it.
pub const LAYOUT: &str = "Devices{Requests[Name'' Exactly*{DeviceClassName'' Selectors[CEL*{Expression''}] AllocationMode'' Count0 AdminAccess. Tolerations[Key'' Operator'' Value'' Effect'' TolerationSeconds.] Capacity*{Requests.}} FirstAvailable[Name'' DeviceClassName'' Selectors[CEL*{Expression''}] AllocationMode'' Count0 Tolerations[Key'' Operator'' Value'' Effect'' TolerationSeconds.] Capacity*{Requests.}]] Constraints[Requests. MatchAttribute. DistinctAttribute.] Config[Requests. Opaque*{Driver'' Parameters.}]}";

impl Strategy for ResourceClaim {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        if let Some(devices) = at(object, "spec").and_then(|s| at(s, "devices")) {
            devices::default(devices);
        }
        if let Some(devices) = at(object, "status")
            .and_then(|s| at(s, "allocation"))
            .and_then(|a| at(a, "devices"))
        {
            status::default(devices);
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        let devices = At::root(object, "spec").get("devices");
        let requests = devices.get("requests");
        devices::admin_access(ctx, requests.v, &requests.path, &mut errs);
        meta::create(object, true, meta::subdomain, &mut errs);
        devices::claim(ctx, &devices, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        if ctx.subresource == "status" {
            common::keep_meta_of_status(object, old);
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            let devices = At::root(object, "status").get("allocation").get("devices");
            let results = devices.get("results");
            let before = &old["status"]["allocation"]["devices"]["results"];
            if !list(before).iter().any(devices::wants_admin_access) {
                devices::admin_access(ctx, results.v, &results.path, &mut errs);
            }
            meta::update_core(object, old, &mut errs);
            status::update(object, old, &mut errs);
        } else {
            meta::update_core(object, old, &mut errs);
            immutable_struct(&At::root(object, "spec"), &old["spec"], LAYOUT, &mut errs);
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
                "State",
                "A summary of the current state (allocated, pending, reserved, etc.).",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            table::name_of(object),
            state(object).into(),
            table::age_of(object, now),
        ]
    }
}

fn state(object: &Value) -> String {
    let status = &object["status"];
    let deleted = object["metadata"]["deletionTimestamp"].is_string();
    let mut states = Vec::new();
    if deleted {
        states.push("deleted");
    }
    if status["allocation"].is_null() {
        if !deleted {
            states.push("pending");
        }
    } else {
        states.push("allocated");
        if !list(&status["reservedFor"]).is_empty() {
            states.push("reserved");
        }
    }
    states.join(",")
}

/// `resource.k8s.io/v1/ResourceClaimTemplate`.
pub struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        if let Some(devices) = at(object, "spec")
            .and_then(|s| at(s, "spec"))
            .and_then(|s| at(s, "devices"))
        {
            devices::default(devices);
        }
    }

    fn validate_create(&self, ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        let spec = At::root(object, "spec");
        let devices = spec.get("spec").get("devices");
        let base = At::root(object, "spec")
            .path
            .child("devices")
            .child("requests");
        devices::admin_access(ctx, &devices.v["requests"], &base, &mut errs);
        meta::create(object, true, meta::subdomain, &mut errs);
        let metadata = spec.get("metadata");
        labels::annotations(&metadata.get("annotations"), &mut errs);
        labels::labels(&metadata.get("labels"), &mut errs);
        devices::claim(ctx, &devices, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        let spec = At::root(object, "spec");
        if *spec.v != old["spec"] {
            let claim = crate::validation::go::dump(
                &json!({"spec": spec.v["spec"]}),
                &format!("Spec{{{LAYOUT}}}"),
            );
            let shown = template(&spec.v["metadata"], &claim);
            errs.push(spec.invalid("field is immutable").showing(shown));
        }
        errs
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

/// A template's metadata has JSON names and lies beside its spec, which has none.
fn template(metadata: &Value, claim: &str) -> String {
    let mut parts: Vec<String> = metadata
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, v)| !v.is_null())
        .map(|(k, v)| format!("{}:{v}", Value::from(k.as_str())))
        .collect();
    parts.push(
        claim
            .trim_start_matches('{')
            .trim_end_matches('}')
            .to_owned(),
    );
    let open = claim.len() - claim.trim_end_matches('}').len();
    format!("{{{}{}", parts.join(","), "}".repeat(open))
}
