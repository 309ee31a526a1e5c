//! Deployments: how they adopt, roll over, scale in proportion, clean up behind themselves, and their life from end to end.

use serde_json::{Value, json};

use crate::world::{APPS, CORE, World, doomed, name_of, owners, runs, template, workload};

fn deployments() -> String {
    format!("{APPS}/deployments")
}

fn sets() -> String {
    format!("{APPS}/replicasets")
}

fn pods() -> String {
    format!("{CORE}/pods")
}

/// All replicas updated and available, and no other left.
fn complete(deployment: &Value) -> bool {
    let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
    let counts = ["replicas", "updatedReplicas", "availableReplicas"];
    counts.iter().all(|c| &status[c] == wanted)
        && status["observedGeneration"] == deployment["metadata"]["generation"]
}

fn revision(object: &Value) -> &str {
    let note = &object["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    note.as_str().unwrap_or_default()
}

/// Makes a set that runs before its deployment comes.
async fn first_set(world: &World, app: &str, replicas: u32, revision: Option<&str>) -> Value {
    let mut set = workload("first", app, replicas, "old");
    set["spec"]["template"]["metadata"]["labels"]["pod"] = json!("first");
    set["spec"]["selector"]["matchLabels"]["pod"] = json!("first");
    if let Some(revision) = revision {
        set["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": revision});
    }
    let set = world.make(&sets(), set).await;
    world.until_all(&pods(), replicas as usize, runs).await;
    set
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_pods_make_way_for_new_ones() {
    let world = World::start().await;
    first_set(&world, "a", 1, Some("3546343826724305832")).await;
    world
        .make(&deployments(), workload("d", "a", 1, "new"))
        .await;
    let one = format!("{}/d", deployments());
    let done = |d: &Value| complete(d) && revision(d) == "3546343826724305833";
    world.until(&one, "rolled out", done).await;
    let all = world.until_all(&sets(), 2, |s| owners(s) == ["d"]).await;
    let replicas = |of: &str| {
        let found = all
            .iter()
            .find(|s| (name_of(s) == "first") == (of == "old"));
        found.expect("a set")["spec"]["replicas"].clone()
    };
    assert_eq!((replicas("old"), replicas("new")), (json!(0), json!(1)));
    let left = world.until_all(&pods(), 1, runs).await;
    assert_eq!(left[0]["spec"]["containers"][0]["image"], "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreating_leaves_no_moment_with_both() {
    let world = World::start().await;
    let mut body = workload("d", "a", 2, "old");
    body["spec"]["strategy"] = json!({"type": "Recreate"});
    world.make(&deployments(), body).await;
    let one = format!("{}/d", deployments());
    world.until(&one, "rolled out", complete).await;
    let change =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "new"}]}}}});
    world.patch(&one, change).await;
    let image = |p: &Value| p["spec"]["containers"][0]["image"].clone();
    crate::common::eventually("only new ones", || async {
        let images: Vec<Value> = world.items(&pods()).await.iter().map(image).collect();
        assert!(images.windows(2).all(|two| two[0] == two[1]), "{images:?}");
        images.len() == 2 && images[0] == "new"
    })
    .await;
    world
        .until(&one, "rolled out again", |d| {
            complete(d) && revision(d) == "2"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_sets_are_deleted_as_far_as_they_need_not_be_kept() {
    let world = World::start().await;
    first_set(&world, "a", 1, None).await;
    let mut body = workload("d", "a", 1, "new");
    body["spec"]["revisionHistoryLimit"] = json!(0);
    world.make(&deployments(), body).await;
    world
        .until(&format!("{}/d", deployments()), "rolled out", complete)
        .await;
    let left = world.until_all(&sets(), 1, |s| owners(s) == ["d"]).await;
    assert_ne!(name_of(&left[0]), "first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_is_rolled_over_by_the_next() {
    let world = World::start().await;
    world.add_dead_node().await;
    first_set(&world, "a", 1, None).await;
    // What is rolled out first never becomes ready.
    let mut body = workload("d", "a", 1, "missing");
    body["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    body["spec"]["minReadySeconds"] = json!(1);
    body["spec"]["template"] = doomed(template("a", "missing"));
    world.make(&deployments(), body).await;
    let one = format!("{}/d", deployments());
    world.until_all(&sets(), 2, |s| owners(s) == ["d"]).await;
    let spec = json!({"nodeSelector": null, "tolerations": null, "containers": [{"name": "c", "image": "new"}]});
    let next = json!({"spec": {"template": {"spec": spec}}});
    world.patch(&one, next).await;
    world.until(&one, "rolled out", complete).await;
    let all = world.until_all(&sets(), 3, |s| owners(s) == ["d"]).await;
    for set in all {
        let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
        let wanted = if image == "new" { 1 } else { 0 };
        assert_eq!(set["spec"]["replicas"], wanted, "{image}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_amid_a_rollout_keeps_proportions() {
    let world = World::start().await;
    world.add_dead_node().await;
    let mut body = workload("d", "a", 10, "old");
    body["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    world.make(&deployments(), body).await;
    let one = format!("{}/d", deployments());
    world.until(&one, "rolled out", complete).await;
    let stuck = json!({"spec": {"template": doomed(template("a", "missing"))}});
    world.patch(&one, stuck).await;
    let sizes = async || {
        let mut sizes: Vec<(String, u64)> = Vec::new();
        for set in world.items(&sets()).await {
            let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
            sizes.push((
                image.as_str().expect("one").into(),
                set["spec"]["replicas"].as_u64().expect("some"),
            ));
        }
        sizes.sort();
        sizes
    };
    for (replicas, new, old) in [(10, 5, 8), (30, 13, 20)] {
        world
            .patch(&one, json!({"spec": {"replicas": replicas}}))
            .await;
        let wanted = [("missing".to_owned(), new), ("old".to_owned(), old)];
        crate::common::eventually("the proportions", || async { sizes().await == wanted }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_lives_from_end_to_end() {
    let world = World::start().await;
    let one = format!("{}/d", deployments());
    let status = format!("{one}/status");
    let mut body = workload("d", "a", 2, "old");
    body["metadata"]["labels"] = json!({"test-deployment-static": "true"});
    world.make(&deployments(), body).await;
    world.until(&one, "ready", complete).await;
    let patch = json!({"metadata": {"labels": {"test-deployment": "patched"}},
        "spec": {"replicas": 1, "template": {"spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "new"}]}}}});
    world.patch(&one, patch).await;
    world
        .until(&one, "patched", |d| {
            complete(d) && d["spec"]["replicas"] == 1
        })
        .await;
    let all = "/apis/apps/v1/deployments?labelSelector=test-deployment-static%3Dtrue";
    let found = world.items(all).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["metadata"]["labels"]["test-deployment"], "patched");
    assert_eq!(world.get(&status).await["status"]["readyReplicas"], 1);
    loop {
        let mut object = world.get(&one).await;
        object["metadata"]["labels"]["test-deployment"] = json!("updated");
        object["spec"]["replicas"] = json!(2);
        if world.ask("PUT", &one, object).await.is_ok() {
            break;
        }
    }
    world
        .until(&one, "updated", |d| {
            complete(d) && d["spec"]["replicas"] == 2
        })
        .await;
    // The controller has the last word on the status.
    world
        .patch(
            &status,
            json!({"status": {"readyReplicas": 0, "availableReplicas": 0}}),
        )
        .await;
    world
        .until(&one, "told anew", |d| d["status"]["readyReplicas"] == 2)
        .await;
    let select = format!(
        "{}?labelSelector=test-deployment-static%3Dtrue",
        deployments()
    );
    world.delete(&select, "Background").await;
    world.until_gone(&one).await;
    world.until_all(&pods(), 0, |_| true).await;
}
