//! What goes with its owner, what stays, and what blocks nobody.

use serde_json::{Value, json};

use crate::world::{APPS, CORE, World, name_of, owners, runs, template, workload};

fn pods() -> String {
    format!("{CORE}/pods")
}

fn sets() -> String {
    format!("{APPS}/replicasets")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_go_with_their_deployment_or_are_orphaned() {
    let world = World::start().await;
    let deployments = format!("{APPS}/deployments");
    let one = format!("{deployments}/d");
    for policy in ["Background", "Orphan"] {
        world.make(&deployments, workload("d", "a", 2, "i")).await;
        world.until_all(&sets(), 1, |s| owners(s) == ["d"]).await;
        world.until_all(&pods(), 2, runs).await;
        world.delete(&one, policy).await;
        world.until_gone(&one).await;
        if policy == "Background" {
            world.until_all(&sets(), 0, |_| true).await;
            world.until_all(&pods(), 0, |_| true).await;
        }
    }
    world.until_all(&sets(), 1, |s| owners(s).is_empty()).await;
    world.until_all(&pods(), 2, runs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_stays_until_its_pods_are_gone_or_leaves_them() {
    let world = World::start().await;
    let one = format!("{}/s", sets());
    world.make(&sets(), workload("s", "a", 3, "i")).await;
    // One that is held keeps its owner.
    let held = world.until_all(&pods(), 3, runs).await;
    let held = format!("{}/{}", pods(), name_of(&held[0]));
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    world.patch(&held, hold).await;
    world.delete(&one, "Foreground").await;
    world.until_all(&pods(), 1, |_| true).await;
    let left = world.get(&one).await;
    assert_eq!(
        left["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    let free = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/hold"]}});
    world.patch(&held, free).await;
    world.until_gone(&one).await;
    assert_eq!(world.items(&pods()).await, Vec::<Value>::new());

    world.make(&sets(), workload("s", "a", 3, "i")).await;
    world.until_all(&pods(), 3, runs).await;
    world.delete(&one, "Orphan").await;
    world.until_gone(&one).await;
    world
        .until_all(&pods(), 3, |p| owners(p).is_empty() && runs(p))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_another_owner_stays() {
    let world = World::start().await;
    world.make(&sets(), workload("going", "a", 4, "i")).await;
    let staying = world.make(&sets(), workload("staying", "b", 0, "i")).await;
    let all = world.until_all(&pods(), 4, runs).await;
    let other = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "staying", "uid": staying["metadata"]["uid"]});
    let patch = json!({"metadata": {"ownerReferences": [other]}});
    for pod in &all[..2] {
        let path = format!("{}/{}", pods(), name_of(pod));
        world.patch(&path, patch.clone()).await;
    }
    let going = format!("{}/going", sets());
    world.delete(&going, "Foreground").await;
    world.until_gone(&going).await;
    let left = world
        .until_all(&pods(), 2, |p| owners(p) == ["staying"] && runs(p))
        .await;
    let names = |pods: &[Value]| {
        pods.iter()
            .map(|p| name_of(p).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&left), names(&all[..2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_blocks_nobody() {
    let world = World::start().await;
    let mut uids = Vec::new();
    for i in 0..3 {
        let mut pod = template("a", "i");
        pod["metadata"]["name"] = json!(format!("pod{i}"));
        let made = world.make(&pods(), pod).await;
        uids.push(made["metadata"]["uid"].clone());
    }
    for i in 0..3 {
        let owner = (i + 2) % 3;
        let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": format!("pod{owner}"), "uid": uids[owner],
            "controller": true, "blockOwnerDeletion": true});
        let patch = json!({"metadata": {"ownerReferences": [reference]}});
        world.patch(&format!("{}/pod{i}", pods()), patch).await;
    }
    let first = format!("{}/pod0", pods());
    world.delete(&first, "Foreground").await;
    world.until_all(&pods(), 0, |_| true).await;
}
