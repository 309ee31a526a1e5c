//! PodResizeValidator: a pod on a node asks for no more than the node has, and only where its kubelet can resize.

use knarr_api::status::Cause;
use knarr_json::Value;

use super::{Attributes, amounts};
use crate::{Outcome, rest};

/// # Errors
/// 403 for what the node cannot do.
pub fn validate(a: &Attributes<'_>, pod: &Value) -> Outcome<()> {
    let name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if name.is_empty() || a.old.is_none_or(|old| old["spec"] == pod["spec"]) {
        return Ok(());
    }
    let store = &a.call.shared.store;
    let Some(stored) = store.get(&format!("/registry/minions/{name}")) else {
        return Err(a.forbidden(pod, &format!("node {name:?} not found")));
    };
    let node = rest::parse(&stored.json)?;
    let Err((reason, why)) = fits(pod, &node) else {
        return Ok(());
    };
    let mut refusal = a.forbidden(pod, &why);
    if let Some(details) = &mut refusal.details {
        details.causes.push(Cause {
            reason: reason.to_owned(),
            ..Cause::default()
        });
    }
    Err(refusal)
}

/// Why a node cannot have the pod at its new size: as clients are told, and in words.
fn fits(pod: &Value, node: &Value) -> Result<(), (&'static str, String)> {
    let (wanted, has) = (
        amounts::with_overhead(&pod["spec"], "requests"),
        amounts::read(&node["status"]["allocatable"]),
    );
    let cpu = |of: &amounts::Amounts| of.get("cpu").map_or(0, |q| q.millis());
    let memory = |of: &amounts::Amounts| of.get("memory").map_or(0, |q| q.value());
    let lacking: Vec<String> = [
        ("cpu", cpu(&wanted), cpu(&has)),
        ("memory", memory(&wanted), memory(&has)),
    ]
    .into_iter()
    .filter(|(_, wanted, has)| wanted > has)
    .map(|(name, wanted, has)| format!("{name}, requested: {wanted}, allocatable: {has}"))
    .collect();
    if !lacking.is_empty() {
        let words = "Node didn't have enough allocatable resources:";
        return Err(("NodeCapacity", format!("{words} {}", lacking.join("; "))));
    }
    let label = &node["metadata"]["labels"]["kubernetes.io/os"];
    let (name, system) = (
        node["metadata"]["name"].as_str().unwrap_or_default(),
        label.as_str().unwrap_or_default(),
    );
    if system != "linux" {
        let why =
            format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
        return Err(("UnsupportedPlatform", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn pods_fit_their_nodes() {
        let pod = |cpu: &str, memory: &str| json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}]}});
        let node = |system: &str| json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": system}}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
        for (pod, node, want) in [
            (pod("2", "1Gi"), node("linux"), None),
            (
                pod("2500m", "1Ki"),
                node("linux"),
                Some((
                    "NodeCapacity",
                    "Node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000",
                )),
            ),
            (
                pod("3", "2Gi"),
                node("windows"),
                Some((
                    "NodeCapacity",
                    "Node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824",
                )),
            ),
            (
                pod("1", "1Ki"),
                node("windows"),
                Some((
                    "UnsupportedPlatform",
                    "pod resize is only supported on linux nodes, node \"n\" is \"windows\"",
                )),
            ),
        ] {
            let told = fits(&pod, &node).err();
            let told = told.as_ref().map(|(reason, why)| (*reason, why.as_str()));
            assert_eq!(told, want, "{pod}");
        }
    }
}
