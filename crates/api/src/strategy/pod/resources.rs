//! Sums over a pod's containers: quality of service, and what a pod as a whole requests.

use std::collections::BTreeMap;

use knarr_json::{Map, Value, json};

use crate::{
    strategy::defaults::{at, ensure, set},
    validation::{amount::Amount, list, text},
};

/// Amounts by resource name.
type Amounts = BTreeMap<String, Amount>;

fn amounts(v: &Value) -> Amounts {
    v.as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.to_string(), Amount::of(v)))
        .collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (k, v) in more {
        let sum = to.get(k).copied().unwrap_or(Amount::ZERO).plus(*v);
        to.insert(k.clone(), sum);
    }
}

fn raise(to: &mut Amounts, floor: &Amounts) {
    for (k, v) in floor {
        if to.get(k).is_none_or(|have| have < v) {
            to.insert(k.clone(), *v);
        }
    }
}

/// Whether an init container runs beside the ordinary ones.
pub fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// What all containers together need of `which` (`requests` or `limits`): the sum of those that run together, or more when
/// an init container needs more.
pub fn aggregate(spec: &Value, which: &str) -> Amounts {
    let mut total = Amounts::new();
    for c in list(&spec["containers"]) {
        add(&mut total, &amounts(&c["resources"][which]));
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for c in list(&spec["initContainers"]) {
        let own = amounts(&c["resources"][which]);
        let mut now = sidecars.clone();
        add(&mut now, &own);
        if is_sidecar(c) {
            add(&mut total, &own);
            sidecars = now.clone();
        }
        raise(&mut peak, &now);
    }
    raise(&mut total, &peak);
    total
}

/// Resources that a pod may ask for as a whole.
pub fn is_pod_level(name: &str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with("hugepages-")
}

/// A pod that limits itself as a whole requests, for each limit, what its containers request, or else the limit.
pub fn default_pod_level(spec: &mut Value) {
    let limits = spec["resources"]["limits"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let requests = spec["resources"]["requests"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let mut filled: Map = Map::new();
    for (name, amount) in aggregate(spec, "requests") {
        if is_pod_level(&name) && !name.starts_with("hugepages-") && limits.contains_key(&name) {
            filled.insert(name, amount.to_string().into());
        }
    }
    for (name, limit) in limits.iter().filter(|(name, _)| is_pod_level(name)) {
        filled.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    let Some(resources) = at(spec, "resources") else {
        return;
    };
    if filled.is_empty() {
        return;
    }
    let requests = ensure(resources, "requests");
    for (name, quantity) in filled {
        set(requests, &name, quantity);
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos(pod: &Value) -> String {
    let known = text(&pod["status"], "qosClass");
    if !known.is_empty() {
        return known.to_owned();
    }
    let spec = &pod["spec"];
    let counted = |v: &Value| -> Amounts {
        let given = ["cpu", "memory"].into_iter().filter_map(|k| {
            let amount = Amount::of(v.get(k)?);
            (!amount.is_zero()).then(|| (k.to_owned(), amount))
        });
        given.collect()
    };
    let pod_level = &spec["resources"];
    let (requests, limits, guaranteed) = if has_any(pod_level) {
        let (r, l) = (
            counted(&pod_level["requests"]),
            counted(&pod_level["limits"]),
        );
        let all = l.len() == 2;
        (r, l, all)
    } else {
        let mut requests = Amounts::new();
        let mut limits = Amounts::new();
        let mut guaranteed = true;
        for c in list(&spec["containers"])
            .iter()
            .chain(list(&spec["initContainers"]))
        {
            let own = counted(&c["resources"]["limits"]);
            add(&mut requests, &counted(&c["resources"]["requests"]));
            guaranteed &= own.len() == 2;
            add(&mut limits, &own);
        }
        (requests, limits, guaranteed)
    };
    let class = if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed
        && requests.len() == limits.len()
        && requests
            .iter()
            .all(|(k, v)| limits.get(k).is_some_and(|l| l.nanos == v.nanos))
    {
        "Guaranteed"
    } else {
        "Burstable"
    };
    class.to_owned()
}

fn has_any(resources: &Value) -> bool {
    let some = |k: &str| resources[k].as_object().is_some_and(|m| !m.is_empty());
    some("requests") || some("limits")
}

/// Rounds quantities up to thousandths, the finest that resources are counted in.
pub fn round_up(resources: &mut Value) {
    for key in ["requests", "limits", "capacity", "allocatable"] {
        round_list(&mut resources[key]);
    }
    if let Some(map) = resources.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
}

fn round_list(quantities: &mut Value) {
    for (_, quantity) in quantities.as_object_mut().into_iter().flatten() {
        if let Some(rounded) = Amount::of(quantity).rounded_to_milli() {
            *quantity = json!(rounded.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(requests: Value, limits: Value) -> Value {
        json!({"resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn quality_of_service() {
        let full = json!({"cpu": "1", "memory": "1Gi"});
        for (containers, want) in [
            (vec![container(json!({}), json!({}))], "BestEffort"),
            (
                vec![container(json!({"cpu": "0"}), json!({}))],
                "BestEffort",
            ),
            (vec![container(full.clone(), full.clone())], "Guaranteed"),
            (
                vec![container(
                    json!({"cpu": "1000m", "memory": "1024Mi"}),
                    full.clone(),
                )],
                "Guaranteed",
            ),
            (
                vec![
                    container(full.clone(), full.clone()),
                    container(json!({}), json!({})),
                ],
                "Burstable",
            ),
            (
                vec![container(json!({"memory": "1Mi"}), json!({}))],
                "Burstable",
            ),
        ] {
            assert_eq!(qos(&json!({"spec": {"containers": containers}})), want);
        }
    }

    #[test]
    fn pod_level_requests_come_from_containers() {
        let mut spec = json!({"resources": {"limits": {"cpu": "4", "memory": "1Gi"}}, "containers": [
            container(json!({"cpu": "500m", "memory": "100Mi"}), json!({"memory": "100Mi"})),
            container(json!({"cpu": "250m", "memory": "64Mi"}), json!({})),
        ]});
        default_pod_level(&mut spec);
        assert_eq!(
            spec["resources"]["requests"],
            json!({"cpu": "750m", "memory": "164Mi"})
        );
    }

    #[test]
    fn an_init_container_may_be_the_largest() {
        let spec = json!({"containers": [container(json!({"cpu": "1"}), json!({}))],
            "initContainers": [{"restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}, container(json!({"cpu": "3"}), json!({}))]});
        assert_eq!(aggregate(&spec, "requests")["cpu"].to_string(), "4");
    }
}
