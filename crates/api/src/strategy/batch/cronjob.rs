//! CronJobs.

use jiff::Timestamp;
use serde_json::Value;

use super::{job, schedule};
use crate::{
    field::{Error, Errors},
    strategy::{
        Column, Context, Strategy, common,
        defaults::{at, ensure, set, set_text},
        pod,
    },
    table,
    validation::{At, labels, list, meta, non_negative, text},
};

/// `batch/v1/CronJob`.
pub struct CronJob;

impl Strategy for CronJob {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        set_text(spec, "concurrencyPolicy", "Allow");
        set(spec, "suspend", false);
        set(spec, "successfulJobsHistoryLimit", 3);
        set(spec, "failedJobsHistoryLimit", 1);
        if let Some(job) = at(spec, "jobTemplate").and_then(|t| at(t, "spec")) {
            job::failure_defaults(job);
            pod::defaults::template(job);
            pod::round_template(job);
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        let name = At::root(object, "metadata").get("name");
        if name.str().len() > 52 {
            errs.push(name.invalid("must be no more than 52 characters"));
        }
        check(&At::root(object, "spec"), None, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource != "status" {
            check(&At::root(object, "spec"), Some(&old["spec"]), &mut errs);
        }
        errs
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Schedule",
                "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron.",
            ),
            table::column("Timezone", "The time zone name for the given schedule."),
            Column {
                kind: "boolean".into(),
                ..table::column("Suspend", "Whether subsequent executions are suspended.")
            },
            table::count("Active", "Number of currently running jobs."),
            table::column(
                "Last Schedule",
                "When the job was last successfully scheduled.",
            ),
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
        let last = match &status["lastScheduleTime"] {
            Value::Null => "<none>".to_owned(),
            time => table::since(time, now),
        };
        let job = &spec["jobTemplate"]["spec"];
        let (names, images) = table::containers(&job["template"]["spec"]["containers"]);
        let selector = if job["selector"].is_null() {
            "<none>".to_owned()
        } else {
            table::selector(&job["selector"])
        };
        vec![
            table::name_of(object),
            text(spec, "schedule").into(),
            table::or_none(text(spec, "timeZone")),
            (spec["suspend"] == true).into(),
            list(&status["active"]).len().into(),
            last.into(),
            table::age_of(object, now),
            names.into(),
            images.into(),
            selector.into(),
        ]
    }
}

fn check(spec: &At, _old: Option<&Value>, errs: &mut Errors) {
    let when = spec.get("schedule");
    if when.str().is_empty() {
        errs.push(when.required(""));
    } else if when.str().contains("TZ") {
        errs.push(when.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
    } else if let Err(words) = schedule::check(when.str()) {
        errs.push(when.invalid(words));
    }
    non_negative(spec, "startingDeadlineSeconds", errs);
    time_zone(spec, errs);
    let policy = spec.get("concurrencyPolicy");
    match policy.str() {
        "Allow" | "Forbid" | "Replace" => {}
        "" => errs.push(policy.required("")),
        _ => errs.push(policy.not_supported(&["Allow", "Forbid", "Replace"])),
    }
    job_template(&spec.get("jobTemplate").get("spec"), errs);
    non_negative(spec, "successfulJobsHistoryLimit", errs);
    non_negative(spec, "failedJobsHistoryLimit", errs);
}

fn time_zone(spec: &At, errs: &mut Errors) {
    let Some(zone) = spec.some("timeZone") else {
        return;
    };
    if zone.str().is_empty() {
        errs.push(zone.invalid("timeZone must be nil or non-empty string"));
    } else if zone.str().eq_ignore_ascii_case("local") {
        let words =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errs.push(zone.invalid(words));
    } else if jiff::tz::TimeZone::get(zone.str()).is_err() {
        errs.push(zone.invalid(format!("unknown time zone {}", zone.str())));
    }
}

fn job_template(spec: &At, errs: &mut Errors) {
    let selector = spec.get("selector");
    job::numbers_and_template(spec, errs);
    if !selector.v.is_null() {
        let shown = labels::selector_json(selector.v);
        errs.push(
            selector
                .invalid("`selector` will be auto-generated")
                .showing(shown),
        );
    }
    let manual = spec.get("manualSelector");
    if *manual.v == true {
        errs.push(Error::not_supported(&manual.path, true, &["nil", "false"]));
    }
}
