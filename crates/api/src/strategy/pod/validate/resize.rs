//! What may change of a pod's resources while it runs.

use knarr_json::Value;

use super::{
    annotations, metadata_and_spec,
    update::{only_error, same},
};
use crate::{
    field::{Error, Errors, Path},
    strategy::{
        common,
        pod::resources::{is_sidecar, qos},
    },
    validation::{At, list, map, text},
};

const FORBIDDEN: &str = "only cpu and memory resources are mutable";

/// Checks an update of `/resize`: only CPU and memory change.
pub fn resize(object: &Value, old: &Value, errs: &mut Errors) {
    metadata_and_spec(object, errs);
    if annotations::is_mirror(old) {
        only_error("static pods cannot be resized", errs);
        return;
    }
    if text(&old["spec"]["os"], "name") == "windows" {
        only_error("windows pods cannot be resized", errs);
        return;
    }
    let (spec, was) = (At::root(object, "spec"), &old["spec"]);
    if !same_containers(&spec, was, errs) {
        return;
    }
    quality(object, old, &spec.path, errs);
    if !is_supported(old) {
        errs.push(spec.forbidden("Pod running on node without support for resize"));
    }
    amounts(&spec, was, errs);
    others(&spec, was, errs);
}

/// The containers are those that there were, one for one.
fn same_containers(spec: &At, was: &Value, errs: &mut Errors) -> bool {
    let before = errs.len();
    for key in ["containers", "initContainers"] {
        let (all, old) = (spec.get(key), list(&was[key]));
        if list(all.v).len() != old.len() {
            let words = format!("{key} may not be added or removed on resize");
            errs.push(all.forbidden(words));
            continue;
        }
        for (new, old) in all.each().zip(old) {
            if new.v["name"] != old["name"] {
                let words = format!("{key} may not be renamed or reordered on resize");
                errs.push(new.get("name").forbidden(words));
            }
        }
    }
    errs.len() == before
}

/// The class that a pod got when it was made stays.
fn quality(object: &Value, old: &Value, path: &Path, errs: &mut Errors) {
    let mut fresh = object.clone();
    common::clear(&mut fresh, "status");
    if qos(old) != qos(&fresh) {
        errs.push(Error::invalid(
            path,
            text(&object["status"], "qosClass"),
            "Pod QOS Class may not change as a result of resizing",
        ));
    }
}

/// A kubelet that can resize tells the resources of the containers that run.
fn is_supported(pod: &Value) -> bool {
    list(&pod["status"]["containerStatuses"])
        .iter()
        .find(|c| c["state"]["running"].is_object())
        .is_none_or(|c| c["resources"].is_object())
}

/// Amounts may change, but not go.
fn amounts(spec: &At, was: &Value, errs: &mut Errors) {
    removed(&spec.get("resources"), &was["resources"], errs);
    for (c, before) in spec
        .items("initContainers")
        .zip(list(&was["initContainers"]))
    {
        if is_sidecar(before) {
            container(&c, before, errs);
        }
    }
    for (c, before) in spec.items("containers").zip(list(&was["containers"])) {
        container(&c, before, errs);
    }
}

fn removed(resources: &At, was: &Value, errs: &mut Errors) {
    for (key, words) in [
        ("requests", "resource requests cannot be removed"),
        ("limits", "resource limits cannot be removed"),
    ] {
        let gone = map(was, key)
            .into_iter()
            .flat_map(|m| m.keys())
            .any(|name| resources.v[key].get(name).is_none());
        if gone {
            errs.push(resources.get(key).forbidden(words));
        }
    }
}

fn container(c: &At, before: &Value, errs: &mut Errors) {
    removed(&c.get("resources"), &before["resources"], errs);
}

