//! What may change of a pod.

use knarr_json::{Value, json};

use super::{annotations, container, metadata_and_spec};
use crate::{
    field::{Error, Errors, Path},
    validation::{At, go, list, map, taints, text},
};

const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks an update of a pod itself.
pub fn update(object: &Value, old: &Value, errs: &mut Errors) {
    metadata_and_spec(object, errs);
    annotations::update(object, old, errs);
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
pub(super) fn same(a: &Value, b: &Value) -> bool {
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
    v.as_array().is_some_and(|a| a.is_empty())
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
    narrowed(
        &spec.get("affinity").get("nodeAffinity"),
        &was["affinity"]["nodeAffinity"],
        errs,
    );
    if spec.v["affinity"]["nodeAffinity"] == was["affinity"]["nodeAffinity"] {
        return;
    }
    match changed.get_mut("affinity").filter(|a| a.is_object()) {
        None => put(
            changed,
            &json!({"affinity": {"nodeAffinity": was["affinity"]["nodeAffinity"]}}),
            "affinity",
        ),
        Some(affinity) => put(affinity, &was["affinity"], "nodeAffinity"),
    }
    if was["affinity"].is_null()
        && changed["affinity"]
            .as_object()
            .is_some_and(|a| a.is_empty())
    {
        put(changed, was, "affinity");
    }
}

/// Terms that a node must satisfy get more requirements, not fewer; there are as many terms as before.
fn narrowed(new: &At, old: &Value, errs: &mut Errors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const LAYOUT: &str =
        "MatchExpressions[Key'' Operator'' Values.] MatchFields[Key'' Operator'' Values.]";
    let before = list(&old[REQUIRED]["nodeSelectorTerms"]);
    let terms = new.get(REQUIRED).get("nodeSelectorTerms");
    if before.is_empty() {
        return;
    }
    if before.len() != list(terms.v).len() {
        let shown = go::dump_list(terms.v, LAYOUT);
        let words = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errs.push(terms.invalid(words).showing(shown));
        return;
    }
    for (term, before) in terms.each().zip(before) {
        if !only_adds(term.v, before) {
            let words = "only additions are allowed (no mutations or deletions)";
            errs.push(term.invalid(words).showing(go::dump(term.v, LAYOUT)));
        }
    }
}

fn only_adds(new: &Value, old: &Value) -> bool {
    let starts = |key: &str| list(&new[key]).starts_with(list(&old[key]));
    let is_empty =
        |v: &Value| list(&v["matchExpressions"]).is_empty() && list(&v["matchFields"]).is_empty();
    starts("matchExpressions") && starts("matchFields") && (!is_empty(old) || is_empty(new))
}

/// Checks an update of `/ephemeralcontainers`: those there are stay as they are.
pub fn ephemeral_containers(object: &Value, old: &Value, errs: &mut Errors) {
    metadata_and_spec(object, errs);
    annotations::update(object, old, errs);
    if annotations::is_mirror(old) {
        only_error("static pods do not support ephemeral containers", errs);
        return;
    }
    let new = At::root(object, "spec").get("ephemeralContainers");
    for before in list(&old["spec"]["ephemeralContainers"]) {
        let name = text(before, "name");
        match list(new.v).iter().rfind(|c| text(c, "name") == name) {
            None => {
                let words = format!("existing ephemeral containers {name:?} may not be removed\n");
                errs.push(new.forbidden(words));
            }
            Some(now) if !same(now, before) => {
                let words = format!("existing ephemeral containers {name:?} may not be changed\n");
                errs.push(new.forbidden(words));
            }
            Some(_) => {}
        }
    }
}

/// What makes everything else that was found beside the point.
pub(super) fn only_error(words: &str, errs: &mut Errors) {
    errs.clear();
    errs.push(Error::forbidden(&Path::new("[]"), words));
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

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
}
