//! What may change of a pod.

use serde_json::Value;

use super::{container, metadata_and_spec};
use crate::{
    field::{Error, Errors},
    validation::{At, is_empty, list, map, taints},
};

const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks an update of a pod itself.
pub fn update(object: &Value, old: &Value, errs: &mut Errors) {
    metadata_and_spec(object, errs);
    let (spec, was) = (At::root(object, "spec"), &old["spec"]);
    for key in ["containers", "initContainers"] {
        if !same_containers(&spec.get(key), &was[key], errs) {
            return;
        }
    }
    if !deadline(&spec, was, errs) {
        return;
    }
    only_added_tolerations(&spec.get("tolerations"), &was["tolerations"], errs);
    only_deleted_gates(&spec.get("schedulingGates"), &was["schedulingGates"], errs);
    let mut changed = spec.v.clone();
    restore_changeable(&mut changed, was);
    if !list(&was["schedulingGates"]).is_empty() {
        gated(&spec, was, &mut changed, errs);
    }
    if !same(&changed, was) {
        errs.push(Error::forbidden(
            &spec.path,
            format!("pod updates may not change fields other than {MAY_CHANGE}\n"),
        ));
    }
}

/// Equal but for values that say nothing.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys = x.keys().chain(y.keys());
            keys.into_iter().all(|k| {
                same(
                    x.get(k).unwrap_or(&Value::Null),
                    y.get(k).unwrap_or(&Value::Null),
                )
            })
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y))
        }
        _ => a == b || (a.is_null() && is_empty_list(b)) || (b.is_null() && is_empty_list(a)),
    }
}

fn is_empty_list(v: &Value) -> bool {
    v.as_array().is_some_and(Vec::is_empty)
}

fn same_containers(new: &At, old: &Value, errs: &mut Errors) -> bool {
    if list(new.v).len() != list(old).len() {
        errs.push(new.forbidden("pod updates may not add or remove containers"));
        return false;
    }
    for c in new.each() {
        if c.text("image").is_empty() {
            errs.push(c.get("image").required(""));
        }
        container::trimmed_image(&c, errs);
    }
    true
}

fn deadline(spec: &At, was: &Value, errs: &mut Errors) -> bool {
    let at = spec.get("activeDeadlineSeconds");
    let old = was["activeDeadlineSeconds"].as_i64();
    match (at.v.as_i64(), old) {
        (Some(n), _) if !(0..=i64::from(i32::MAX)).contains(&n) => {
            errs.push(at.invalid("must be between 0 and 2147483647, inclusive"));
            false
        }
        (Some(n), Some(old)) if old < n => {
            errs.push(at.invalid("must be less than or equal to previous value"));
            false
        }
        (None, Some(_)) => {
            errs.push(at.invalid("must not update from a positive integer to nil value"));
            true
        }
        _ => true,
    }
}

fn only_added_tolerations(new: &At, old: &Value, errs: &mut Errors) {
    let bare = |t: &Value| {
        let mut t = t.clone();
        if let Some(map) = t.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        t
    };
    let kept = list(old)
        .iter()
        .all(|o| list(new.v).iter().any(|n| bare(n) == bare(o)));
    if !kept {
        errs.push(
            new.forbidden("existing toleration can not be modified except its tolerationSeconds"),
        );
        return;
    }
    taints::tolerations(new, errs);
}

fn only_deleted_gates(new: &At, old: &Value, errs: &mut Errors) {
    for gate in new.each() {
        if !list(old).iter().any(|o| o["name"] == gate.v["name"]) {
            let words = format!(
                "only deletion is allowed, but found new scheduling gate '{}'",
                gate.text("name")
            );
            errs.push(gate.get("name").forbidden(words));
        }
    }
}

fn put(new: &mut Value, old: &Value, key: &str) {
    crate::strategy::common::keep(new, old, key);
}

/// Sets everything back that may change, so that the rest can be compared.
fn restore_changeable(new: &mut Value, old: &Value) {
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        put(new, old, key);
    }
    if old["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|s| s < 0)
        && new["terminationGracePeriodSeconds"] == 1
    {
        put(new, old, "terminationGracePeriodSeconds");
    }
    for key in ["containers", "initContainers"] {
        for (i, c) in new
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .enumerate()
        {
            put(c, &old[key][i], "image");
        }
    }
}

/// A pod that may not be scheduled yet may narrow where it will be.
fn gated(spec: &At, was: &Value, changed: &mut Value, errs: &mut Errors) {
    let selector = spec.get("nodeSelector");
    let kept = map(was, "nodeSelector")
        .into_iter()
        .flatten()
        .all(|(k, v)| selector.v.get(k) == Some(v));
    if !kept {
        errs.push(selector.invalid(
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ));
    }
    put(changed, was, "nodeSelector");
    let required = |v: &Value| {
        v["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"].clone()
    };
    let old_terms = required(was);
    if old_terms.is_null() && !required(spec.v).is_null() || narrowed(&required(spec.v), &old_terms)
    {
        put(changed, was, "affinity");
    }
}

