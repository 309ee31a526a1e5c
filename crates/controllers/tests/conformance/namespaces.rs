//! Namespaces go with all that is in them, pods first; each has the authority that clients believe.

use serde_json::{Value, json};

use crate::world::{World, template};

const NAMESPACES: &str = "/api/v1/namespaces";

async fn namespace(world: &World) {
    let body = json!({"metadata": {"name": "n"}});
    world.make(NAMESPACES, body).await;
    let account = format!("{NAMESPACES}/n/serviceaccounts/default");
    world.until(&account, "there", |_| true).await;
}

fn pod(finalizers: Value) -> Value {
    let mut pod = template("a", "i");
    pod["metadata"]["name"] = json!("p");
    pod["metadata"]["finalizers"] = finalizers;
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_and_services_are_gone_when_their_namespace_is() {
    let world = World::start().await;
    let one = format!("{NAMESPACES}/n");
    namespace(&world).await;
    let (pods, services) = (format!("{one}/pods"), format!("{one}/services"));
    world.make(&pods, pod(json!([]))).await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    world.make(&services, service).await;
    world.delete(&one, "Background").await;
    world.until_gone(&one).await;
    namespace(&world).await;
    for path in [pods, services] {
        assert_eq!(world.items(&path).await, Vec::<Value>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_go_first() {
    let world = World::start().await;
    let one = format!("{NAMESPACES}/n");
    namespace(&world).await;
    world
        .make(
            &format!("{one}/pods"),
            pod(json!(["e2e.example.com/finalizer"])),
        )
        .await;
    let map = json!({"metadata": {"name": "m", "finalizers": ["e2e.example.com/finalizer"]}});
    world.make(&format!("{one}/configmaps"), map).await;
    world.delete(&one, "Background").await;
    let held = |n: &Value| {
        let mut conditions = n["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|c| c["type"] == "NamespaceFinalizersRemaining" && c["status"] == "True")
    };
    world.until(&one, "held", held).await;
    let pod = format!("{one}/pods/p");
    let going = |o: &Value| !o["metadata"]["deletionTimestamp"].is_null();
    assert!(going(&world.get(&pod).await));
    let map = format!("{one}/configmaps/m");
    assert!(!going(&world.get(&map).await), "it waits for the pod");
    let free = json!({"metadata": {"finalizers": null}});
    world.patch(&pod, free.clone()).await;
    world.until_gone(&pod).await;
    world.until(&map, "going", going).await;
    world.patch(&map, free).await;
    world.until_gone(&one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_is_there_whatever_is_done_to_it() {
    let world = World::start().await;
    let path = format!("{NAMESPACES}/default/configmaps/kube-root-ca.crt");
    let there = |m: &Value| m["data"]["ca.crt"] == "PEM";
    world.until(&path, "there", there).await;
    world.delete(&path, "Background").await;
    world.until(&path, "there again", there).await;
    let empty = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ""}});
    world.ask("PUT", &path, empty).await.expect("an update");
    world.until(&path, "as it was", there).await;
}
