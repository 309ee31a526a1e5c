//! HorizontalPodAutoscalers of `autoscaling/v2beta1`: metrics had a name and a target each, not an object for both.

use knarr_json::Value;

use crate::strategy::autoscaling::convert as metrics;

pub fn up(object: &mut Value) {
    each(object, metrics::metric_to_v2);
}

pub fn down(object: &mut Value) {
    each(object, metrics::metric_to_v1);
}

/// Changes all metrics: those of the spec (true), and current values.
fn each(object: &mut Value, change: impl Fn(&Value, bool) -> Value) {
    for (part, list, spec) in [
        ("spec", "metrics", true),
        ("status", "currentMetrics", false),
    ] {
        let all = object.get_mut(part).and_then(|p| p.get_mut(list));
        for metric in all.and_then(Value::as_array_mut).into_iter().flatten() {
            *metric = change(metric, spec);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn metrics_go_both_ways() {
        let old = json!({"spec": {"metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 50}},
            {"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "1k"}},
            {"type": "Object", "object": {"target": {"kind": "Ingress", "name": "i"}, "metricName": "r", "targetValue": "2k"}},
            {"type": "External", "external": {"metricName": "q", "targetAverageValue": "30"}}]}});
        let mut object = old.clone();
        up(&mut object);
        assert_eq!(
            object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            50
        );
        assert_eq!(
            object["spec"]["metrics"][2]["object"]["describedObject"]["kind"],
            "Ingress"
        );
        down(&mut object);
        assert_eq!(object, old);
    }
}
