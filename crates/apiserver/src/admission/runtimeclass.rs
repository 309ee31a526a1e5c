//! RuntimeClass: a pod of a runtime class pays its overhead and goes where it runs.

use knarr_api::Quantity;
use knarr_json::{Map, Value};

use super::{Attributes, Operation, amounts, tolerations::merge};
use crate::Outcome;

/// The class that a new pod names.
///
/// # Errors
/// 403 for one that is not there.
fn class(a: &Attributes<'_>, pod: &Value) -> Outcome<Option<Value>> {
    let Some(name) = pod["spec"]["runtimeClassName"].as_str() else {
        return Ok(None);
    };
    let store = &a.call.shared.store;
    match store.get(&format!("/registry/runtimeclasses/{name}")) {
        Some(stored) => Ok(serde_json::from_slice(&stored.json).ok()),
        None => {
            let why = format!("pod rejected: RuntimeClass {name:?} not found");
            Err(a.forbidden(pod, &why))
        }
    }
}

/// # Errors
/// 403 for a class that is not there or that the pod contradicts.
pub fn mutate(a: &Attributes<'_>, pod: &mut Value) -> Outcome<()> {
    if a.operation != Operation::Create || !pod["spec"].is_object() {
        return Ok(());
    }
    match class(a, pod)? {
        Some(class) => apply(&class, pod).map_err(|why| a.forbidden(pod, &why)),
        None => Ok(()),
    }
}

/// # Errors
/// 403 for an overhead that is not the class's.
pub fn validate(a: &Attributes<'_>, pod: &Value) -> Outcome<()> {
    if a.operation != Operation::Create {
        return Ok(());
    }
    let class = class(a, pod)?.unwrap_or_default();
    check(&class, pod).map_err(|why| a.forbidden(pod, why))
}

const DIFFERS: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const UNFOUNDED: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

fn overhead(class: &Value) -> Option<&Value> {
    Some(&class["overhead"]["podFixed"]).filter(|_| class["overhead"].is_object())
}

fn same(a: &Value, b: &Value) -> bool {
    amounts::read(a) == amounts::read(b)
}

fn apply(class: &Value, pod: &mut Value) -> Result<(), String> {
    let spec = &mut pod["spec"];
    if let Some(fixed) = overhead(class) {
        if spec["overhead"].is_object() && !same(&spec["overhead"], fixed) {
            return Err(DIFFERS.into());
        }
        spec["overhead"] = canonical(fixed);
    }
    let scheduling = &class["scheduling"];
    for (key, wanted) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        if !spec["nodeSelector"].is_object() {
            spec["nodeSelector"] = Value::Object(Map::new());
        }
        let shown = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let given = &mut spec["nodeSelector"][key.as_str()];
        if !given.is_null() && given != wanted {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                shown(wanted),
                shown(given)
            ));
        }
        *given = wanted.clone();
    }
    let tolerations = &scheduling["tolerations"];
    if scheduling.is_object() {
        let merged = merge(&spec["tolerations"], tolerations);
        if !merged.is_empty() {
            spec["tolerations"] = merged.into();
        }
    }
    Ok(())
}

/// Quantities as they are printed.
fn canonical(list: &Value) -> Value {
    let entries = list.as_object().into_iter().flatten();
    let printed = |v: &Value| match v.as_str().map(Quantity::parse) {
        Some(Ok(quantity)) => quantity.to_string().into(),
        _ => v.clone(),
    };
    Value::Object(entries.map(|(k, v)| (k.clone(), printed(v))).collect())
}

fn check(class: &Value, pod: &Value) -> Result<(), &'static str> {
    let given = &pod["spec"]["overhead"];
    match overhead(class) {
        Some(fixed) if !same(fixed, given) => Err(DIFFERS),
        None if given.is_object() => Err(UNFOUNDED),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn classes_give_their_pods_what_they_need() {
        let class = json!({"overhead": {"podFixed": {"cpu": "0.25"}}, "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
        let mut pod = json!({"spec": {"nodeSelector": {"disk": "fast"}}});
        apply(&class, &mut pod).unwrap();
        assert_eq!(
            pod["spec"],
            json!({"nodeSelector": {"disk": "fast", "vm": "yes"}, "overhead": {"cpu": "250m"}, "tolerations": [{"key": "vm", "operator": "Exists"}]})
        );
        check(&class, &pod).unwrap();
        let mut other = json!({"spec": {"nodeSelector": {"vm": "no"}}});
        assert_eq!(
            apply(&class, &mut other).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"
        );
        let mut odd = json!({"spec": {"overhead": {"cpu": "1"}}});
        assert_eq!(apply(&class, &mut odd).unwrap_err(), DIFFERS);
        assert_eq!(check(&Value::Null, &odd), Err(UNFOUNDED));
    }
}
