//! Jobs.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::failure;
use crate::{
    field::{Error, Errors},
    selector::LabelSelector,
    strategy::{
        Column, Context, Strategy, common,
        defaults::{at, each, ensure, set, set_text},
        pod,
    },
    table,
    validation::{At, has, immutable, is_empty, labels, list, meta, non_negative, text},
};

/// `batch/v1/Job`.
pub struct Job;

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
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
        meta::create(object, true, meta::subdomain, &mut errs);
        if text(&object["metadata"], "name").len() > 63
            && object["spec"]["completionMode"] == "Indexed"
        {
            let name = At::root(object, "metadata").get("name");
            errs.push(name.invalid("must be no more than 63 characters"));
        }
        generated_selector(object, &mut errs);
        let spec = At::root(object, "spec");
        whole(&spec, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            meta::update_core(object, old, &mut errs);
            let s = At::root(object, "status");
            for key in ["active", "succeeded", "failed", "ready", "terminating"] {
                non_negative(&s, key, &mut errs);
            }
            return errs;
        }
        errs = self.validate_create(ctx, object);
        meta::update_core(object, old, &mut errs);
        let spec = At::root(object, "spec");
        whole(&spec, &mut errs);
        fixed(&spec, &old["spec"], &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let template = At::root(object, "spec").get("template");
        pod::warnings::template(&template)
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
        vec![
            table::name(),
            table::column("Status", "Status of the job."),
            table::column(
                "Completions",
                "Number of pods that completed, of those that should.",
            ),
            table::column("Duration", "Time required to complete the job."),
            table::age(),
            table::wide("Containers", "Names of each container in the template."),
            table::wide(
                "Images",
                "Images referenced by each container in the template.",
            ),
            table::wide(
                "Selector",
                "A label query over pods that should match the pod count.",
            ),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let (names, images) = table::containers(&spec["template"]["spec"]["containers"]);
        vec![
            table::name_of(object),
            state(object).into(),
            completions(spec, status).into(),
            duration(status, now).into(),
            table::age_of(object, now),
            names.into(),
            images.into(),
            table::selector(&spec["selector"]).into(),
        ]
    }
}

fn state(object: &Value) -> &'static str {
    let holds = |kind: &str| {
        list(&object["status"]["conditions"])
            .iter()
            .any(|c| text(c, "type") == kind && text(c, "status") == "True")
    };
    for (kind, word) in [("Complete", "Complete"), ("Failed", "Failed")] {
        if holds(kind) {
            return word;
        }
    }
    if object["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating";
    }
    for (kind, word) in [
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ] {
        if holds(kind) {
            return word;
        }
    }
    "Running"
}

fn completions(spec: &Value, status: &Value) -> String {
    let done = status["succeeded"].as_i64().unwrap_or(0);
    match (
        spec["completions"].as_i64(),
        spec["parallelism"].as_i64().unwrap_or(0),
    ) {
        (Some(n), _) => format!("{done}/{n}"),
        (None, p) if p > 1 => format!("{done}/1 of {p}"),
        (None, _) => format!("{done}/1"),
    }
}

