//! HorizontalPodAutoscalers as rows of a Table.

use jiff::Timestamp;
use knarr_json::Value;

use super::Column;
use crate::{
    table,
    validation::{list, text},
};

/// How many metrics are told before the rest is counted.
const SHOWN: usize = 2;

pub fn columns() -> Vec<Column> {
    vec![
        table::name(),
        table::column(
            "Reference",
            "scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics should be collected, as well as to actually change the replica count.",
        ),
        table::column(
            "Targets",
            "metrics contains the specifications for which to use to calculate the desired replica count (the maximum replica count across all metrics will be used).  The desired replica count is calculated multiplying the ratio between the target value and the current value by the current number of pods.  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the individual metric source types for more information about how each type of metric must respond.",
        ),
        table::column(
            "MinPods",
            "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.  It defaults to 1 pod.  minReplicas is allowed to be 0 if the alpha feature gate HPAScaleToZero is enabled and at least one Object or External metric is configured.  Scaling is active as long as at least one metric value is available.",
        ),
        table::column(
            "MaxPods",
            "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up. It cannot be less that minReplicas.",
        ),
        table::column(
            "Replicas",
            "currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by the autoscaler.",
        ),
        table::age(),
    ]
}

pub fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let min = spec["minReplicas"].as_i64();
    vec![
        table::name_of(object),
        format!("{}/{}", text(target, "kind"), text(target, "name")).into(),
        targets(list(&spec["metrics"]), list(&status["currentMetrics"])).into(),
        min.map_or("<unset>".to_owned(), |n| n.to_string()).into(),
        spec["maxReplicas"].as_i64().unwrap_or(0).into(),
        status["currentReplicas"].as_i64().unwrap_or(0).into(),
        table::age_of(object, now),
    ]
}

fn targets(specs: &[Value], statuses: &[Value]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(i, spec)| target(spec, statuses.get(i).unwrap_or(&Value::Null)))
        .collect();
    let more = all.len().saturating_sub(SHOWN);
    let shown = all[..all.len().min(SHOWN)].join(", ");
    if more > 0 {
        format!("{shown} + {more} more...")
    } else {
        shown
    }
}

fn target(spec: &Value, status: &Value) -> String {
    let field = match text(spec, "type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (want, have) = (&spec[field]["target"], &status[field]["current"]);
    let known = |v: &Value, none: &str| v.as_str().unwrap_or(none).to_owned();
    // A metric that is reported without the value that is looked for: only an average beside a value is not told as it is.
    let unsaid = if status[field].is_object() {
        "<nil>"
    } else {
        "<unknown>"
    };
    let of_resource = field == "resource" || field == "containerResource";
    let label = if of_resource {
        format!("{}: ", text(&spec[field], "name"))
    } else {
        String::new()
    };
    if of_resource && want["averageValue"].is_null() {
        let percent =
            |v: &Value, none: &str| v.as_i64().map_or(none.to_owned(), |n| format!("{n}%"));
        let now = percent(&have["averageUtilization"], "<unknown>");
        return format!(
            "{label}{now}/{}",
            percent(&want["averageUtilization"], "<auto>")
        );
    }
    if want["averageValue"].is_null() || (field == "object" && want["type"] == "Value") {
        return format!("{}/{}", known(&have["value"], unsaid), text(want, "value"));
    }
    let (per_pod, unsaid) = if of_resource || field == "pods" {
        ("", unsaid)
    } else {
        (" (avg)", "<unknown>")
    };
    format!(
        "{label}{}/{}{per_pod}",
        known(&have["averageValue"], unsaid),
        text(want, "averageValue")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn what_is_reported_without_its_value_is_told_as_nil() {
        let external = |target: Value| json!({"type": "External", "external": {"target": target}});
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"averageValue": "5Gi"}}});
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 5}}});
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "3"}}});
        for (spec, status, want) in [
            (
                &external(json!({"value": "7"})),
                json!({"external": {"current": {}}}),
                "<nil>/7",
            ),
            (&external(json!({"value": "7"})), json!({}), "<unknown>/7"),
            (
                &external(json!({"averageValue": "7"})),
                json!({"external": {"current": {"value": "1"}}}),
                "<unknown>/7 (avg)",
            ),
            (
                &memory,
                json!({"resource": {"current": {}}}),
                "memory: <nil>/5Gi",
            ),
            (
                &cpu,
                json!({"resource": {"current": {}}}),
                "cpu: <unknown>/5%",
            ),
            (&pods, json!({"pods": {"current": {}}}), "<nil>/3"),
            (&pods, Value::Null, "<unknown>/3"),
        ] {
            assert_eq!(target(spec, &status), want);
        }
    }
}
