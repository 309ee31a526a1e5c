//! Services change their type, are found in all namespaces, and there is one for the API server itself.

use knarr_json::{Value, json};

use crate::world::World;

const SERVICES: &str = "/api/v1/namespaces/default/services";

async fn become_(world: &World, name: &str, change: impl Fn(&mut Value)) -> Value {
    let path = format!("{SERVICES}/{name}");
    let updated = world.update(&path, |s| change(&mut s["spec"])).await;
    updated["spec"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_changed_with_all_that_goes_with_them() {
    let world = World::start().await;
    let external = json!({"type": "ExternalName", "externalName": "www.example.com"});
    let ports = json!([{"port": 80, "name": "http", "protocol": "TCP"}]);
    for (name, kind) in [("a", "ClusterIP"), ("b", "NodePort")] {
        let body = json!({"metadata": {"name": name}, "spec": external});
        let made = world.make(SERVICES, body).await;
        assert_eq!(made["spec"]["clusterIP"], Value::Null);
        // From a name to an address …
        let spec = become_(&world, name, |spec| {
            spec["type"] = json!(kind);
            spec["externalName"] = Value::Null;
            spec["ports"] = ports.clone();
        })
        .await;
        let ip = spec["clusterIP"].as_str().unwrap();
        assert!(ip.starts_with("10.96."), "{spec}");
        let port = spec["ports"][0]["nodePort"].as_u64();
        assert_eq!(port.is_some(), kind == "NodePort", "{spec}");
        // … and back.
        let spec = become_(&world, name, |spec| {
            spec["type"] = json!("ExternalName");
            spec["externalName"] = json!("www.example.com");
            spec["clusterIP"] = json!("");
            spec["clusterIPs"] = Value::Null;
            let port = spec["ports"][0].as_object_mut().unwrap();
            port.remove("nodePort");
        })
        .await;
        assert_eq!(spec["clusterIP"], Value::Null, "{spec}");
        assert_eq!(spec["ports"][0]["nodePort"], Value::Null);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn affinity_is_switched() {
    let world = World::start().await;
    let body = json!({"metadata": {"name": "a"}, "spec": {"sessionAffinity": "ClientIP", "ports": [{"port": 80}]}});
    let made = world.make(SERVICES, body).await;
    let timeout = &made["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    assert_eq!(*timeout, 10800);
    for (affinity, wanted) in [("None", Value::Null), ("ClientIP", json!(10800))] {
        let spec = become_(&world, "a", |spec| {
            spec["sessionAffinity"] = json!(affinity);
            if affinity == "None" {
                spec["sessionAffinityConfig"] = Value::Null;
            }
        })
        .await;
        let timeout = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
        assert_eq!(timeout, &wanted);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_has_a_service_and_is_behind_it() {
    let world = World::start().await;
    let list = world.get("/api/v1/services").await;
    let found =
        list["items"].as_array().unwrap().iter().find(|s| {
            s["metadata"]["name"] == "kubernetes" && s["metadata"]["namespace"] == "default"
        });
    let service = found.unwrap();
    let ports = service["spec"]["ports"].as_array().unwrap();
    assert!(
        ports
            .iter()
            .any(|p| p["name"] == "https" && p["port"] == 443),
        "{service}"
    );
    let endpoints = world
        .get("/api/v1/namespaces/default/endpoints/kubernetes")
        .await;
    let subsets = endpoints["subsets"].as_array().unwrap();
    assert_eq!(subsets.len(), 1);
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dkubernetes";
    let slices = world.get(slices).await;
    let slices = slices["items"].as_array().unwrap();
    assert_eq!(slices.len(), 1);
    let (slice, subset) = (&slices[0], &subsets[0]);
    assert_eq!(slice["addressType"], "IPv4");
    let addresses: Vec<&Value> = subset["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["ip"])
        .collect();
    let others: Vec<&Value> = slice["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["addresses"][0])
        .collect();
    assert_eq!(addresses, others);
    assert_eq!(subset["ports"][0]["port"], slice["ports"][0]["port"]);
    world.stop().await;
}
