//! The cluster as the scheduler knows it: nodes with the pods on them, kept by difference.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::{
    labels::Labels,
    pod_info::{HostPort, PodInfo},
    resources::{Resources, allocatable},
};

/// Pods with the same namespace and labels are of one class: selectors are matched against classes, not against pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Class {
    pub namespace: String,
    pub labels: Option<BTreeMap<String, String>>,
    /// Being deleted: such pods count for nothing where pods are spread.
    pub terminating: bool,
}

#[derive(Debug)]
struct ClassUse {
    class: Class,
    pods: usize,
}

/// Where each node is by one label: numbers in the place of values, so that counting by place needs no hashing.
#[derive(Debug, Default)]
pub struct Topology {
    of_node: Vec<Option<u32>>,
    /// How many values there are.
    pub values: usize,
}

impl Topology {
    fn new(nodes: &[NodeInfo], key: &str) -> Self {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut of_node = Vec::with_capacity(nodes.len());
        for node in nodes {
            let next = numbers.len() as u32;
            of_node.push(node.label(key).map(|v| *numbers.entry(v).or_insert(next)));
        }
        Topology {
            of_node,
            values: numbers.len(),
        }
    }

    /// The number of the node's value; `None` when it has no such label.
    pub fn of(&self, node: &NodeInfo) -> Option<usize> {
        self.of_node.get(node.index)?.map(|n| n as usize)
    }
}

/// A node with what runs, or is about to run, on it.
///
/// What every attempt looks at stands in here, since following pointers to a thousand nodes costs more than all else.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    pub name: String,
    /// Its place among [`Cluster::nodes`].
    pub index: usize,
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    pub allocatable: Resources,
    pub max_pods: i64,
    /// What its pods ask for together.
    pub requested: Resources,
    /// What its pods count for, at least, when nodes are compared: (cpu, memory).
    pub floored: (i64, i64),
    pub pods: Vec<Arc<PodInfo>>,
    /// How many pods of which class.
    pub classes: Vec<(usize, i64)>,
    pub ports: Vec<HostPort>,
    /// Pods with affinity or anti-affinity of any sort.
    pub with_affinity: usize,
    /// Pods with required anti-affinity.
    pub with_anti_affinity: usize,
    /// Bytes by name.
    pub images: HashMap<String, i64>,
}

impl NodeInfo {
    fn new(node: Arc<Node>) -> Self {
        let mut info = NodeInfo {
            name: node.metadata.name.clone().unwrap_or_default(),
            node: node.clone(),
            index: 0,
            unschedulable: false,
            taints: Vec::new(),
            allocatable: Resources::default(),
            max_pods: 0,
            requested: Resources::default(),
            floored: (0, 0),
            pods: Vec::new(),
            classes: Vec::new(),
            ports: Vec::new(),
            with_affinity: 0,
            with_anti_affinity: 0,
            images: HashMap::new(),
        };
        info.update(node);
        info
    }

    fn update(&mut self, node: Arc<Node>) {
        (self.allocatable, self.max_pods) = allocatable(&node);
        let spec = node.spec.as_ref();
        self.unschedulable = spec.and_then(|s| s.unschedulable).unwrap_or(false);
        self.taints = spec.and_then(|s| s.taints.clone()).unwrap_or_default();
        let images = node.status.as_ref().and_then(|s| s.images.as_ref());
        self.images.clear();
        for image in images.into_iter().flatten() {
            for name in image.names.iter().flatten() {
                self.images
                    .insert(name.clone(), image.size_bytes.unwrap_or(0));
            }
        }
        self.node = node;
    }

    pub fn labels(&self) -> &Labels {
        &self.node.metadata.labels
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        crate::labels::get(self.labels(), key)
    }

    /// Counts a pod in, without its class.
    pub fn put(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests.exact);
        self.floored.0 += pod.requests.floored.0;
        self.floored.1 += pod.requests.floored.1;
        self.ports.extend(pod.ports.iter().cloned());
        self.with_affinity += usize::from(!pod.affinities.is_empty());
        self.with_anti_affinity += usize::from(!pod.affinities.required_anti.is_empty());
        self.pods.push(pod);
    }

    /// Takes a pod out again, but for its class.
    pub fn take(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|p| p.uid == uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.sub(&pod.requests.exact);
        self.floored.0 -= pod.requests.floored.0;
        self.floored.1 -= pod.requests.floored.1;
        for port in &pod.ports {
            if let Some(i) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(i);
            }
        }
        self.with_affinity -= usize::from(!pod.affinities.is_empty());
        self.with_anti_affinity -= usize::from(!pod.affinities.required_anti.is_empty());
        Some(pod)
    }

    fn count_class(&mut self, class: usize, by: i64) {
        match self.classes.iter().position(|(c, _)| *c == class) {
            Some(i) => {
                self.classes[i].1 += by;
                if self.classes[i].1 <= 0 {
                    self.classes.swap_remove(i);
                }
            }
            None => self.classes.push((class, by)),
        }
    }
}