/// Whether every term has all that it had.
fn narrowed(new: &Value, old: &Value) -> bool {
    let (new, old) = (
        list(&new["nodeSelectorTerms"]),
        list(&old["nodeSelectorTerms"]),
    );
    let has_all =
        |n: &Value, o: &Value, key: &str| list(&o[key]).iter().all(|r| list(&n[key]).contains(r));
    !old.is_empty()
        && new.len() == old.len()
        && new
            .iter()
            .zip(old)
            .all(|(n, o)| has_all(n, o, "matchExpressions") && has_all(n, o, "matchFields"))
}

/// Checks an update of `/ephemeralcontainers`: those there are stay as they are.
pub fn ephemeral_containers(object: &Value, old: &Value, errs: &mut Errors) {
    metadata_and_spec(object, errs);
    let (new, was) = (
        At::root(object, "spec").get("ephemeralContainers"),
        &old["spec"]["ephemeralContainers"],
    );
    for (i, before) in list(was).iter().enumerate() {
        let path = new.path.index(i);
        match list(new.v).iter().find(|c| c["name"] == before["name"]) {
            None => {
                let words = format!(
                    "existing ephemeral containers {:?} may not be removed\n",
                    before["name"].as_str().unwrap_or_default()
                );
                errs.push(new.forbidden(words));
            }
            Some(now) if !same(now, before) => {
                let words = format!(
                    "existing ephemeral containers {:?} may not be changed\n",
                    before["name"].as_str().unwrap_or_default()
                );
                errs.push(Error::forbidden(&path, words));
            }
            Some(_) => {}
        }
    }
}

/// Checks an update of `/resize`: only CPU and memory of containers change.
pub fn resize(object: &Value, old: &Value, errs: &mut Errors) {
    metadata_and_spec(object, errs);
    let (spec, was) = (At::root(object, "spec"), &old["spec"]);
    if object["status"]["qosClass"] != old["status"]["qosClass"]
        && !is_empty(&old["status"]["qosClass"])
    {
        errs.push(Error::invalid(
            &crate::field::Path::new("metadata"),
            object["metadata"]["name"].clone(),
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
    let mut changed = spec.v.clone();
    for key in ["containers", "initContainers"] {
        for (i, c) in changed
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .enumerate()
        {
            for resize in ["resources", "resizePolicy"] {
                put(c, &was[key][i], resize);
            }
        }
    }
    put(&mut changed, was, "resources");
    if !same(&changed, was) {
        errs.push(Error::forbidden(
            &spec.path,
            "only cpu and memory resources are mutable",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"serviceAccountName": "default",
            "containers": [{"name": "c", "image": "i:1"}], "tolerations": [{"key": "a", "operator": "Exists"}]}});
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        crate::strategy::pod::defaults::pod(&mut pod);
        pod
    }

    fn wrong(old: Value, new: Value) -> Vec<String> {
        let mut errs = Errors::new();
        update(&pod(new), &pod(old), &mut errs);
        errs.into_iter().map(|e| e.field).collect()
    }

    #[test]
    fn what_may_change_of_a_pod() {
        let (gate, late) = (json!({"name": "a.io/g"}), json!({"name": "a.io/h"}));
        let more = json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]);
        let none: &[&str] = &[];
        for (old, new, want) in [
            (
                json!({}),
                json!({"containers": [{"name": "c", "image": "i:2", "imagePullPolicy": "IfNotPresent"}]}),
                none,
            ),
            (json!({}), json!({"tolerations": more}), none),
            (json!({}), json!({"activeDeadlineSeconds": 5}), none),
            (
                json!({"activeDeadlineSeconds": 5}),
                json!({"activeDeadlineSeconds": 6}),
                &["spec.activeDeadlineSeconds"],
            ),
            (json!({}), json!({"tolerations": []}), &["spec.tolerations"]),
            (json!({}), json!({"restartPolicy": "Never"}), &["spec"]),
            (
                json!({}),
                json!({"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "i"}]}),
                &["spec.containers"],
            ),
            (json!({"schedulingGates": [gate]}), json!({}), none),
            (
                json!({"schedulingGates": [gate]}),
                json!({"schedulingGates": [gate, late]}),
                &["spec.schedulingGates[1].name"],
            ),
            (
                json!({"schedulingGates": [gate]}),
                json!({"schedulingGates": [gate], "nodeSelector": {"a": "b"}}),
                none,
            ),
            (json!({}), json!({"nodeSelector": {"a": "b"}}), &["spec"]),
        ] {
            assert_eq!(wrong(old.clone(), new.clone()), want, "{old} to {new}");
        }
    }

    #[test]
    fn a_resize_changes_resources_only() {
        let old = pod(json!({}));
        let mut new = pod(
            json!({"containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "1"}}}]}),
        );
        let mut errs = Errors::new();
        resize(&new, &old, &mut errs);
        assert_eq!(errs, []);
        new["spec"]["containers"][0]["image"] = json!("i:2");
        resize(&new, &old, &mut errs);
        assert_eq!(errs[0].detail, "only cpu and memory resources are mutable");
    }
}