fn duration(status: &Value, now: Timestamp) -> String {
    let time = |v: &Value| v.as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let failed = list(&status["conditions"])
        .iter()
        .find(|c| text(c, "type") == "Failed" && text(c, "status") == "True");
    let ended = time(&status["completionTime"])
        .or_else(|| failed.and_then(|c| time(&c["lastTransitionTime"])));
    match time(&status["startTime"]) {
        None => String::new(),
        Some(start) => table::duration(ended.unwrap_or(now).as_second() - start.as_second()),
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
        ("batch.kubernetes.io/job-name", &name),
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

fn generated_selector(object: &Value, errs: &mut Errors) {
    let spec = At::root(object, "spec");
    if spec.v["manualSelector"] == true {
        return;
    }
    let selector = spec.get("selector");
    if selector.v.is_null() {
        return; // told with the rest of the spec
    }
    let uid = &object["metadata"]["uid"];
    let expected = json!({"matchLabels": {UID_LABEL: uid}});
    let legacy = json!({"matchLabels": {"controller-uid": uid}});
    let shown = labels::selector_json(selector.v);
    if *selector.v != expected && *selector.v != legacy {
        errs.push(
            selector
                .invalid("`selector` not auto-generated")
                .showing(shown),
        );
    }
}

/// Checks the spec of a Job itself, whose selector must select its pods.
fn whole(spec: &At, errs: &mut Errors) {
    numbers_and_template(spec, errs);
    let selector = spec.get("selector");
    if selector.v.is_null() {
        errs.push(selector.required(""));
    } else {
        labels::selector(&selector, errs);
    }
    let template_labels = spec.get("template").get("metadata").get("labels");
    if let Ok(s) = LabelSelector::from_object(selector.v)
        && !s.matches_labels(template_labels.v)
    {
        let shown = if template_labels.v.is_null() {
            Value::Null
        } else {
            template_labels.v.clone()
        };
        errs.push(Error::invalid(
            &template_labels.path,
            shown,
            "`selector` does not match template `labels`",
        ));
    }
}

/// Checks what a Job and the template of a CronJob have in common.
pub(super) fn numbers_and_template(spec: &At, errs: &mut Errors) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ] {
        non_negative(spec, key, errs);
    }
    indexed(spec, errs);
    if let Some(policy) = spec.some("podFailurePolicy") {
        failure::policy(&policy, spec, errs);
    }
    let replacement = spec.get("podReplacementPolicy");
    if !replacement.v.is_null() {
        let allowed: &[&str] = if spec.has("podFailurePolicy") {
            &["Failed"]
        } else {
            &["Failed", "TerminatingOrFailed"]
        };
        if !allowed.contains(&replacement.str()) {
            errs.push(replacement.not_supported(allowed));
        }
    }
    let template = spec.get("template");
    pod::validate::template(&template, None, errs);
    restart_policy(&template.get("spec"), spec.has("podFailurePolicy"), errs);
}

fn indexed(spec: &At, errs: &mut Errors) {
    let mode = spec.get("completionMode");
    if !mode.v.is_null() && !["Indexed", "NonIndexed"].contains(&mode.str()) {
        errs.push(mode.not_supported(&["NonIndexed", "Indexed"]));
    }
    if mode.str() == "Indexed" {
        if !spec.has("completions") {
            errs.push(
                spec.get("completions")
                    .required("when completion mode is Indexed"),
            );
        }
        if spec.int("parallelism").is_some_and(|n| n > 100_000) {
            errs.push(
                spec.get("parallelism").invalid(
                    "must be less than or equal to 100000 when completion mode is Indexed",
                ),
            );
        }
        return;
    }
    if spec.has("backoffLimitPerIndex") {
        errs.push(
            spec.get("backoffLimitPerIndex")
                .invalid("requires indexed completion mode"),
        );
    }
    if spec.has("maxFailedIndexes") {
        errs.push(
            spec.get("maxFailedIndexes")
                .invalid("requires indexed completion mode"),
        );
    }
}

fn restart_policy(pod_spec: &At, has_failure_policy: bool, errs: &mut Errors) {
    let policy = pod_spec.get("restartPolicy");
    match policy.str() {
        "" | "Always" => errs.push(policy.required("valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" | "Never" => {}
        _ => errs.push(policy.not_supported(&["OnFailure", "Never"])),
    }
    if has_failure_policy && policy.str() != "Never" {
        errs.push(policy.invalid("only \"Never\" is supported when podFailurePolicy is specified"));
    }
}

/// What never changes of a Job, but for a suspended one that has not started.
fn fixed(spec: &At, old: &Value, errs: &mut Errors) {
    let completions = spec.get("completions");
    let elastic =
        spec.text("completionMode") == "Indexed" && *completions.v == spec.v["parallelism"];
    if *completions.v != old["completions"] && !elastic {
        errs.push(completions.invalid("field is immutable"));
    }
    let selector = spec.get("selector");
    if *selector.v != old["selector"] {
        let shown = labels::selector_json(selector.v);
        errs.push(selector.invalid("field is immutable").showing(shown));
    }
    let template = spec.get("template");
    if *template.v != old["template"] && !(spec.v["suspend"] == true && old["suspend"] == true) {
        errs.push(template.invalid("field is immutable"));
    }
    immutable(&spec.get("completionMode"), &old["completionMode"], errs);
    let failure = spec.get("podFailurePolicy");
    if *failure.v != old["podFailurePolicy"] {
        errs.push(
            failure
                .invalid("field is immutable")
                .showing(failure::shown(failure.v)),
        );
    }
    immutable(
        &spec.get("backoffLimitPerIndex"),
        &old["backoffLimitPerIndex"],
        errs,
    );
    immutable(&spec.get("managedBy"), &old["managedBy"], errs);
}
