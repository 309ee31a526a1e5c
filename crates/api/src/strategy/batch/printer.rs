//! What `kubectl get jobs` shows.

use jiff::Timestamp;
use knarr_json::Value;

use crate::{
    strategy::Column,
    table,
    validation::{list, text},
};

pub fn columns() -> Vec<Column> {
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

pub fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
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
