//! Jobs.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{printer, spec, status, update};
use crate::{
    field::{Error, Errors, Path},
    names,
    selector::LabelSelector,
    strategy::{
        Column, Context, Strategy, common,
        defaults::{at, each, ensure, set, set_text},
        pod,
    },
    validation::{At, has, is_empty, labels, meta, text},
};

/// `batch/v1/Job`.
pub struct Job;

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const FIELDS: &[&str] = &["status.successful"];

impl Strategy for Job {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        if !has(spec, "completions") && !has(spec, "parallelism") {
            set(spec, "completions", 1);
        }
        set(spec, "parallelism", 1);
        let limit = if has(spec, "backoffLimitPerIndex") {
            i64::from(i32::MAX)
        } else {
            6
        };
        set(spec, "backoffLimit", limit);
        set(spec, "completionMode", "NonIndexed");
        set(spec, "suspend", false);
        set(spec, "manualSelector", false);
        let replaced = if has(spec, "podFailurePolicy") {
            "Failed"
        } else {
            "TerminatingOrFailed"
        };
        set(spec, "podReplacementPolicy", replaced);
        failure_defaults(spec);
        let template_labels = spec["template"]["metadata"]["labels"].clone();
        pod::defaults::template(spec);
        pod::round_template(spec);
        let meta = ensure(object, "metadata");
        if template_labels.as_object().is_some_and(|l| !l.is_empty())
            && meta["labels"].as_object().is_none_or(|l| l.is_empty())
        {
            meta["labels"] = template_labels;
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
        let template = |o: &Value| o["spec"]["template"]["metadata"]["labels"].clone();
        // a Job without labels of its own has those of its template, generated ones too
        let own = object["metadata"]["labels"].clone();
        let shared = is_empty(&own) || own == template(object);
        if object["spec"]["manualSelector"] != true {
            generate_selector(object);
        }
        if shared && !is_empty(&template(object)) {
            object["metadata"]["labels"] = template(object);
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        check(object, true, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            meta::update_core(object, old, &mut errs);
            status::update(object, old, &mut errs);
            return errs;
        }
        let had = &old["spec"]["template"]["metadata"]["labels"];
        check(
            object,
            has(had, NAME_LABEL) && has(had, UID_LABEL),
            &mut errs,
        );
        meta::update_core(object, old, &mut errs);
        whole(&At::root(object, "spec"), &mut errs);
        update::fixed(object, old, &mut errs);
        errs
    }

    fn warnings(&self, ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        let spec = At::root(object, "spec");
        match old {
            None => common::pod_name_warning(object, &mut out),
            Some(_) if ctx.subresource == "status" => return out,
            Some(o) if o["metadata"]["generation"] == object["metadata"]["generation"] => {
                return out;
            }
            Some(_) => {}
        }
        out.extend(spec::warnings(&spec));
        out
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn orphan_by_default(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            FIELDS[0],
            object["status"]["succeeded"]
                .as_i64()
                .unwrap_or(0)
                .to_string(),
        )]
    }

    fn field_names(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn unknown_field(&self, field: &str) -> String {
        format!("field label {field:?} not supported for Job")
    }

    fn columns(&self) -> Vec<Column> {
        printer::columns()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        printer::cells(object, now)
    }
}

pub(super) fn failure_defaults(spec: &mut Value) {
    if let Some(policy) = at(spec, "podFailurePolicy") {
        for rule in each(policy, "rules") {
            for condition in each(rule, "onPodConditions") {
                set_text(condition, "status", "True");
            }
        }
    }
}

/// Labels by which a Job finds its pods, and the selector for them.
fn generate_selector(object: &mut Value) {
    let (name, uid) = (
        text(&object["metadata"], "name").to_owned(),
        text(&object["metadata"], "uid").to_owned(),
    );
    let template = ensure(ensure(object, "spec"), "template");
    let labels = ensure(ensure(template, "metadata"), "labels");
    for (key, value) in [
        ("job-name", &name),
        (NAME_LABEL, &name),
        ("controller-uid", &uid),
        (UID_LABEL, &uid),
    ] {
        set(labels, key, value.as_str());
    }
    let spec = ensure(object, "spec");
    let selector = ensure(spec, "selector");
    let wanted = ensure(selector, "matchLabels");
    set(wanted, UID_LABEL, uid);
}

/// Labels and selector that a Job without a selector of its own gets must be there, unchanged.
fn generated_selector(object: &Value, prefixed: bool, errs: &mut Errors) {
    let spec = At::root(object, "spec");
    let selector = spec.get("selector");
    if spec.v["manualSelector"] == true || selector.v.is_null() {
        return; // a missing selector is told with the rest of the spec
    }
    let meta = &object["metadata"];
    if text(meta, "uid").is_empty() {
        errs.push(Error::required(&Path::new("metadata").child("uid"), ""));
    }
    let labels = spec.get("template").get("metadata").get("labels");
    let mut expected = json!({});
    for (key, from, wanted) in [
        ("controller-uid", "uid", true),
        ("job-name", "name", true),
        (UID_LABEL, "uid", prefixed),
        (NAME_LABEL, "name", prefixed),
    ] {
        if wanted {
            has_label(&labels, key, text(meta, from), errs);
            expected[key] = text(meta, from).into();
        }
    }
    if LabelSelector::from_object(selector.v).is_ok_and(|s| !s.matches_labels(&expected)) {
        let shown = labels::selector_json(selector.v);
        errs.push(
            selector
                .invalid("`selector` not auto-generated")
                .showing(shown),
        );
    }
}

fn has_label(labels: &At, key: &str, value: &str, errs: &mut Errors) {
    let (path, words) = (labels.path.key(key), format!("must be '{value}'"));
    match labels.v.get(key).and_then(Value::as_str) {
        None => errs.push(Error::required(&path, words)),
        Some(v) if v != value => errs.push(Error::invalid(&path, labels.v.clone(), words)),
        Some(_) => {}
    }
}

/// Checks the spec of a Job itself, whose selector must select its pods.
fn whole(spec: &At, errs: &mut Errors) {
    spec::check(spec, errs);
    let selector = spec.get("selector");
    if selector.v.is_null() {
        errs.push(selector.required(""));
    } else {
        labels::selector(&selector, errs);
    }
    let template_labels = spec.get("template").get("metadata").get("labels");
    if LabelSelector::from_object(selector.v).is_ok_and(|s| !s.matches_labels(template_labels.v)) {
        errs.push(template_labels.invalid("`selector` does not match template `labels`"));
    }
}

/// Pods of an Indexed Job have its name and their index as host name.
fn host_names(object: &Value, errs: &mut Errors) {
    let spec = &object["spec"];
    let last = spec["completions"].as_i64().unwrap_or(0) - 1;
    if spec["completionMode"] != "Indexed" || last < 0 {
        return;
    }
    let name = At::root(object, "metadata").get("name");
    let host = format!("{}-{last}", name.str());
    if !names::dns1123_label(&host).is_empty() {
        errs.push(name.invalid(format!(
            "will not able to create pod with invalid DNS label: {host}"
        )));
    }
}

fn check(object: &Value, prefixed: bool, errs: &mut Errors) {
    meta::create(object, true, meta::subdomain, errs);
    generated_selector(object, prefixed, errs);
    whole(&At::root(object, "spec"), errs);
    host_names(object, errs);
}
