//! ReplicaSets adopt, release, are scaled, replaced, patched and deleted together.

use serde_json::{Value, json};

use crate::world::{APPS, CORE, World, name_of, owners, runs, template, workload};

fn pods() -> String {
    format!("{CORE}/pods")
}

fn sets() -> String {
    format!("{APPS}/replicasets")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_adopted_and_released() {
    let world = World::start().await;
    let mut pod = template("adopted", "i");
    pod["metadata"]["name"] = json!("p");
    world.make(&pods(), pod).await;
    world.make(&sets(), workload("s", "adopted", 1, "i")).await;
    let one = format!("{}/p", pods());
    world.until(&one, "adopted", |p| owners(p) == ["s"]).await;
    let label = json!({"metadata": {"labels": {"app": "released"}}});
    world.patch(&one, label).await;
    world
        .until(&one, "released", |p| owners(p).is_empty())
        .await;
    let select = format!("{}?labelSelector=app%3Dadopted", pods());
    let made = world.until_all(&select, 1, |p| owners(p) == ["s"]).await;
    assert_ne!(name_of(&made[0]), "p");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_scaled_replaced_and_patched() {
    let world = World::start().await;
    let one = format!("{}/s", sets());
    world.make(&sets(), workload("s", "a", 1, "i")).await;
    let ready = |count: u32| move |s: &Value| s["status"]["readyReplicas"] == count;
    world.until(&one, "ready", ready(1)).await;
    let scale = format!("{one}/scale");
    let mut read = world.get(&scale).await;
    read["metadata"]["resourceVersion"] = Value::Null;
    read["spec"]["replicas"] = json!(2);
    world.ask("PUT", &scale, read).await.expect("scaled");
    let settled = world.until(&one, "scaled", ready(2)).await;
    assert_eq!(settled["spec"]["replicas"], 2);
    let patch = json!({"metadata": {"labels": {"test-rs": "patched"}},
        "spec": {"replicas": 3, "template": {"spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "other"}]}}}});
    world.patch(&one, patch).await;
    let settled = world.until(&one, "patched", ready(3)).await;
    assert_eq!(settled["metadata"]["labels"]["test-rs"], "patched");
    let image = &settled["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "other");
    world.until_all(&pods(), 3, runs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_are_listed_and_deleted_together() {
    let world = World::start().await;
    for name in ["a", "b"] {
        world.make(&sets(), workload(name, name, 2, "i")).await;
        let label = json!({"metadata": {"labels": {"e2e": "yes"}}});
        world.patch(&format!("{}/{name}", sets()), label).await;
    }
    world.until_all(&pods(), 4, runs).await;
    let select = "labelSelector=e2e%3Dyes";
    let all = format!("/apis/apps/v1/replicasets?{select}");
    assert_eq!(world.items(&all).await.len(), 2);
    let own = format!("{}?{select}", sets());
    world.delete(&own, "Background").await;
    world.until_all(&own, 0, |_| true).await;
    world.until_all(&pods(), 0, |_| true).await;
}