/// Nothing else of a container changes; an ordinary init container, which is over soon, stays as it is.
fn others(spec: &At, was: &Value, errs: &mut Errors) {
    let before = errs.len();
    let mut rest = spec.v.clone();
    for (i, old) in list(&was["containers"]).iter().enumerate() {
        restore(&mut rest["containers"][i], old);
        if !same(&rest["containers"][i], old) {
            errs.push(spec.forbidden(FORBIDDEN));
        }
    }
    for (i, old) in list(&was["initContainers"]).iter().enumerate() {
        let now = &mut rest["initContainers"][i];
        let sidecar = is_sidecar(now);
        if sidecar {
            restore(now, old);
        }
        if !same(now, old) {
            errs.push(spec.forbidden(match sidecar {
                true => "only cpu and memory resources for sidecar containers are mutable",
                false => "resources for non-sidecar init containers are immutable",
            }));
        }
    }
    restore(&mut rest, was);
    if errs.len() == before && !same(&rest, was) {
        errs.push(spec.forbidden(FORBIDDEN));
    }
}

/// Sets CPU and memory back to what they were, so that the rest can be compared.
fn restore(holder: &mut Value, old: &Value) {
    for key in ["limits", "requests"] {
        let was = &old["resources"][key];
        let mut amounts = holder["resources"][key].clone();
        if was.is_null() && only_basic(&amounts) {
            if let Some(resources) = holder.get_mut("resources").filter(|r| r.is_object()) {
                common::clear(resources, key);
            }
            continue;
        }
        for name in ["cpu", "memory"] {
            if amounts.is_object() {
                common::keep(&mut amounts, was, name);
            }
        }
        if amounts.is_object() {
            holder["resources"][key] = amounts;
        }
    }
    if old["resources"].is_null() && is_bare(&holder["resources"]) {
        common::clear(holder, "resources");
    }
}

fn only_basic(amounts: &Value) -> bool {
    amounts
        .as_object()
        .is_none_or(|m| m.keys().all(|k| k == "cpu" || k == "memory"))
}

fn is_bare(resources: &Value) -> bool {
    resources.as_object().is_some_and(|m| m.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn pod(containers: Value, init: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"serviceAccountName": "default",
            "containers": containers, "initContainers": init}});
        crate::strategy::pod::defaults::pod(&mut pod);
        pod["status"] = json!({"qosClass": qos(&pod)});
        pod
    }

    fn with(resources: Value) -> Value {
        json!([{"name": "c", "image": "i", "resources": resources}])
    }

    fn wrong(old: &Value, new: &Value) -> Vec<String> {
        let mut errs = Errors::new();
        resize(new, old, &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn resizes_that_are_refused() {
        let one = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let old = pod(with(one("1")), json!([]));
        let cases: &[(Value, &[&str])] = &[
            (pod(with(one("2")), json!([])), &[]),
            (
                pod(
                    with(json!({"requests": {"cpu": "1", "memory": "1Mi"}})),
                    json!([]),
                ),
                &[],
            ),
            (
                pod(with(json!({"requests": {"memory": "1Mi"}})), json!([])),
                &[
                    "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
                ],
            ),
            (
                pod(
                    with(json!({"requests": {"cpu": "1", "ephemeral-storage": "1Mi"}})),
                    json!([]),
                ),
                &["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (
                pod(
                    with(
                        json!({"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "1Mi"}}),
                    ),
                    json!([]),
                ),
                &[
                    "spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing",
                ],
            ),
        ];
        for (new, want) in cases {
            assert_eq!(wrong(&old, new), *want, "{}", new["spec"]);
        }
        let mut renamed = old.clone();
        renamed["spec"]["containers"][0]["name"] = json!("d");
        assert_eq!(
            wrong(&old, &renamed),
            [
                "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"
            ]
        );
        let init = |cpu: &str| json!([{"name": "i", "image": "i", "resources": {"requests": {"cpu": cpu}}}]);
        let (old, new) = (
            pod(with(one("1")), init("1")),
            pod(with(one("1")), init("2")),
        );
        assert_eq!(
            wrong(&old, &new),
            ["spec: Forbidden: resources for non-sidecar init containers are immutable"]
        );
    }
}
