//! Where pods go, what keeps them waiting, and who makes way for whom.

use serde_json::{Value, json};

use crate::world::{APPS, CORE, World, runs, workload};

const PRIORITIES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
/// A resource that only the test's node has, a thousand of it.
const SCARCE: &str = "example.com/fakecpu";

fn pods() -> String {
    format!("{CORE}/pods")
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod =
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key.as_str()] = value.clone();
    }
    pod
}

fn asking(resource: &str, amount: &str) -> Value {
    let amounts = json!({resource: amount});
    json!([{"name": "c", "image": "i", "resources": {"requests": amounts, "limits": amounts}}])
}

async fn waits(world: &World, name: &str) {
    let refused = |p: &Value| {
        let mut conditions = p["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|c| c["type"] == "PodScheduled" && c["reason"] == "Unschedulable")
    };
    let path = format!("{}/{name}", pods());
    world.until(&path, "refused", refused).await;
}

async fn is_running(world: &World, name: &str) -> Value {
    let path = format!("{}/{name}", pods());
    world.until(&path, "running", runs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_has_and_is_called_decides() {
    let world = World::start().await;
    // Resources: it has four cpus.
    let most = json!({"containers": asking("cpu", "3")});
    world.make(&pods(), pod("most", most)).await;
    is_running(&world, "most").await;
    let more = json!({"containers": asking("cpu", "2")});
    world.make(&pods(), pod("more", more)).await;
    waits(&world, "more").await;
    // Selectors.
    let selecting = |value: &str| json!({"nodeSelector": {"label": value}});
    world
        .make(&pods(), pod("restricted", selecting("nonempty")))
        .await;
    waits(&world, "restricted").await;
    let label = json!({"metadata": {"labels": {"label": "42"}}});
    world.patch("/api/v1/nodes/n1", label).await;
    world
        .make(&pods(), pod("with-label", selecting("42")))
        .await;
    let running = is_running(&world, "with-label").await;
    assert_eq!(running["spec"]["nodeName"], "n1");
    // Ports of the host: all of its addresses are each of them.
    let port = |ip: &str, protocol: &str| json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 54322, "hostIP": ip, "protocol": protocol}]}]});
    world.make(&pods(), pod("pod4", port("", "TCP"))).await;
    is_running(&world, "pod4").await;
    world
        .make(&pods(), pod("pod5", port("127.0.0.1", "TCP")))
        .await;
    waits(&world, "pod5").await;
    world
        .make(&pods(), pod("pod6", port("127.0.0.1", "UDP")))
        .await;
    is_running(&world, "pod6").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_runtime_class_are_scheduled() {
    let world = World::start().await;
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    for (name, overhead) in [
        ("plain", Value::Null),
        ("heavy", json!({"cpu": "10m", "memory": "1Mi"})),
    ] {
        let more = match &overhead {
            Value::Null => Value::Null,
            fixed => json!({"podFixed": fixed}),
        };
        let class = json!({"metadata": {"name": name}, "handler": "h", "overhead": more});
        world.make(classes, class).await;
        let spec = json!({"runtimeClassName": name});
        world.make(&pods(), pod(name, spec)).await;
        let running = is_running(&world, name).await;
        assert_eq!(running["spec"]["overhead"], overhead);
        assert_eq!(running["spec"]["nodeName"], "n1");
    }
}

/// A cluster whose node has the scarce resource, and classes `p1` to `p4`.
async fn contested() -> World {
    let world = World::start().await;
    let amounts = json!({SCARCE: "1000"});
    let status = json!({"status": {"capacity": amounts, "allocatable": amounts}});
    world.patch("/api/v1/nodes/n1/status", status).await;
    for i in 1..=4 {
        let class = json!({"metadata": {"name": format!("p{i}")}, "value": i});
        world.make(PRIORITIES, class).await;
    }
    world
}

