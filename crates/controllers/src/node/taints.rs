//! Which taints a node should have, from what its conditions say. Pure.

use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Taints that follow from a condition of this type when it has this status.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    (
        "MemoryPressure",
        "True",
        "node.kubernetes.io/memory-pressure",
    ),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    (
        "NetworkUnavailable",
        "True",
        "node.kubernetes.io/network-unavailable",
    ),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The status of a condition; empty when the node has no such condition.
pub fn condition<'a>(node: &'a Node, kind: &str) -> &'a str {
    let all = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    all.into_iter()
        .flatten()
        .find(|c| c.type_ == kind)
        .map_or("", |c| c.status.as_str())
}

fn managed(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    match taint.effect.as_str() {
        "NoSchedule" => key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(.., k)| *k == key),
        "NoExecute" => key == NOT_READY || key == UNREACHABLE,
        _ => false,
    }
}

fn follows(node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut out = Vec::new();
    for (kind, status, key) in BY_CONDITION {
        if condition(node, kind) == status {
            out.push((key, "NoSchedule"));
            if kind == "Ready" {
                out.push((key, "NoExecute"));
            }
        }
    }
    // A node that has not said yet how it is takes no pods.
    if condition(node, "Ready").is_empty() {
        out.push((NOT_READY, "NoSchedule"));
    }
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        out.push((UNSCHEDULABLE, "NoSchedule"));
    }
    out
}

/// The node's taints as they should be; `None` when they are so.
pub fn wanted(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let current = node
        .spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or_default();
    let follows = follows(node);
    let is = |t: &Taint, (key, effect): &(&str, &str)| t.key == *key && t.effect == *effect;
    let mut out: Vec<Taint> = current
        .iter()
        .filter(|t| !managed(t) || follows.iter().any(|f| is(t, f)))
        .cloned()
        .collect();
    for follow in &follows {
        if !out.iter().any(|t| is(t, follow)) {
            out.push(Taint {
                key: follow.0.into(),
                effect: follow.1.into(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    (out != current).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn words(conditions: Value, spec: Value) -> Option<Vec<String>> {
        let node =
            serde_json::from_value(json!({"spec": spec, "status": {"conditions": conditions}}))
                .unwrap();
        let short = |key: &str| key.trim_start_matches("node.kubernetes.io/").to_owned();
        let words = |t: &Taint| format!("{}:{}", short(&t.key), t.effect);
        wanted(&node, Timestamp::UNIX_EPOCH).map(|all| all.iter().map(words).collect())
    }

    #[test]
    fn taints_follow_conditions() {
        let ready = |status: &str| json!({"type": "Ready", "status": status});
        let table = [
            (json!([ready("True")]), json!({}), None),
            (
                json!([ready("False")]),
                json!({}),
                Some(vec!["not-ready:NoSchedule", "not-ready:NoExecute"]),
            ),
            (
                json!([ready("Unknown")]),
                json!({}),
                Some(vec!["unreachable:NoSchedule", "unreachable:NoExecute"]),
            ),
            (json!([]), json!({}), Some(vec!["not-ready:NoSchedule"])),
            (
                json!([ready("True")]),
                json!({"unschedulable": true}),
                Some(vec!["unschedulable:NoSchedule"]),
            ),
            (
                json!([ready("True"), {"type": "DiskPressure", "status": "True"}]),
                json!({"taints": [{"key": "mine", "effect": "NoSchedule"}, {"key": NOT_READY, "effect": "NoExecute"}]}),
                Some(vec!["mine:NoSchedule", "disk-pressure:NoSchedule"]),
            ),
            (
                json!([ready("False")]),
                json!({"taints": [{"key": NOT_READY, "effect": "NoExecute"}, {"key": NOT_READY, "effect": "NoSchedule"}]}),
                None,
            ),
        ];
        for (conditions, spec, want) in table {
            let want = want.map(|w| w.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(
                words(conditions.clone(), spec.clone()),
                want,
                "{conditions} {spec}"
            );
        }
    }
}