struct Placed {
    pod: Arc<PodInfo>,
    node: String,
    class: usize,
}

/// A workload's selector, for spreading the pods of one workload by default.
#[derive(Debug, Clone)]
pub struct Workload {
    pub selector: crate::labels::Selector,
}

/// All nodes and the pods on them.
#[derive(Default)]
pub struct Cluster {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<String, usize>,
    placed: HashMap<String, Placed>,
    classes: Vec<Option<ClassUse>>,
    free_classes: Vec<usize>,
    class_ids: HashMap<Class, usize>,
    /// Labels of namespaces.
    pub namespaces: HashMap<String, Labels>,
    /// Selectors of Services, by namespace and name.
    pub services: HashMap<String, HashMap<String, crate::labels::Selector>>,
    /// Selectors of ReplicaSets and the like, by uid.
    pub workloads: HashMap<String, Workload>,
    /// Pods on nodes that have affinity of any sort, over all nodes.
    pub with_affinity: usize,
    pub with_anti_affinity: usize,
    /// On how many nodes an image is.
    pub image_nodes: HashMap<String, i64>,
    /// By label; made when first asked for, forgotten when a node comes, goes or is labelled anew.
    topologies: RefCell<HashMap<String, Arc<Topology>>>,
    /// Pods for which room is being made, by uid, with the node where.
    nominated: HashMap<String, (Arc<PodInfo>, String)>,
}