fn of(priority: &str, amount: &str) -> Value {
    json!({"priorityClassName": priority, "containers": asking(SCARCE, amount)})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lower_makes_way_for_the_higher() {
    let world = contested().await;
    world.make(&pods(), pod("low", of("p1", "400"))).await;
    world.make(&pods(), pod("medium", of("p2", "400"))).await;
    for name in ["low", "medium"] {
        is_running(&world, name).await;
    }
    world.make(&pods(), pod("high", of("p4", "400"))).await;
    world.until_gone(&format!("{}/low", pods())).await;
    is_running(&world, "high").await;
    is_running(&world, "medium").await;
    // What the cluster cannot do without goes before all else.
    let system = "/api/v1/namespaces/kube-system/pods";
    let account = "/api/v1/namespaces/kube-system/serviceaccounts/default";
    world.until(account, "there", |_| true).await;
    let critical = of("system-cluster-critical", "600");
    world.make(system, pod("critical", critical)).await;
    world.until_gone(&format!("{}/medium", pods())).await;
    world
        .until(&format!("{system}/critical"), "running", runs)
        .await;
    is_running(&world, "high").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_makes_way_is_told_why() {
    let world = contested().await;
    let mut victim = pod("victim", of("p1", "1000"));
    victim["metadata"]["finalizers"] = json!(["example.com/test-finalizer"]);
    world.make(&pods(), victim).await;
    is_running(&world, "victim").await;
    world
        .make(&pods(), pod("preemptor", of("p2", "1000")))
        .await;
    let told = |p: &Value| {
        let mut conditions = p["status"]["conditions"].as_array().into_iter().flatten();
        let disrupted = conditions.any(|c| {
            c["type"] == "DisruptionTarget"
                && c["status"] == "True"
                && c["reason"] == "PreemptionByScheduler"
        });
        disrupted && p["metadata"]["deletionTimestamp"].is_string()
    };
    let path = format!("{}/victim", pods());
    world.until(&path, "told", told).await;
    let free = json!({"metadata": {"finalizers": null}});
    world.patch(&path, free).await;
    is_running(&world, "preemptor").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_of_four_priorities_find_their_order() {
    let world = contested().await;
    let sets = format!("{APPS}/replicasets");
    let mut uids = Vec::new();
    for (i, amount) in [(1, "200"), (2, "300"), (3, "450"), (4, "500")] {
        let (name, priority) = (format!("rs{i}"), format!("p{i}"));
        let mut set = workload(&name, &name, 1, "i");
        for (key, value) in of(&priority, amount).as_object().expect("fields") {
            set["spec"]["template"]["spec"][key.as_str()] = value.clone();
        }
        world.make(&sets, set).await;
        let select = format!("{}?labelSelector=app%3D{name}", pods());
        let made = world.until_all(&select, 1, runs).await;
        uids.push((select, made[0]["metadata"]["uid"].clone()));
    }
    // The two lowest were enough; their sets made others, which wait.
    for (i, (select, uid)) in uids.iter().enumerate() {
        let lost = i < 2;
        let check = |p: &Value| lost != runs(p) && lost != (&p["metadata"]["uid"] == uid);
        world.until_all(select, 1, check).await;
    }
    for i in 1..=4 {
        let set = world.get(&format!("{sets}/rs{i}")).await;
        assert_eq!(set["status"]["replicas"], 1);
    }
}

fn no_execute() -> Value {
    json!({"spec": {"taints": [{"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}]}})
}

fn tolerating(seconds: u32) -> Value {
    json!({"tolerations": [{"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute", "tolerationSeconds": seconds}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taint_evicts_in_the_time_that_is_tolerated() {
    let world = World::start().await;
    for (name, seconds) in [("first", 1), ("second", 3600)] {
        world.make(&pods(), pod(name, tolerating(seconds))).await;
        is_running(&world, name).await;
    }
    world.patch("/api/v1/nodes/n1", no_execute()).await;
    world.until_gone(&format!("{}/first", pods())).await;
    is_running(&world, "second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taint_that_goes_in_time_evicts_nobody() {
    let world = World::start().await;
    world.make(&pods(), pod("kept", tolerating(2))).await;
    is_running(&world, "kept").await;
    world.patch("/api/v1/nodes/n1", no_execute()).await;
    let clean = json!({"spec": {"taints": null}});
    world.patch("/api/v1/nodes/n1", clean).await;
    // Beyond the time that was tolerated it is still the same.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    is_running(&world, "kept").await;
}
