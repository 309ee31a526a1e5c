//! CronJobs.

use jiff::Timestamp;
use knarr_json::Value;

use super::{job, schedule, spec as job_spec};
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
        check(&At::root(object, "spec"), None, &mut errs);
        let name = At::root(object, "metadata").get("name");
        if name.str().len() > 52 {
            errs.push(name.invalid("must be no more than 52 characters"));
        }
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

    fn warnings(&self, ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        match old {
            None => common::pod_name_warning(object, &mut out),
            Some(_) if ctx.subresource == "status" => return out,
            Some(o) if o["metadata"]["generation"] == object["metadata"]["generation"] => {
                return out;
            }
            Some(_) => {}
        }
        let spec = At::root(object, "spec").get("jobTemplate").get("spec");
        out.extend(job_spec::warnings(&spec));
        out
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

fn check(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    let zone_in_schedule = old.is_some_and(|o| text(o, "schedule").contains("TZ"));
    when(spec, zone_in_schedule, errs);
    non_negative(spec, "startingDeadlineSeconds", errs);
    if old.is_none_or(|o| o["timeZone"] != spec.v["timeZone"]) {
        time_zone(spec, errs);
    }
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

/// The schedule. Time zones stand in a field of their own; those that once stood in the schedule may stay there.
fn when(spec: &At, zone_may_stay: bool, errs: &mut Errors) {
    let when = spec.get("schedule");
    if when.str().is_empty() {
        errs.push(when.required(""));
        return;
    }
    if let Err(words) = schedule::check(when.str()) {
        errs.push(when.invalid(words));
    }
    if !when.str().contains("TZ") {
        return;
    }
    if !zone_may_stay {
        errs.push(when.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
    } else if spec.has("timeZone") {
        errs.push(when.invalid("cannot use both timeZone field and TZ or CRON_TZ in schedule"));
    }
}

fn time_zone(spec: &At, errs: &mut Errors) {
    let Some(zone) = spec.some("timeZone") else {
        return;
    };
    if zone.str().is_empty() {
        errs.push(zone.invalid("timeZone must be nil or non-empty string"));
        return;
    }
    let fine = |part: &str| {
        (1..=14).contains(&part.len())
            && ![".", ".."].contains(&part)
            && !part.starts_with('-')
            && part
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b".-_+".contains(&c))
    };
    let unknown = format!("unknown time zone {}", zone.str());
    if !zone.str().split('/').all(fine) {
        errs.push(zone.invalid(unknown));
        return;
    }
    if zone.str().eq_ignore_ascii_case("local") {
        let words =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errs.push(zone.invalid(words));
    }
    if zone.str() != "Local" && !schedule::is_zone(zone.str()) {
        errs.push(zone.invalid(unknown));
    }
}

fn job_template(spec: &At, errs: &mut Errors) {
    job_spec::check(spec, errs);
    let selector = spec.get("selector");
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

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn zones_are_told_by_their_exact_names() {
        let local =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        for (zone, want) in [
            ("Europe/Berlin", vec![]),
            ("UTC", vec![]),
            ("europe/berlin", vec!["unknown time zone europe/berlin"]),
            ("Europe//Berlin", vec!["unknown time zone Europe//Berlin"]),
            ("../etc", vec!["unknown time zone ../etc"]),
            ("Local", vec![local]),
            ("local", vec![local, "unknown time zone local"]),
            ("", vec!["timeZone must be nil or non-empty string"]),
        ] {
            let spec = json!({"timeZone": zone});
            let mut errs = Errors::new();
            time_zone(&At::new(&spec, "spec"), &mut errs);
            let got: Vec<_> = errs.iter().map(|e| e.detail.as_str()).collect();
            assert_eq!(got, want, "{zone}");
        }
    }

    #[test]
    fn zones_in_schedules() {
        let refused = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        let both = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        for (spec, may_stay, want) in [
            (
                json!({"schedule": "CRON_TZ=UTC 0 * * * *"}),
                false,
                vec![refused],
            ),
            (json!({"schedule": "TZ=UTC 0 * * * *"}), true, vec![]),
            (
                json!({"schedule": "TZ=UTC 0 * * * *", "timeZone": "UTC"}),
                true,
                vec![both],
            ),
            (
                json!({"schedule": "TZ=Moon 0 * * * *"}),
                false,
                vec![
                    "provided bad location Moon: unknown time zone Moon",
                    refused,
                ],
            ),
        ] {
            let mut errs = Errors::new();
            when(&At::new(&spec, "spec"), may_stay, &mut errs);
            let got: Vec<_> = errs.iter().map(|e| e.detail.as_str()).collect();
            assert_eq!(got, want, "{spec}");
        }
    }
}
