//! DefaultTolerationSeconds: how long a pod stays on a node that went away.

use knarr_json::{Value, json};

/// Seconds that a pod stays on a node that is not ready or cannot be reached, unless it says otherwise.
const SECONDS: i64 = 300;

pub fn default_tolerations(pod: &mut Value) {
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let tolerates = |t: &Value| {
            let any_key = t["key"].as_str().unwrap_or_default().is_empty();
            let effect = t["effect"].as_str().unwrap_or_default();
            (any_key || t["key"] == key) && matches!(effect, "" | "NoExecute")
        };
        let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
        add(pod, tolerates, toleration);
    }
}

fn add(pod: &mut Value, there: impl Fn(&Value) -> bool, toleration: Value) {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return;
    }
    match spec["tolerations"].as_array_mut() {
        Some(list) if list.iter().any(there) => {}
        Some(list) => list.push(toleration),
        None => spec["tolerations"] = json!([toleration]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_added_unless_there() {
        let mut pod = json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]}});
        default_tolerations(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(
            pod["spec"]["tolerations"][1]["key"],
            "node.kubernetes.io/unreachable"
        );
    }
}
