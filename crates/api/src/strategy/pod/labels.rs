//! `matchLabelKeys`: terms that speak of pods with the same (or another) value of a label as this pod.

use knarr_json::{Value, json};

use crate::{
    strategy::defaults::{at, each},
    validation::list,
};

/// Turns label keys of affinity terms and spread constraints into conditions on their selectors, with this pod's values.
pub fn merge_match_label_keys(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let Some(spec) = at(pod, "spec") else { return };
    for constraint in each(spec, "topologySpreadConstraints") {
        merge(constraint, &labels);
    }
    let Some(affinity) = at(spec, "affinity") else {
        return;
    };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = at(affinity, kind) else {
            continue;
        };
        for term in each(pods, "requiredDuringSchedulingIgnoredDuringExecution") {
            merge(term, &labels);
        }
        for term in each(pods, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = at(term, "podAffinityTerm") {
                merge(term, &labels);
            }
        }
    }
}

fn merge(term: &mut Value, labels: &Value) {
    let mut added: Vec<Value> = Vec::new();
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in list(&term[keys]).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let Some(selector) = at(term, "labelSelector").filter(|_| !added.is_empty()) else {
        return;
    };
    let mut all = list(&selector["matchExpressions"]).to_vec();
    all.append(&mut added);
    selector["matchExpressions"] = all.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_conditions() {
        let term = json!({"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["a", "gone"], "mismatchLabelKeys": ["b"]});
        let mut pod = json!({"metadata": {"labels": {"a": "1", "b": "2"}},
            "spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
        merge_match_label_keys(&mut pod);
        let term = &pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            [0];
        assert_eq!(
            term["labelSelector"]["matchExpressions"],
            json!([
            {"key": "a", "operator": "In", "values": ["1"]}, {"key": "b", "operator": "NotIn", "values": ["2"]}])
        );
    }
}
