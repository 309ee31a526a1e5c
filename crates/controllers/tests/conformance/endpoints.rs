//! Endpoints and EndpointSlices of Services, with pods and without.

use serde_json::{Value, json};

use crate::world::{CORE, World};

fn slices(service: &str) -> String {
    format!(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3D{service}"
    )
}

fn endpoints(service: &str) -> String {
    format!("{CORE}/endpoints/{service}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_pods_has_empty_ones_that_go_with_it() {
    let world = World::start().await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"selector": {"does-not-match-anything": "endpoints-and-endpoint-slices-should-still-be-created"},
        "ports": [{"name": "example", "port": 80, "protocol": "TCP"}]}});
    world.make(&format!("{CORE}/services"), service).await;
    let empty = |e: &Value| e["subsets"].as_array().is_none_or(Vec::is_empty);
    world.until(&endpoints("s"), "there", empty).await;
    let found = world.until_all(&slices("s"), 1, |_| true).await;
    let slice = &found[0];
    assert!(slice["endpoints"].as_array().is_none_or(Vec::is_empty));
    let managed = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    assert_eq!(managed, "endpointslice-controller.k8s.io");
    let service = format!("{CORE}/services/s");
    world
        .ask("DELETE", &service, Value::Null)
        .await
        .expect("gone");
    world.until_gone(&endpoints("s")).await;
    world.until_all(&slices("s"), 0, |_| true).await;
}

/// Addresses and ports, sorted, of an Endpoints and of the slices of its Service; they are the same.
async fn told(world: &World, service: &str) -> Vec<(String, u64)> {
    let pairs = |addresses: Vec<&Value>, ports: &Value| {
        let ports: Vec<u64> = ports
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|p| p["port"].as_u64())
            .collect();
        let each = addresses
            .into_iter()
            .map(|a| a.as_str().expect("an address").to_owned());
        each.flat_map(|a| {
            ports
                .iter()
                .map(move |p| (a.clone(), *p))
                .collect::<Vec<_>>()
        })
        .collect::<Vec<_>>()
    };
    let (whole, parts) = (
        world.get(&endpoints(service)).await,
        world.items(&slices(service)).await,
    );
    let mut old = Vec::new();
    for subset in whole["subsets"].as_array().into_iter().flatten() {
        let addresses = subset["addresses"].as_array().into_iter().flatten();
        old.extend(pairs(
            addresses.map(|a| &a["ip"]).collect(),
            &subset["ports"],
        ));
    }
    let mut new = Vec::new();
    for slice in &parts {
        let ready = slice["endpoints"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|e| e["conditions"]["ready"] == true);
        new.extend(pairs(
            ready.map(|e| &e["addresses"][0]).collect(),
            &slice["ports"],
        ));
    }
    old.sort();
    new.sort();
    if old == new { old } else { Vec::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_behind_the_services_that_select_them() {
    let world = World::start().await;
    let services = [
        ("svc1", json!({"foo": "bar"}), json!("example-name")),
        ("svc2", json!({"shared": "yes"}), json!("other-port")),
    ];
    for (name, selector, target) in services {
        let spec = json!({"selector": selector, "ports": [{"name": "example", "port": 80, "targetPort": target, "protocol": "TCP"}]});
        let body = json!({"metadata": {"name": name}, "spec": spec});
        world.make(&format!("{CORE}/services"), body).await;
    }
    let pod = |name: &str, labels: Value, port: u32| {
        let ports = json!([{"name": "example-name", "containerPort": 3000}, {"name": "other-port", "containerPort": port}]);
        json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]}})
    };
    let pods = format!("{CORE}/pods");
    world
        .make(
            &pods,
            pod("pod1", json!({"foo": "bar", "shared": "yes"}), 3001),
        )
        .await;
    world
        .make(&pods, pod("pod2", json!({"shared": "yes"}), 3002))
        .await;
    let mut ips = Vec::new();
    for name in ["pod1", "pod2"] {
        let has = |p: &Value| p["status"]["podIP"].is_string();
        let pod = world
            .until(&format!("{pods}/{name}"), "addressed", has)
            .await;
        ips.push(
            pod["status"]["podIP"]
                .as_str()
                .expect("an address")
                .to_owned(),
        );
    }
    let one = vec![(ips[0].clone(), 3000)];
    let mut two = vec![(ips[0].clone(), 3001), (ips[1].clone(), 3002)];
    two.sort();
    for (service, wanted) in [("svc1", one), ("svc2", two)] {
        crate::common::eventually(service, || async { told(&world, service).await == wanted })
            .await;
    }
}