impl Cluster {
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name).map(|i| &self.nodes[*i])
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn namespace_labels(&self, namespace: &str) -> &Labels {
        self.namespaces.get(namespace).unwrap_or(&None)
    }

    /// Where the nodes are by this label.
    pub fn topology(&self, key: &str) -> Arc<Topology> {
        let mut known = self.topologies.borrow_mut();
        if let Some(topology) = known.get(key) {
            return topology.clone();
        }
        let topology = Arc::new(Topology::new(&self.nodes, key));
        known.insert(key.to_owned(), topology.clone());
        topology
    }

    /// The node that a pod counts on, and what is known of the pod.
    pub fn placed(&self, uid: &str) -> Option<(&Arc<PodInfo>, &str)> {
        self.placed.get(uid).map(|p| (&p.pod, p.node.as_str()))
    }

    /// For each class number whether `test` holds of it.
    pub fn class_mask(&self, test: impl Fn(&Class) -> bool) -> Vec<bool> {
        self.classes
            .iter()
            .map(|c| c.as_ref().is_some_and(|c| test(&c.class)))
            .collect()
    }

    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        match self.by_name.get(&name) {
            Some(&i) => {
                self.count_images(i, -1);
                if *self.nodes[i].labels() != node.metadata.labels {
                    self.topologies.get_mut().clear();
                }
                self.nodes[i].update(node);
                self.count_images(i, 1);
            }
            None => {
                let i = self.nodes.len();
                self.nodes.push(NodeInfo::new(node));
                self.nodes[i].index = i;
                self.topologies.get_mut().clear();
                self.by_name.insert(name.clone(), i);
                self.count_images(i, 1);
                // Pods that were told of before their node.
                let waiting: Vec<_> = self
                    .placed
                    .values()
                    .filter(|p| p.node == name)
                    .map(|p| (p.pod.clone(), p.class))
                    .collect();
                for (pod, class) in waiting {
                    self.put(i, pod, class);
                }
            }
        }
    }

    /// The pods stay known: they are deleted one by one.
    pub fn remove_node(&mut self, name: &str) {
        let Some(i) = self.by_name.remove(name) else {
            return;
        };
        self.count_images(i, -1);
        let gone = self.nodes.swap_remove(i);
        self.with_affinity -= gone.with_affinity;
        self.with_anti_affinity -= gone.with_anti_affinity;
        self.topologies.get_mut().clear();
        if let Some(moved) = self.nodes.get_mut(i) {
            moved.index = i;
            self.by_name.insert(moved.name.clone(), i);
        }
    }

    fn count_images(&mut self, node: usize, by: i64) {
        for name in self.nodes[node].images.keys() {
            let count = self.image_nodes.entry(name.clone()).or_default();
            *count += by;
            if *count <= 0 {
                self.image_nodes.remove(name);
            }
        }
    }

    fn put(&mut self, node: usize, pod: Arc<PodInfo>, class: usize) {
        self.with_affinity += usize::from(!pod.affinities.is_empty());
        self.with_anti_affinity += usize::from(!pod.affinities.required_anti.is_empty());
        self.nodes[node].put(pod);
        self.nodes[node].count_class(class, 1);
    }

    /// Counts a pod on a node, in the place of what was known of the same pod.
    pub fn place(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove(&pod.uid);
        let class = self.class_of(&pod);
        if let Some(i) = self.index(node) {
            self.put(i, pod.clone(), class);
        }
        self.placed.insert(
            pod.uid.clone(),
            Placed {
                pod,
                node: node.to_owned(),
                class,
            },
        );
    }

    /// Takes a pod off its node; whether it was on one.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(placed) = self.placed.remove(uid) else {
            return false;
        };
        if let Some(i) = self.index(&placed.node)
            && let Some(pod) = self.nodes[i].take(uid)
        {
            self.nodes[i].count_class(placed.class, -1);
            self.with_affinity -= usize::from(!pod.affinities.is_empty());
            self.with_anti_affinity -= usize::from(!pod.affinities.required_anti.is_empty());
        }
        self.drop_class(placed.class);
        true
    }

    fn class_of(&mut self, pod: &PodInfo) -> usize {
        let class = Class {
            namespace: pod.key.namespace.clone(),
            labels: pod.labels().clone(),
            terminating: pod.terminating(),
        };
        if let Some(&id) = self.class_ids.get(&class) {
            if let Some(Some(known)) = self.classes.get_mut(id) {
                known.pods += 1;
            }
            return id;
        }
        let used = Some(ClassUse {
            class: class.clone(),
            pods: 1,
        });
        let id = match self.free_classes.pop() {
            Some(id) => {
                self.classes[id] = used;
                id
            }
            None => {
                self.classes.push(used);
                self.classes.len() - 1
            }
        };
        self.class_ids.insert(class, id);
        id
    }

    fn drop_class(&mut self, id: usize) {
        let Some(slot) = self.classes.get_mut(id) else {
            return;
        };
        let Some(known) = slot else { return };
        known.pods -= 1;
        if known.pods == 0 {
            self.class_ids.remove(&known.class);
            *slot = None;
            self.free_classes.push(id);
        }
    }

    /// Room is being made for a pod on a node.
    pub fn nominate(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.nominated
            .insert(pod.uid.clone(), (pod, node.to_owned()));
    }

    /// The pod no longer waits for room.
    pub fn denominate(&mut self, uid: &str) {
        self.nominated.remove(uid);
    }

    /// The node as it will be when those at least as important as `pod` have come for which room is being made there;
    /// `None` when there are none.
    pub fn with_nominated(&self, node: &NodeInfo, pod: &PodInfo) -> Option<NodeInfo> {
        let meant = |(other, on): &&(Arc<PodInfo>, String)| {
            *on == node.name && other.uid != pod.uid && other.priority >= pod.priority
        };
        let mut coming = self.nominated.values().filter(meant).peekable();
        coming.peek()?;
        let mut out = node.clone();
        coming.for_each(|(other, _)| out.put(other.clone()));
        Some(out)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::pod_info::tests::pod;
    use serde_json::{Value, json};

    /// A node with labels, taints and what else `extra` (a spec) says; 4 cpus, 8Gi, 110 pods.
    pub fn node(name: &str, labels: Value, spec: Value) -> Arc<Node> {
        let allocatable =
            json!({"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "10Gi"});
        let value = json!({"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": allocatable}});
        Arc::new(serde_json::from_value(value).expect("a node"))
    }

    fn asking(name: &str) -> Arc<PodInfo> {
        let ports = json!([{"containerPort": 1, "hostPort": 80}]);
        pod(
            name,
            json!({"app": name}),
            json!({"containers": [
            {"name": "c", "ports": ports, "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}),
        )
    }

    #[test]
    fn pods_count_where_they_are() {
        let mut cluster = Cluster::default();
        // The pod is told of before its node.
        cluster.place(asking("a"), "n1");
        cluster.set_node(node("n1", json!({}), json!({})));
        cluster.set_node(node("n2", json!({}), json!({})));
        assert_eq!(cluster.node("n1").unwrap().requested.cpu, 1000);
        assert_eq!(cluster.node("n1").unwrap().classes.len(), 1);

        cluster.place(asking("a"), "n2");
        assert_eq!(cluster.node("n1").unwrap().requested, Resources::default());
        assert_eq!(cluster.node("n2").unwrap().ports.len(), 1);

        cluster.remove_node("n1");
        assert_eq!(cluster.index("n2"), Some(0));
        assert!(cluster.remove("a") && !cluster.remove("a"));
        let n2 = cluster.node("n2").unwrap();
        assert_eq!(
            (
                n2.requested.cpu,
                n2.floored,
                n2.ports.len(),
                n2.classes.len()
            ),
            (0, (0, 0), 0, 0)
        );
        assert!(cluster.class_ids.is_empty() && cluster.classes[0].is_none());
    }

    #[test]
    fn classes_are_shared_and_used_again() {
        let mut cluster = Cluster::default();
        cluster.set_node(node("n1", json!({}), json!({})));
        for name in ["a", "b"] {
            cluster.place(pod(name, json!({"app": "x"}), json!({})), "n1");
        }
        assert_eq!(cluster.node("n1").unwrap().classes, [(0, 2)]);
        assert_eq!(cluster.class_mask(|c| c.namespace == "default"), [true]);
        cluster.remove("a");
        cluster.remove("b");
        cluster.place(pod("c", json!({"app": "y"}), json!({})), "n1");
        assert_eq!(cluster.node("n1").unwrap().classes, [(0, 1)]);
    }
}
