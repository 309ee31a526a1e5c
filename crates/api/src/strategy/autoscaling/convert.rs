//! Between `autoscaling/v1` and `autoscaling/v2`. The shapes of v1's annotations are those of metrics in `v2beta1`.

use knarr_json::{Map, Text, Value, json};

use crate::validation::{go, is_empty, list, ordered_json, text};

/// Metrics that v1 has no field for.
pub const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// The one metric that v1 has a field for.
pub const CPU: &str = "targetCPUUtilizationPercentage";
const CURRENT_CPU: &str = "currentCPUUtilizationPercentage";

const BEHAVIOR_LAYOUT: &str = "ScaleUp*{StabilizationWindowSeconds. SelectPolicy. Policies[Type'' Value0 PeriodSeconds0] Tolerance.} ScaleDown*{StabilizationWindowSeconds. SelectPolicy. Policies[Type'' Value0 PeriodSeconds0] Tolerance.}";
/// Order of the fields in annotations.
const ORDER: &[&str] = &[
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "metricName",
    "metricSelector",
    "name",
    "apiVersion",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "targetAverageValue",
    "currentAverageUtilization",
    "currentAverageValue",
    "selector",
    "averageValue",
    "container",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
];

/// Brings an object of v1 to v2. What its annotations cannot be read to say is left out.
pub fn to_v2(object: &mut Value) {
    let mut metrics = Vec::new();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
        && let Some(percent) = spec.remove(CPU)
    {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    metrics.extend(read(object, METRICS).iter().map(|m| metric_to_v2(m, true)));
    if !metrics.is_empty() {
        object["spec"]["metrics"] = metrics.into();
    }
    if let Some(behavior) = take(object, BEHAVIOR).and_then(|t| serde_json::from_str(&t).ok()) {
        object["spec"]["behavior"] = uncapitalized(behavior);
    }
    let current: Vec<Value> = read(object, CURRENT)
        .iter()
        .map(|m| metric_to_v2(m, false))
        .collect();
    let conditions = read(object, CONDITIONS);
    let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) else {
        return;
    };
    if status.get("currentReplicas") == Some(&json!(0)) {
        status.remove("currentReplicas");
    }
    let cpu = status.remove(CURRENT_CPU);
    let told = match (current.is_empty(), cpu) {
        (false, _) => current.into(),
        (true, Some(percent)) => json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "current": {"averageUtilization": percent}},
        }]),
        (true, None) => Value::Null,
    };
    status.insert("currentMetrics", told);
    if !conditions.is_empty() {
        status.insert("conditions", conditions.into());
    }
}

/// Brings an object of v2 to v1.
pub fn to_v1(object: &mut Value) {
    let metrics = remove(&mut object["spec"], "metrics");
    let mut others = Vec::new();
    let mut cpu = None;
    for metric in list(&metrics) {
        let resource = &metric["resource"];
        let percent = &resource["target"]["averageUtilization"];
        if metric["type"] == "Resource" && resource["name"] == "cpu" && percent.is_i64() {
            cpu.get_or_insert(percent.clone());
        } else {
            others.push(metric_to_v1(metric, true));
        }
    }
    if let Some(percent) = cpu {
        object["spec"][CPU] = percent;
    }
    annotate(object, METRICS, &others);
    let behavior = remove(&mut object["spec"], "behavior");
    if behavior.is_object() {
        object["metadata"]["annotations"][BEHAVIOR] = go::dump(&behavior, BEHAVIOR_LAYOUT).into();
    }
    let current = remove(&mut object["status"], "currentMetrics");
    let found = list(&current)
        .iter()
        .find(|m| m["type"] == "Resource" && m["resource"]["name"] == "cpu");
    let percent = found.map(|m| m["resource"]["current"]["averageUtilization"].clone());
    let told: Vec<Value> = list(&current)
        .iter()
        .map(|m| metric_to_v1(m, false))
        .collect();
    annotate(object, CURRENT, &told);
    let conditions = remove(&mut object["status"], "conditions");
    annotate(object, CONDITIONS, list(&conditions));
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.entry("currentReplicas").or_insert_with(|| 0.into());
        status.entry("desiredReplicas").or_insert_with(|| 0.into());
        if let Some(percent) = percent.filter(Value::is_i64) {
            status.insert(CURRENT_CPU, percent);
        }
    }
}

fn remove(at: &mut Value, key: &str) -> Value {
    at.as_object_mut()
        .and_then(|m| m.remove(key))
        .unwrap_or_default()
}

fn annotate(object: &mut Value, key: &str, all: &[Value]) {
    if !all.is_empty() {
        let all = Value::from(all);
        object["metadata"]["annotations"][key] = ordered_json(&all, ORDER).into();
    }
}

/// Takes an annotation out, and the map with its last one.
fn take(object: &mut Value, key: &str) -> Option<String> {
    let meta = object.get_mut("metadata")?.as_object_mut()?;
    let annotations = meta.get_mut("annotations")?.as_object_mut()?;
    let found = annotations.remove(key)?;
    if annotations.is_empty() {
        meta.remove("annotations");
    }
    found.as_str().map(str::to_owned)
}

fn read(object: &mut Value, key: &str) -> Vec<Value> {
    take(object, key)
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// The annotation of behaviour has Go's names.
fn uncapitalized(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| {
                let mut chars = k.chars();
                let first = chars.next().map(|c| c.to_ascii_lowercase());
                let name: Text = first.into_iter().chain(chars).collect();
                (name, uncapitalized(v))
            })
            .collect::<Map>()
            .into(),
        Value::Array(items) => items.into_iter().map(uncapitalized).collect(),
        other => other,
    }
}

