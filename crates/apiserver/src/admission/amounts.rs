//! Amounts of resources by name, and how much a pod takes of them as a whole.

use std::collections::BTreeMap;

use knarr_api::Quantity;
use knarr_json::{Map, Value};

/// Amounts by the name of what is counted.
pub type Amounts = BTreeMap<String, Quantity>;

/// Reads a resource list; what is no quantity is left out.
pub fn read(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| {
            let parsed = match value {
                Value::String(text) => Quantity::parse(text),
                other => Quantity::parse(&other.to_string()),
            };
            parsed.ok().map(|quantity| (name.to_string(), quantity))
        })
        .collect()
}

/// As objects hold them.
pub fn write(amounts: &Amounts) -> Value {
    let entries = amounts
        .iter()
        .map(|(name, quantity)| (name.clone(), Value::from(quantity.to_string())));
    Value::Object(Map::from_iter(entries))
}

pub fn add(to: &mut Amounts, more: &Amounts) {
    for (name, quantity) in more {
        match to.get_mut(name) {
            Some(sum) => *sum += quantity,
            None => {
                to.insert(name.clone(), quantity.clone());
            }
        }
    }
}

fn raise(to: &mut Amounts, floor: &Amounts) {
    for (name, quantity) in floor {
        if to.get(name).is_none_or(|held| held < quantity) {
            to.insert(name.clone(), quantity.clone());
        }
    }
}

fn containers<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    spec[list].as_array().into_iter().flatten()
}

/// What the containers together need of `which` (`requests` or `limits`): those that run side by side, or more when one
/// that runs before them needs more.
pub fn of_containers(spec: &Value, which: &str) -> Amounts {
    let of = |container: &Value| read(&container["resources"][which]);
    let mut total = Amounts::new();
    containers(spec, "containers").for_each(|c| add(&mut total, &of(c)));
    let (mut beside, mut peak) = (Amounts::new(), Amounts::new());
    for container in containers(spec, "initContainers") {
        let own = of(container);
        let mut now = beside.clone();
        add(&mut now, &own);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &own);
            beside.clone_from(&now);
        }
        raise(&mut peak, &now);
    }
    raise(&mut total, &peak);
    total
}

/// Whether a pod may set this resource for itself as a whole.
fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// What a pod needs of `which`: what it says for itself, else what its containers need, without its overhead.
pub fn of_pod(spec: &Value, which: &str) -> Amounts {
    let mut total = of_containers(spec, which);
    let own = read(&spec["resources"][which]).into_iter();
    total.extend(own.filter(|(name, _)| is_pod_level(name)));
    total
}

/// [`of_pod`] with the overhead of its runtime, which counts for limits only where there are some.
pub fn with_overhead(spec: &Value, which: &str) -> Amounts {
    let mut total = of_pod(spec, which);
    let mut overhead = read(&spec["overhead"]);
    if which == "limits" {
        overhead.retain(|name, _| total.get(name).is_some_and(|limit| !limit.is_zero()));
    }
    add(&mut total, &overhead);
    total
}

/// Names and amounts as messages show them: `cpu=1,memory=2Gi`.
pub fn shown(amounts: &Amounts) -> String {
    let parts: Vec<String> = amounts.iter().map(|(k, v)| format!("{k}={v}")).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn pods_are_summed_up() {
        let with = |requests: Value| json!({"resources": {"requests": requests}});
        let sidecar = json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}});
        let two = || with(json!({"cpu": "500m", "memory": "1Gi"}));
        let table = [
            (json!({"containers": [two(), two()]}), "cpu=1,memory=2Gi"),
            (
                json!({"containers": [two()], "initContainers": [with(json!({"cpu": "3"}))]}),
                "cpu=3,memory=1Gi",
            ),
            (
                json!({"containers": [two()], "initContainers": [sidecar, with(json!({"cpu": "3"}))]}),
                "cpu=4,memory=1Gi",
            ),
            (
                json!({"containers": [two()], "resources": {"requests": {"cpu": "9", "example.com/x": "1"}}, "overhead": {"cpu": "250m", "memory": "1Mi"}}),
                "cpu=9250m,memory=1025Mi",
            ),
        ];
        for (spec, wanted) in table {
            assert_eq!(shown(&with_overhead(&spec, "requests")), wanted, "{spec}");
        }
        let limited = json!({"containers": [{"resources": {"limits": {"cpu": "1"}}}], "overhead": {"cpu": "1", "memory": "1Mi"}});
        assert_eq!(shown(&with_overhead(&limited, "limits")), "cpu=2");
    }
}
