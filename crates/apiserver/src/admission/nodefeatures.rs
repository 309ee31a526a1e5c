//! NodeDeclaredFeatureValidator: a pod on a node is not changed in a way that its kubelet does not know. What kubelets know
//! stands in `status.declaredFeatures` of their nodes.

use knarr_api::quantity::Quantity;
use knarr_json::Value;

use super::Attributes;
use crate::{Outcome, rest};

/// # Errors
/// 403 for what the node does not declare.
pub fn validate(a: &Attributes<'_>, pod: &Value) -> Outcome<()> {
    let name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let Some(old) = a.old.filter(|old| old["spec"] != pod["spec"]) else {
        return Ok(());
    };
    let wanted = wanted(pod, old);
    if name.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let store = &a.call.shared.store;
    let Some(stored) = store.get(&format!("/registry/minions/{name}")) else {
        return Err(a.forbidden(pod, &format!("node {name:?} not found")));
    };
    let node = rest::parse(&stored.json)?;
    let lacking = lacking(&wanted, &node);
    if lacking.is_empty() {
        return Ok(());
    }
    let features = lacking.join(", ");
    let why =
        format!("pod update requires features {features} which are not available on node {name:?}");
    Err(a.forbidden(pod, &why))
}

/// Features that the change of a pod needs, sorted.
fn wanted(pod: &Value, old: &Value) -> Vec<&'static str> {
    let mut out = Vec::new();
    if old["status"]["qosClass"] == "Guaranteed" && cpus(pod) != cpus(old) {
        out.push("GuaranteedQoSPodCPUResize");
    }
    if pod["spec"]["resources"] != old["spec"]["resources"] {
        out.push("InPlacePodLevelResourcesVerticalScaling");
    }
    out
}

/// What each container asks for.
fn cpus(pod: &Value) -> Vec<Option<Quantity>> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let asked = containers.map(|c| c["resources"]["requests"]["cpu"].as_str());
    asked.map(|q| q?.parse().ok()).collect()
}

fn lacking(wanted: &[&'static str], node: &Value) -> Vec<&'static str> {
    let declared = node["status"]["declaredFeatures"].as_array();
    let has = |feature: &str| declared.is_some_and(|all| all.iter().any(|d| *d == feature));
    wanted.iter().copied().filter(|f| !has(f)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn changes_need_what_their_node_declares() {
        const CPU: &str = "GuaranteedQoSPodCPUResize";
        const POD: &str = "InPlacePodLevelResourcesVerticalScaling";
        let pod = |class: &str, cpu: &str, of_pod: Value| {
            let containers = json!([{"resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}}]);
            json!({"spec": {"containers": containers, "resources": of_pod}, "status": {"qosClass": class}})
        };
        let (none, some) = (Value::Null, json!({"limits": {"cpu": "1"}}));
        for (old, new, want) in [
            (
                pod("Guaranteed", "1", none.clone()),
                pod("Guaranteed", "2", none.clone()),
                vec![CPU],
            ),
            (
                pod("Guaranteed", "1", none.clone()),
                pod("Guaranteed", "1000m", none.clone()),
                vec![],
            ),
            (
                pod("Burstable", "1", none.clone()),
                pod("Burstable", "2", none.clone()),
                vec![],
            ),
            (
                pod("Burstable", "1", none.clone()),
                pod("Burstable", "2", some.clone()),
                vec![POD],
            ),
            (
                pod("Guaranteed", "1", some),
                pod("Guaranteed", "2", none),
                vec![CPU, POD],
            ),
        ] {
            assert_eq!(wanted(&new, &old), want, "{old} {new}");
        }
        let node = json!({"status": {"declaredFeatures": [CPU]}});
        assert_eq!(lacking(&[CPU, POD], &node), [POD]);
        assert_eq!(lacking(&[CPU], &json!({"status": {}})), [CPU]);
    }
}
