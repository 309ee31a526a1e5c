//! PodTolerationRestriction and ExtendedResourceToleration, and how tolerations are merged.

use knarr_json::{Value, json};

use super::{Attributes, Operation, amounts, quota};
use crate::Outcome;

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

fn text<'a>(toleration: &'a Value, key: &str) -> &'a str {
    toleration[key].as_str().unwrap_or_default()
}

/// Whether `wide` tolerates all that `narrow` does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let all_keys = text(wide, "key").is_empty() && text(wide, "operator") == "Exists";
    if text(wide, "key") != text(narrow, "key") && !all_keys {
        return false;
    }
    let effect = text(wide, "effect");
    if !effect.is_empty() && effect != text(narrow, "effect") {
        return false;
    }
    if effect == "NoExecute"
        && let Some(longest) = wide["tolerationSeconds"].as_i64()
        && narrow["tolerationSeconds"]
            .as_i64()
            .is_none_or(|s| s > longest)
    {
        return false;
    }
    match text(wide, "operator") {
        "Exists" => true,
        "Equal" | "" => {
            text(narrow, "operator") == "Equal" && text(narrow, "value") == text(wide, "value")
        }
        _ => false,
    }
}

/// Both lists in order, without what another one covers.
pub fn merge(first: &Value, second: &Value) -> Vec<Value> {
    let lists = [first, second].into_iter().filter_map(Value::as_array);
    let all: Vec<&Value> = lists.flatten().collect();
    let mut merged: Vec<Value> = Vec::new();
    for (i, one) in all.iter().enumerate() {
        let before = merged.iter().any(|kept| covers(kept, one));
        let behind = all[i + 1..]
            .iter()
            .any(|later| later != one && covers(later, one));
        if !before && !behind {
            merged.push((*one).clone());
        }
    }
    merged
}

/// Tolerations in an annotation of the namespace; none when it has no such annotation.
///
/// # Errors
/// 403 for what is no list of tolerations.
fn of_namespace(a: &Attributes<'_>, pod: &Value, key: &str) -> Outcome<Option<Value>> {
    let stored = a
        .call
        .shared
        .store
        .get(&format!("/registry/namespaces/{}", a.namespace()));
    let namespace: Value = stored
        .and_then(|s| serde_json::from_slice(&s.json).ok())
        .unwrap_or_default();
    let Some(text) = namespace["metadata"]["annotations"][key].as_str() else {
        return Ok(None);
    };
    let parsed: Result<Vec<Value>, _> = serde_json::from_str(text);
    match parsed {
        Ok(list) => Ok(Some(list.into())),
        Err(error) => {
            let why =
                format!("annotation {key} of the namespace is no list of tolerations: {error}");
            Err(a.forbidden(pod, &why))
        }
    }
}

/// PodTolerationRestriction: a namespace adds tolerations to its new pods.
///
/// # Errors
/// 403 for an annotation that cannot be read.
pub fn restrict(a: &Attributes<'_>, pod: &mut Value) -> Outcome<()> {
    if !pod["spec"].is_object() {
        return Ok(());
    }
    let mut more = match a.operation {
        Operation::Create => of_namespace(a, pod, DEFAULTS)?.unwrap_or_else(|| json!([])),
        _ => json!([]),
    };
    if quota::uses_resources(&pod["spec"])
        && let Some(list) = more.as_array_mut()
    {
        list.push(json!({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}));
    }
    if more.as_array().is_some_and(|m| !m.is_empty()) {
        pod["spec"]["tolerations"] = merge(&pod["spec"]["tolerations"], &more).into();
    }
    Ok(())
}

/// PodTolerationRestriction: a namespace says what its pods may tolerate.
///
/// # Errors
/// 403 for a toleration beyond that.
pub fn check_restriction(a: &Attributes<'_>, pod: &Value) -> Outcome<()> {
    let asked = pod["spec"]["tolerations"].as_array();
    let Some(asked) = asked.filter(|t| !t.is_empty()) else {
        return Ok(());
    };
    let allowed = of_namespace(a, pod, ALLOWED)?;
    let allowed = allowed.as_ref().and_then(Value::as_array);
    let Some(allowed) = allowed.filter(|list| !list.is_empty()) else {
        return Ok(());
    };
    if asked.iter().all(|t| allowed.iter().any(|w| covers(w, t))) {
        return Ok(());
    }
    let why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
    Err(a.forbidden(pod, why))
}

/// ExtendedResourceToleration: who asks for a device tolerates the taint of the nodes that have it.
pub fn extended_resources(pod: &mut Value) {
    let spec = &mut pod["spec"];
    let mut devices: Vec<String> = Vec::new();
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array().into_iter().flatten() {
            let asked = amounts::read(&container["resources"]["requests"]);
            devices.extend(asked.into_keys().filter(|name| quota::is_extended(name)));
        }
    }
    devices.sort();
    devices.dedup();
    for device in devices {
        let toleration = json!({"key": device, "operator": "Exists"});
        match spec["tolerations"].as_array_mut() {
            Some(list) if list.contains(&toleration) => {}
            Some(list) => list.push(toleration),
            None => spec["tolerations"] = json!([toleration]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_is_left_out() {
        let table = [
            (
                json!([{"key": "a", "operator": "Exists"}]),
                json!([{"key": "b", "operator": "Exists"}]),
                2,
            ),
            (
                json!([{"key": "a", "operator": "Exists"}]),
                json!([{"key": "a", "operator": "Equal", "value": "x"}]),
                1,
            ),
            (
                json!([{"key": "a", "operator": "Equal", "value": "x"}]),
                json!([{"operator": "Exists"}]),
                1,
            ),
            (
                json!([{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]),
                json!([{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}]),
                1,
            ),
            (
                json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]),
                json!([{"key": "a", "operator": "Exists", "effect": "NoExecute"}]),
                2,
            ),
            (Value::Null, Value::Null, 0),
        ];
        for (first, second, wanted) in table {
            assert_eq!(merge(&first, &second).len(), wanted, "{first} {second}");
        }
    }

    #[test]
    fn devices_are_tolerated() {
        let mut pod = json!({"spec": {"containers": [{"resources": {"requests": {"example.com/gpu": "1", "cpu": "1"}}}]}});
        extended_resources(&mut pod);
        extended_resources(&mut pod);
        assert_eq!(
            pod["spec"]["tolerations"],
            json!([{"key": "example.com/gpu", "operator": "Exists"}])
        );
    }
}
