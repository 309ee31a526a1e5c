//! How many pods a second the scheduler decides on, without an API server: `cargo run --release --example throughput`.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_scheduler::{
    cluster::Cluster, cycle::Pipeline, labels::Selector, plugins, pod_info::PodInfo, queue::Queue,
};
use serde_json::{Value, json};

const NODES: usize = 1000;
const PODS: usize = 10_000;

fn node(i: usize) -> Arc<Node> {
    let name = format!("node-{i}");
    let labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", i % 3)});
    let allocatable = json!({"cpu": "32", "memory": "64Gi", "pods": "110"});
    let node = json!({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}});
    Arc::new(serde_json::from_value(node).expect("a node"))
}

fn pod(i: usize, extra: &Value) -> Arc<Pod> {
    let name = format!("pod-{i}");
    let resources = json!({"requests": {"cpu": "100m", "memory": "128Mi"}});
    let mut spec = json!({"containers": [{"name": "c", "image": "i", "resources": resources}]});
    if let (Some(spec), Some(extra)) = (spec.as_object_mut(), extra.as_object()) {
        spec.extend(extra.clone());
    }
    let metadata =
        json!({"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod"))
}

fn run(name: &str, served: bool, extra: &Value) {
    let mut cluster = Cluster::default();
    (0..NODES).for_each(|i| cluster.set_node(node(i)));
    if served {
        let labels = [("app".to_owned(), "web".to_owned())];
        let selector = Selector::equal(labels.iter().map(|(k, v)| (k, v)));
        cluster
            .services
            .insert("default".into(), [("web".to_owned(), selector)].into());
    }
    let pods: Vec<_> = (0..PODS).map(|i| pod(i, extra)).collect();
    let (mut pipeline, mut queue) = (Pipeline::new(plugins::all()), Queue::default());
    let start = Instant::now();
    let mut placed = 0;
    for pod in pods {
        queue.put(Arc::new(PodInfo::new(pod)));
        let Some(pod) = queue.next(Instant::now()) else {
            continue;
        };
        let Ok(at) = pipeline.schedule(&pod, &cluster) else {
            continue;
        };
        let node = cluster.nodes()[at].name.clone();
        queue.remove(&pod.uid);
        cluster.place(pod, &node);
        placed += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{name}: {placed} pods on {NODES} nodes, {:.0} pods/s",
        f64::from(placed) / seconds
    );
}

fn main() {
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
    let anti = json!([{"weight": 1, "podAffinityTerm": term}]);
    let spread = json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]);
    run("plain", false, &json!({}));
    run("behind a Service, spread by default", true, &json!({}));
    run(
        "spread over zones",
        false,
        &json!({"topologySpreadConstraints": spread}),
    );
    let affinity =
        json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": anti}});
    run("apart if possible", false, &json!({"affinity": affinity}));
}
