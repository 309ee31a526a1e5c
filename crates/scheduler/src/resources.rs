//! Amounts of what nodes have and pods ask for.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Container, Node, Pod, PodSpec},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::quantity;

/// What a container that asks for nothing counts for when nodes are compared: thousandths of a cpu.
const FLOOR_CPU: i64 = 100;
/// The same of memory, in bytes.
const FLOOR_MEMORY: i64 = 200 << 20;

type Quantities = BTreeMap<String, Quantity>;

/// An amount of each resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a cpu.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of `ephemeral-storage`.
    pub ephemeral: i64,
    /// Extended resources, huge pages and the like, sorted by name; none of most pods.
    pub others: Vec<(Arc<str>, i64)>,
}

impl Resources {
    /// What cannot be read counts as nothing: validation keeps it out.
    pub fn parse(quantities: &Quantities) -> Self {
        let mut out = Resources::default();
        for (name, quantity) in quantities {
            match name.as_str() {
                "cpu" => out.cpu = quantity::milli(&quantity.0).unwrap_or(0),
                "memory" => out.memory = quantity::value(&quantity.0).unwrap_or(0),
                "ephemeral-storage" => out.ephemeral = quantity::value(&quantity.0).unwrap_or(0),
                "pods" => {}
                name => out
                    .others
                    .push((name.into(), quantity::value(&quantity.0).unwrap_or(0))),
            }
        }
        out
    }

    /// The amount of one of [`Resources::others`].
    pub fn other(&self, name: &str) -> i64 {
        self.others
            .iter()
            .find(|(n, _)| **n == *name)
            .map_or(0, |(_, v)| *v)
    }

    fn merge(&mut self, more: &Resources, op: impl Fn(i64, i64) -> i64) {
        self.cpu = op(self.cpu, more.cpu);
        self.memory = op(self.memory, more.memory);
        self.ephemeral = op(self.ephemeral, more.ephemeral);
        for (name, amount) in &more.others {
            match self.others.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(i) => self.others[i].1 = op(self.others[i].1, *amount),
                Err(i) => self.others.insert(i, (name.clone(), op(0, *amount))),
            }
        }
    }

    pub fn add(&mut self, more: &Resources) {
        self.merge(more, i64::saturating_add);
    }

    pub fn sub(&mut self, less: &Resources) {
        self.merge(less, i64::saturating_sub);
    }

    /// At least as much as `other` of each.
    pub fn raise(&mut self, other: &Resources) {
        self.merge(other, i64::max);
    }
}

/// What a pod asks for, and what it counts for at least when nodes are compared: (cpu, memory).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    pub exact: Resources,
    pub floored: (i64, i64),
}

/// Reads what a pod asks for: containers together, or what an init container needs if that is more (sidecars run along),
/// in the place of which a pod-level request stands, and the overhead of its runtime class on top.
pub fn requests(pod: &Pod) -> Requests {
    let Some(spec) = &pod.spec else {
        return Requests::default();
    };
    let mut floored = summed(spec, true);
    let mut exact = summed(spec, false);
    if let Some(pod_level) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let asked = Resources::parse(pod_level);
        replace(&mut exact, pod_level, &asked);
        replace(&mut floored, pod_level, &asked);
    }
    if let Some(overhead) = &spec.overhead {
        let overhead = Resources::parse(overhead);
        exact.add(&overhead);
        floored.add(&overhead);
    }
    Requests {
        exact,
        floored: (floored.cpu, floored.memory),
    }
}

fn replace(sum: &mut Resources, named: &Quantities, asked: &Resources) {
    if named.contains_key("cpu") {
        sum.cpu = asked.cpu;
    }
    if named.contains_key("memory") {
        sum.memory = asked.memory;
    }
    for (name, amount) in asked
        .others
        .iter()
        .filter(|(n, _)| n.starts_with("hugepages-"))
    {
        sum.others.retain(|(n, _)| n != name);
        sum.others.push((name.clone(), *amount));
        sum.others.sort();
    }
}

fn summed(spec: &PodSpec, floor: bool) -> Resources {
    let mut sum = Resources::default();
    for container in &spec.containers {
        sum.add(&of_container(container, floor));
    }
    let (mut sidecars, mut at_start) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let own = of_container(container, floor);
        let mut with_sidecars = sidecars.clone();
        with_sidecars.add(&own);
        at_start.raise(&with_sidecars);
        if container.restart_policy.as_deref() == Some("Always") {
            sum.add(&own);
            sidecars = with_sidecars;
        }
    }
    sum.raise(&at_start);
    sum
}

fn of_container(container: &Container, floor: bool) -> Resources {
    let requests = container
        .resources
        .as_ref()
        .and_then(|r| r.requests.as_ref());
    let mut own = requests.map(Resources::parse).unwrap_or_default();
    let named = |name| requests.is_some_and(|r| r.contains_key(name));
    if floor && !named("cpu") {
        own.cpu = FLOOR_CPU;
    }
    if floor && !named("memory") {
        own.memory = FLOOR_MEMORY;
    }
    own
}

/// What a node can give to pods, and to how many.
pub fn allocatable(node: &Node) -> (Resources, i64) {
    let given = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
    let pods = given
        .and_then(|g| g.get("pods"))
        .and_then(|q| quantity::value(&q.0))
        .unwrap_or(0);
    (given.map(Resources::parse).unwrap_or_default(), pods)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(spec: Value) -> Requests {
        requests(&serde_json::from_value(json!({"spec": spec})).expect("a pod"))
    }

    fn asks(cpu: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    fn side(cpu: &str) -> Value {
        json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn containers_init_containers_and_sidecars() {
        let table = [
            (json!({"containers": [asks("1"), asks("500m")]}), 1500),
            (
                json!({"containers": [asks("1")], "initContainers": [asks("3"), asks("2")]}),
                3000,
            ),
            (
                json!({"containers": [asks("2")], "initContainers": [side("1")]}),
                3000,
            ),
            // The second init container runs beside the sidecar, the first does not.
            (
                json!({"containers": [asks("1")], "initContainers": [asks("2"), side("1"), asks("3")]}),
                4000,
            ),
            (
                json!({"containers": [asks("1")], "overhead": {"cpu": "250m"}}),
                1250,
            ),
            (
                json!({"containers": [asks("1")], "resources": {"requests": {"cpu": "5"}}}),
                5000,
            ),
        ];
        for (spec, want) in table {
            assert_eq!(of(spec.clone()).exact.cpu, want, "{spec}");
        }
    }

    #[test]
    fn who_asks_for_nothing_counts_for_something() {
        let none = of(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
        assert_eq!(
            (none.exact, none.floored),
            (Resources::default(), (200, 400 << 20))
        );
        let zero = of(json!({"containers": [asks("0")]}));
        assert_eq!(zero.floored, (0, 200 << 20));
    }

    #[test]
    fn extended_resources_add_up() {
        let gpu = json!({"name": "c", "resources": {"requests": {"example.com/gpu": "2"}}});
        let mut sum = of(json!({"containers": [gpu.clone(), gpu]})).exact;
        assert_eq!(sum.other("example.com/gpu"), 4);
        sum.sub(&sum.clone());
        assert_eq!(sum.other("example.com/gpu"), 0);
    }
}
