//! TaintNodesByCondition: a new node takes no pods until it says that it is ready.

use knarr_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub fn taint_not_ready(node: &mut Value) {
    let spec = &mut node["spec"];
    if !spec.is_object() {
        *spec = json!({});
    }
    let has = |t: &Value| t["key"] == NOT_READY && t["effect"] == "NoSchedule";
    let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
    match spec["taints"].as_array_mut() {
        Some(taints) if taints.iter().any(has) => {}
        Some(taints) => taints.push(taint),
        None => spec["taints"] = json!([taint]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_nodes_are_tainted_once() {
        let mut node = json!({"metadata": {"name": "n"}});
        taint_not_ready(&mut node);
        taint_not_ready(&mut node);
        assert_eq!(
            node["spec"]["taints"],
            json!([{"key": NOT_READY, "effect": "NoSchedule"}])
        );
    }
}
