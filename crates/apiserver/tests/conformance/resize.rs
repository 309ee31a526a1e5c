//! Resources of containers that run are changed by their own subresource.

use knarr_json::{Value, json};

use crate::world::{STRATEGIC, World};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Containers `c1`, `c2` … of requests and limits.
fn containers(all: &[Value]) -> Value {
    let numbered = all.iter().enumerate();
    numbered
        .map(|(i, resources)| json!({"name": format!("c{}", i + 1), "image": "i", "resources": resources}))
        .collect()
}

fn equal(cpu: &str, memory: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": memory});
    json!({"requests": amounts, "limits": amounts})
}

/// A server, and the node that the pods are on: what it has bounds what they may grow to, and what it declares how.
async fn start() -> World {
    let world = World::start().await;
    let node = json!({
        "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}},
        "status": {
            "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110"},
            "declaredFeatures": ["GuaranteedQoSPodCPUResize", "InPlacePodLevelResourcesVerticalScaling"],
        },
    });
    world.make("/api/v1/nodes", node).await;
    world
}

async fn make(world: &World, name: &str, all: &[Value]) -> String {
    let body = json!({"metadata": {"name": name}, "spec": {"nodeName": "n", "containers": containers(all)}});
    world.make(PODS, body).await;
    format!("{PODS}/{name}")
}

fn check(pod: &Value, all: &[Value], generation: u32) {
    for (i, wanted) in all.iter().enumerate() {
        assert_eq!(
            &pod["spec"]["containers"][i]["resources"],
            wanted,
            "c{}",
            i + 1
        );
    }
    assert_eq!(pod["metadata"]["generation"], generation);
}

/// Resizes by patch and back again.
async fn there_and_back(world: &World, name: &str, before: &[Value], after: &[Value]) {
    let path = make(world, name, before).await;
    let resize = format!("{path}/resize");
    let patch = |all: &[Value]| json!({"spec": {"containers": containers(all)}});
    let class = world.get(&path).await["status"]["qosClass"].clone();
    let resized = world.patch(&resize, STRATEGIC, patch(after)).await;
    check(&resized, after, 2);
    let read = world.get(&path).await;
    check(&read, after, 2);
    assert_eq!(read["status"]["qosClass"], class);
    let resized = world.patch(&resize, STRATEGIC, patch(before)).await;
    check(&resized, before, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn guaranteed_pods_stay_guaranteed() {
    let world = start().await;
    let before = [
        equal("20m", "35Mi"),
        equal("22m", "37Mi"),
        equal("24m", "39Mi"),
    ];
    for (i, after) in [
        [
            equal("25m", "40Mi"),
            equal("27m", "42Mi"),
            equal("19m", "34Mi"),
        ],
        [
            equal("25m", "40Mi"),
            equal("17m", "32Mi"),
            equal("19m", "34Mi"),
        ],
        [
            equal("25m", "35Mi"),
            equal("17m", "42Mi"),
            equal("29m", "44Mi"),
        ],
    ]
    .iter()
    .enumerate()
    {
        there_and_back(&world, &format!("p{i}"), &before, after).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equivalent_amounts_are_taken() {
    let world = start().await;
    let of = |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
    there_and_back(&world, "p", &[of("2m", "10m")], &[of("1m", "5m")]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn burstable_pods_gain_requests_and_limits() {
    let world = start().await;
    let requests = |amounts: Value| json!({ "requests": amounts });
    let before = [
        requests(json!({"cpu": "20m"})),
        requests(json!({"memory": "35Mi"})),
        requests(json!({"cpu": "20m", "memory": "35Mi"})),
        requests(json!({"cpu": "20m"})),
        requests(json!({"memory": "35Mi"})),
    ];
    let after = [
        json!({"requests": {"cpu": "25m"}, "limits": {"cpu": "35m"}}),
        json!({"requests": {"memory": "30Mi"}, "limits": {"memory": "50Mi"}}),
        requests(json!({"cpu": "20m", "memory": "30Mi"})),
        requests(json!({"cpu": "15m", "memory": "35Mi"})),
        requests(json!({"cpu": "20m", "memory": "40Mi"})),
    ];
    let path = make(&world, "p", &before).await;
    let patch = json!({"spec": {"containers": containers(&after)}});
    let resized = world
        .patch(&format!("{path}/resize"), STRATEGIC, patch)
        .await;
    check(&resized, &after, 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_replaced_to_be_resized() {
    let world = start().await;
    let path = make(&world, "p", &[equal("20m", "35Mi")]).await;
    let wanted = equal("25m", "40Mi");
    let resized = world
        .update(&format!("{path}/resize"), |p| {
            p["spec"]["containers"][0]["resources"] = wanted.clone();
        })
        .await;
    check(&resized, &[wanted], 2);
    // Elsewhere resources stay as they are.
    let mut pod = resized;
    pod["spec"]["containers"][0]["resources"] = equal("30m", "40Mi");
    let (code, _) = world.ask("PUT", &path, pod).await;
    assert_eq!(code, 422);
    world.stop().await;
}