/// Puts what is there under another name.
fn put(out: &mut Map, key: &str, from: &Value) {
    let says_nothing = from.is_null() || from.is_string() && is_empty(from);
    if !says_nothing {
        out.insert(key.to_owned(), from.clone());
    }
}

fn source_of(metric: &Value) -> Option<(&'static str, &Value)> {
    [
        "object",
        "pods",
        "resource",
        "containerResource",
        "external",
    ]
    .into_iter()
    .find(|f| metric[f].is_object())
    .map(|f| (f, &metric[f]))
}

/// A metric (`spec`), or the current value of one, of v2 in the shape of v2beta1.
pub fn metric_to_v1(metric: &Value, spec: bool) -> Value {
    let mut out = json!({"type": text(metric, "type")});
    let Some((field, from)) = source_of(metric) else {
        return out;
    };
    let (amount, prefix) = if spec {
        ("target", "target")
    } else {
        ("current", "current")
    };
    let value = &from[amount];
    let key = |rest: &str| format!("{prefix}{rest}");
    let mut to = Map::new();
    match field {
        "resource" | "containerResource" => {
            put(&mut to, "name", &from["name"]);
            put(
                &mut to,
                &key("AverageUtilization"),
                &value["averageUtilization"],
            );
            put(&mut to, &key("AverageValue"), &value["averageValue"]);
            put(&mut to, "container", &from["container"]);
        }
        "pods" => {
            to.insert("metricName", text(&from["metric"], "name").into());
            to.insert(key("AverageValue"), or_zero(&value["averageValue"]));
            put(&mut to, "selector", &from["metric"]["selector"]);
        }
        "object" => {
            put(&mut to, "target", &from["describedObject"]);
            to.insert("metricName", text(&from["metric"], "name").into());
            to.insert(key("Value"), or_zero(&value["value"]));
            put(&mut to, "selector", &from["metric"]["selector"]);
            put(&mut to, "averageValue", &value["averageValue"]);
        }
        _ => {
            to.insert("metricName", text(&from["metric"], "name").into());
            put(&mut to, "metricSelector", &from["metric"]["selector"]);
            if spec {
                put(&mut to, "targetValue", &value["value"]);
            } else {
                to.insert("currentValue", or_zero(&value["value"]));
            }
            put(&mut to, &key("AverageValue"), &value["averageValue"]);
        }
    }
    out[field] = to.into();
    out
}

fn or_zero(value: &Value) -> Value {
    if value.is_null() {
        "0".into()
    } else {
        value.clone()
    }
}

/// The reverse of [`metric_to_v1`].
pub fn metric_to_v2(metric: &Value, spec: bool) -> Value {
    let mut out = json!({"type": text(metric, "type")});
    let Some((field, from)) = source_of(metric) else {
        return out;
    };
    let prefix = if spec { "target" } else { "current" };
    let old = |rest: &str| &from[&format!("{prefix}{rest}")];
    let zero = |v: &Value| v.as_str().is_some_and(|s| s == "0");
    let mut value = Map::new();
    let mut to = Map::new();
    put(&mut value, "averageUtilization", old("AverageUtilization"));
    let average = match field {
        "object" => &from["averageValue"],
        _ => old("AverageValue"),
    };
    put(&mut value, "averageValue", average);
    if !zero(old("Value")) || value.is_empty() {
        put(&mut value, "value", old("Value"));
    }
    match field {
        "resource" | "containerResource" => {
            put(&mut to, "name", &from["name"]);
            put(&mut to, "container", &from["container"]);
        }
        _ => {
            let mut identifier = json!({"name": text(from, "metricName")});
            let selector = if field == "external" {
                "metricSelector"
            } else {
                "selector"
            };
            if from[selector].is_object() {
                identifier["selector"] = from[selector].clone();
            }
            to.insert("metric", identifier);
        }
    }
    if field == "object" {
        put(&mut to, "describedObject", &from["target"]);
    }
    if spec {
        let kind = if value.contains_key("averageUtilization") {
            "Utilization"
        } else if value.contains_key("averageValue") {
            "AverageValue"
        } else {
            "Value"
        };
        value.insert("type", kind.into());
    }
    to.insert(if spec { "target" } else { "current" }, value.into());
    out[field] = to.into();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v1_cannot_say_travels_in_annotations() {
        let newest = json!({
            "metadata": {"name": "a"},
            "spec": {"maxReplicas": 2, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 7}}},
                {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m"},
                    "target": {"type": "Value", "value": "3"}}},
                {"type": "External", "external": {"metric": {"name": "e", "selector": {"matchLabels": {"a": "b"}}},
                    "target": {"type": "AverageValue", "averageValue": "5"}}}],
                "behavior": {"scaleDown": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 2}]}}},
            "status": {"currentMetrics": null, "desiredReplicas": 1},
        });
        let mut object = newest.clone();
        to_v1(&mut object);
        assert_eq!(object["spec"][CPU], 7);
        assert!(
            object["spec"].get("metrics").is_none() && object["spec"].get("behavior").is_none()
        );
        assert_eq!(
            object["metadata"]["annotations"].as_object().unwrap().len(),
            2
        );
        to_v2(&mut object);
        assert_eq!(object, newest);
    }

    #[test]
    fn annotations_that_make_no_sense_are_left_out() {
        let mut object =
            json!({"metadata": {"annotations": {METRICS: "[", BEHAVIOR: "x"}}, "spec": {}});
        to_v2(&mut object);
        assert_eq!(object, json!({"metadata": {}, "spec": {}}));
    }
}
