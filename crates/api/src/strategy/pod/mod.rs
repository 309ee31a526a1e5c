//! Pods.

mod apparmor;
pub(in crate::strategy) mod defaults;
mod image;
mod labels;
mod printer;
pub(in crate::strategy) mod resources;
pub(in crate::strategy) mod validate;
pub(in crate::strategy) mod warnings;

pub(in crate::strategy) use validate::node_selector;

use knarr_json::{Value, json};

use super::{Column, Context, Strategy, common};
use crate::{
    field::Errors,
    validation::{list, meta, text},
};

/// `v1/Pod`.
pub struct Pod;

const FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    // Can be asked for, but no pod has it: it counts as empty.
    "status.podIPs",
    "status.nominatedNodeName",
];

impl Strategy for Pod {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        defaults::pod(object);
        round_resources(&mut object["spec"]);
        defaults::pod_ips(object);
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
        let class = resources::qos(object);
        object["status"] = json!({"phase": "Pending", "qosClass": class});
        if object["spec"]["terminationGracePeriodSeconds"]
            .as_i64()
            .is_some_and(|s| s < 0)
        {
            object["spec"]["terminationGracePeriodSeconds"] = json!(1);
        }
        labels::merge_match_label_keys(object);
        gated_condition(object);
        apparmor::fields(object);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        validate::create(object, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        match ctx.subresource.as_str() {
            "status" => prepare_status(object, old),
            "ephemeralcontainers" => only(object, old, |spec, asked| {
                common::keep(spec, asked, "ephemeralContainers");
            }),
            "resize" => only(object, old, keep_resizes),
            _ => {
                common::keep(object, old, "status");
                if object["spec"]["terminationGracePeriodSeconds"]
                    .as_i64()
                    .is_some_and(|s| s < 0)
                    && old["spec"]["terminationGracePeriodSeconds"]
                        .as_i64()
                        .is_none_or(|s| s >= 0)
                {
                    object["spec"]["terminationGracePeriodSeconds"] = json!(1);
                }
            }
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        match ctx.subresource.as_str() {
            "status" => validate::status(object, old, &mut errs),
            "ephemeralcontainers" => validate::ephemeral_containers(object, old, &mut errs),
            "resize" => validate::resize(object, old, &mut errs),
            _ => validate::update(object, old, &mut errs),
        }
        errs
    }

    /// Only about new pods: people seldom change pods themselves, and programs do it all the time.
    fn warnings(&self, ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        match (old, ctx.subresource.as_str()) {
            (None, _) => warnings::pod(object),
            (Some(_), "status") => warnings::status(object),
            _ => Vec::new(),
        }
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain(name, prefix)
    }

    fn grace_period(&self, object: &Value, asked: Option<i64>) -> Option<i64> {
        let spec = &object["spec"];
        let wanted = asked
            .or(spec["terminationGracePeriodSeconds"].as_i64())
            .unwrap_or(30);
        let ended = ["Failed", "Succeeded"].contains(&text(&object["status"], "phase"));
        if text(spec, "nodeName").is_empty() || ended {
            return Some(0);
        }
        Some(if wanted < 0 { 1 } else { wanted })
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let ips = list(&status["podIPs"]);
        let ip = ips
            .first()
            .map_or_else(|| text(status, "podIP"), |ip| text(ip, "ip"));
        vec![
            ("spec.nodeName", text(spec, "nodeName").to_owned()),
            ("spec.restartPolicy", text(spec, "restartPolicy").to_owned()),
            ("spec.schedulerName", text(spec, "schedulerName").to_owned()),
            (
                "spec.serviceAccountName",
                text(spec, "serviceAccountName").to_owned(),
            ),
            (
                "spec.hostNetwork",
                (spec["hostNetwork"] == true).to_string(),
            ),
            ("status.phase", text(status, "phase").to_owned()),
            ("status.podIP", ip.to_owned()),
            (
                "status.nominatedNodeName",
                text(status, "nominatedNodeName").to_owned(),
            ),
        ]
    }

    fn field_names(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn field_today<'a>(&self, field: &'a str) -> &'a str {
        match field {
            "spec.host" => "spec.nodeName",
            _ => field,
        }
    }

    fn row_conditions(&self, object: &Value) -> Vec<Value> {
        printer::row_conditions(object)
    }

    fn columns(&self) -> Vec<Column> {
        printer::columns()
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        printer::cells(object, now)
    }
}

/// Makes `object` the old one again but for its revision and what `take` takes of the spec that was asked for.
fn only(object: &mut Value, old: &Value, take: fn(&mut Value, &Value)) {
    let asked = std::mem::replace(object, old.clone());
    for key in ["resourceVersion", "managedFields"] {
        common::keep_meta(object, &asked, key);
    }
    take(&mut object["spec"], &asked["spec"]);
}

/// What a resize may change: resources and resize policies of containers, and resources of the pod. When the containers are
/// not the same, all is kept for validation to see.
fn keep_resizes(spec: &mut Value, asked: &Value) {
    let names = |spec: &Value, key: &str| -> Vec<Value> {
        list(&spec[key]).iter().map(|c| c["name"].clone()).collect()
    };
    for key in ["containers", "initContainers"] {
        if names(spec, key) != names(asked, key) {
            common::keep(spec, asked, key);
            continue;
        }
        for (c, wanted) in super::defaults::each(spec, key).zip(list(&asked[key])) {
            common::keep(c, wanted, "resources");
            common::keep(c, wanted, "resizePolicy");
        }
    }
    common::keep(spec, asked, "resources");
}

/// Rounds every container's quantities as the original does on decoding.
pub(in crate::strategy) fn round_resources(spec: &mut Value) {
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        for c in super::defaults::each(spec, key) {
            if let Some(r) = super::defaults::at(c, "resources") {
                resources::round_up(r);
            }
        }
    }
}

/// [`round_resources`] of a workload's template.
pub(in crate::strategy) fn round_template(workload_spec: &mut Value) {
    if let Some(spec) =
        super::defaults::at(workload_spec, "template").and_then(|t| super::defaults::at(t, "spec"))
    {
        round_resources(spec);
    }
}

/// A status update keeps the spec and what decides about deletion.
fn prepare_status(object: &mut Value, old: &Value) {
    common::keep(object, old, "spec");
    common::keep_meta(object, old, "deletionTimestamp");
    common::keep_meta(object, old, "ownerReferences");
    let class = text(&old["status"], "qosClass");
    if text(&object["status"], "qosClass").is_empty() && !class.is_empty() {
        object["status"]["qosClass"] = class.into();
    }
    keep_observed(&mut object["status"], &old["status"]);
}

/// A client that knows nothing of observed generations does not take them away.
fn keep_observed(status: &mut Value, old: &Value) {
    const KEY: &str = "observedGeneration";
    let of = |v: &Value| v[KEY].as_i64().unwrap_or(0);
    if of(status) == 0 && of(old) != 0 {
        status[KEY] = old[KEY].clone();
    }
    let mut before: Vec<&Value> = list(&old["conditions"]).iter().collect();
    for c in super::defaults::each(status, "conditions") {
        let Some(i) = before.iter().position(|o| o["type"] == c["type"]) else {
            continue;
        };
        let was = of(before.remove(i));
        if of(c) == 0 && was != 0 {
            c[KEY] = was.into();
        }
    }
}

/// A new pod with gates says why it is not scheduled.
fn gated_condition(object: &mut Value) {
    if list(&object["spec"]["schedulingGates"]).is_empty() {
        return;
    }
    let now = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    object["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates", "lastProbeTime": null, "lastTransitionTime": now}]);
}
