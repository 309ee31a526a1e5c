//! ReplicationControllers and ControllerRevisions.

use jiff::Timestamp;
use knarr_json::Value;

use crate::{
    field::{Error, Errors, Path},
    selector::LabelSelector,
    strategy::{
        Column, Context, Strategy, common,
        defaults::{ensure, set},
        pod,
    },
    table,
    validation::{At, is_empty, list, meta, non_negative, status, text},
};

/// `v1/ReplicationController`.
pub struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        if !is_empty(&labels) {
            let spec = ensure(object, "spec");
            if is_empty(&spec["selector"]) {
                spec["selector"] = labels.clone();
            }
            let meta = ensure(object, "metadata");
            if is_empty(&meta["labels"]) {
                meta["labels"] = labels;
            }
        }
        let spec = ensure(object, "spec");
        set(spec, "replicas", 1);
        pod::defaults::template(spec);
        pod::round_template(spec);
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        check(&At::root(object, "spec"), None, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        let meta = ensure(object, "metadata");
        if is_empty(&meta["labels"]) && !is_empty(&labels) {
            meta["labels"] = labels;
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource == "status" {
            let s = At::root(object, "status");
            let counts = [
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
                "observedGeneration",
            ];
            status::counts(&s, &counts, &mut errs);
            let whole = "cannot be greater than status.replicas";
            for part in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
                status::at_most(&s, part, "replicas", whole, &mut errs);
            }
            status::at_most(
                &s,
                "availableReplicas",
                "readyReplicas",
                "cannot be greater than readyReplicas",
                &mut errs,
            );
        } else {
            check(&At::root(object, "spec"), Some(&old["spec"]), &mut errs);
        }
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        super::named_warnings(object, old)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn orphan_by_default(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.replicas",
            object["status"]["replicas"]
                .as_i64()
                .unwrap_or(0)
                .to_string(),
        )]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn columns(&self) -> Vec<Column> {
        let mut out = vec![
            table::name(),
            table::count(
                "Desired",
                "Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
            ),
            table::count(
                "Current",
                "Replicas is the most recently observed number of replicas. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
            ),
            table::count(
                "Ready",
                "The number of ready replicas for this replication controller.",
            ),
            table::age(),
        ];
        out.extend(super::wide_columns());
        out
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let number = |v: &Value| Value::from(v.as_i64().unwrap_or(0));
        let (names, images) = table::containers(&spec["template"]["spec"]["containers"]);
        vec![
            table::name_of(object),
            number(&spec["replicas"]),
            number(&status["replicas"]),
            number(&status["readyReplicas"]),
            table::age_of(object, now),
            names.into(),
            images.into(),
            table::labels(&spec["selector"]).into(),
        ]
    }
}

fn check(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    non_negative(spec, "minReadySeconds", errs);
    let selector = spec.get("selector");
    if is_empty(selector.v) {
        errs.push(selector.required(""));
    }
    // replicas are checked by the newer, declarative rules, whose findings come last
    let mut late = Errors::new();
    non_negative(spec, "replicas", &mut late);
    let template = spec.get("template");
    if template.v.is_null() {
        errs.push(template.required(""));
    } else {
        let labels = template.get("metadata").get("labels");
        let wanted = LabelSelector::from_map(selector.v);
        if !wanted.is_everything() && !wanted.matches_labels(labels.v) {
            errs.push(super::not_selected(&labels));
        }
        pod::validate::template(&template, old.map(|o| &o["template"]), errs);
        super::runs_forever(&template.get("spec"), "ReplicationController", errs);
    }
    errs.extend(late);
}

/// `apps/v1/ControllerRevision`.
pub struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        revision(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        revision(object, &mut errs);
        if object["data"] != old["data"] {
            let path = Path::new("data");
            errs.push(Error::invalid(
                &path,
                object["data"].clone(),
                "field is immutable",
            ));
        }
        errs
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column("Controller", "Controller of the object"),
            table::column(
                "Revision",
                "Revision indicates the revision of the state represented by Data.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let owner = list(&object["metadata"]["ownerReferences"])
            .iter()
            .find(|o| o["controller"] == true);
        let shown = owner.map_or_else(
            || "<none>".to_owned(),
            |o| {
                let group = text(o, "apiVersion").split_once('/').map_or("", |(g, _)| g);
                let kind = text(o, "kind").to_lowercase();
                let kind = if group.is_empty() {
                    kind
                } else {
                    format!("{kind}.{group}")
                };
                format!("{kind}/{}", text(o, "name"))
            },
        );
        let revision = object["revision"].as_i64().unwrap_or(0).into();
        vec![
            table::name_of(object),
            shown.into(),
            revision,
            table::age_of(object, now),
        ]
    }
}

fn revision(object: &Value, errs: &mut Errors) {
    let data = At::root(object, "data");
    if data.v.is_null() {
        errs.push(data.required("data is mandatory"));
    } else if !data.v.is_object() {
        errs.push(data.required("data must be a valid JSON object"));
    }
    let revision = At::root(object, "revision");
    if revision.v.as_i64().is_some_and(|n| n < 0) {
        errs.push(revision.invalid("must be greater than or equal to 0"));
    }
}
