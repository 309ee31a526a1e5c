//! Pods: their generation, class and status; what may be changed of them, what is added while they run.

use knarr_json::{Value, json};

use crate::{
    kinds::template,
    world::{MERGE, STRATEGIC, World, name_of},
};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> Value {
    let mut spec = template()["spec"].clone();
    spec["initContainers"] = json!([{"name": "init", "image": "init"}]);
    json!({"metadata": {"name": name, "labels": {"time": "now"}}, "spec": spec})
}

/// Binds a pod to a node and says that it runs.
async fn run(world: &World, name: &str) {
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
    world.make(&format!("{PODS}/{name}/binding"), binding).await;
    let conditions: Vec<Value> = ["Ready", "ContainersReady"]
        .into_iter()
        .map(|kind| json!({"type": kind, "status": "True"}))
        .collect();
    let status = json!({"status": {"phase": "Running", "conditions": conditions}});
    world
        .patch(&format!("{PODS}/{name}/status"), STRATEGIC, status)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_counts_changes_of_what_is_wanted() {
    let world = World::start().await;
    let mut body = pod("p");
    body["metadata"]["generation"] = json!(100);
    let made = world.make(PODS, body).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let path = format!("{PODS}/p");
    type Change = fn(&mut Value);
    let changes: [(&str, Change, bool); 7] = [
        ("nothing", |_| {}, false),
        (
            "a toleration",
            |p| {
                let tolerations = p["spec"]["tolerations"].as_array_mut().unwrap();
                tolerations.push(json!({"key": "foo", "operator": "Equal", "value": "bar", "effect": "NoSchedule"}));
            },
            true,
        ),
        (
            "a deadline",
            |p| p["spec"]["activeDeadlineSeconds"] = json!(5000),
            true,
        ),
        (
            "an image",
            |p| p["spec"]["containers"][0]["image"] = json!("j"),
            true,
        ),
        (
            "an image of the start",
            |p| p["spec"]["initContainers"][0]["image"] = json!("j"),
            true,
        ),
        (
            "a note",
            |p| p["metadata"]["annotations"] = json!({"key": "value"}),
            false,
        ),
        (
            "its own generation",
            |p| p["metadata"]["generation"] = json!(1),
            false,
        ),
    ];
    let mut wanted = 1;
    for (what, change, counts) in changes {
        let updated = world.update(&path, change).await;
        wanted += u32::from(counts);
        assert_eq!(updated["metadata"]["generation"], wanted, "{what}");
    }
    // It runs, so its deletion takes time and counts, too.
    run(&world, "p").await;
    let (code, _) = world
        .ask(
            "DELETE",
            &format!("{path}?gracePeriodSeconds=60"),
            Value::Null,
        )
        .await;
    assert_eq!(code, 200);
    let left = world.get(&path).await;
    assert_eq!(left["metadata"]["generation"], wanted + 1);
    assert_eq!(left["metadata"]["deletionGracePeriodSeconds"], 60);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_counts_hundreds() {
    let world = World::start().await;
    world.make(PODS, pod("p")).await;
    for i in (0..499).rev() {
        let change = json!({"spec": {"activeDeadlineSeconds": 1000 + i}});
        world.merge(&format!("{PODS}/p"), change).await;
    }
    let observed = json!({"status": {"observedGeneration": 500}});
    let pod = world
        .patch(&format!("{PODS}/p/status"), MERGE, observed)
        .await;
    assert_eq!(pod["metadata"]["generation"], 500);
    assert_eq!(pod["status"]["observedGeneration"], 500);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_limits_make_a_class() {
    let world = World::start().await;
    let some = || json!({"cpu": "100m", "memory": "100Mi"});
    for (name, resources, class) in [
        (
            "guaranteed",
            json!({"requests": some(), "limits": some()}),
            "Guaranteed",
        ),
        ("burstable", json!({"requests": some()}), "Burstable"),
        ("none", json!({}), "BestEffort"),
    ] {
        let body = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}});
        let made = world.make(PODS, body).await;
        assert_eq!(made["status"]["qosClass"], class);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_through_patches_and_states() {
    let world = World::start().await;
    let select = format!("{PODS}?labelSelector=time%3Dnow");
    let mut watch = world.watch(&format!("{select}&watch=true")).await;
    world.make(PODS, pod("p")).await;
    assert_eq!(watch.told().await, ("ADDED".into(), "p".into()));
    run(&world, "p").await;
    watch
        .until("MODIFIED", |p| p["status"]["phase"] == "Running")
        .await;
    let path = format!("{PODS}/p");
    let patch = json!({"metadata": {"labels": {"test-pod": "patched"}},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": "other"}]}});
    let patched = world.patch(&path, STRATEGIC, patch).await;
    assert_eq!(patched["metadata"]["labels"]["test-pod"], "patched");
    assert_eq!(patched["spec"]["containers"][0]["image"], "other");
    let updated = world
        .update(&path, |p| p["metadata"]["labels"]["time"] = json!("later"))
        .await;
    assert_eq!(updated["metadata"]["labels"]["time"], "later");
    assert_eq!(
        watch.until("DELETED", |_| true).await["metadata"]["name"],
        "p"
    );
    let status = format!("{path}/status");
    let updated = world
        .update(&status, |p| {
            for condition in p["status"]["conditions"].as_array_mut().unwrap() {
                if condition["type"] != "PodScheduled" {
                    condition["status"] = json!("False");
                }
            }
        })
        .await;
    let conditions = updated["status"]["conditions"].as_array().unwrap();
    let no = conditions.iter().filter(|c| c["status"] == "False").count();
    assert_eq!(no, 2, "{updated}");
    let message = json!({"status": {"message": "Patched by e2e test", "reason": "E2E"}});
    let patched = world.patch(&status, STRATEGIC, message).await;
    assert_eq!(patched["status"]["message"], "Patched by e2e test");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_deleted_together_in_their_own_time() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        world.make(PODS, pod(name)).await;
        run(&world, name).await;
    }
    let select = format!("{PODS}?labelSelector=time%3Dnow");
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 1});
    let (code, _) = world.ask("DELETE", &select, options).await;
    assert_eq!(code, 200);
    let list = world.get(&select).await;
    for pod in list["items"].as_array().unwrap() {
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 1);
        // Here the kubelet would have stopped it.
        let path = format!("{PODS}/{}?gracePeriodSeconds=0", name_of(pod));
        world.ask("DELETE", &path, Value::Null).await;
    }
    assert_eq!(world.names(&select).await.len(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_containers_are_added_one_by_one() {
    let world = World::start().await;
    world.make(PODS, pod("p")).await;
    run(&world, "p").await;
    let path = format!("{PODS}/p/ephemeralcontainers");
    let container = |name: &str| json!({"name": name, "image": "i", "command": ["/bin/sh"], "stdin": true, "tty": true});
    let names = |pod: &Value| -> Vec<String> {
        let containers = pod["spec"]["ephemeralContainers"].as_array().unwrap();
        containers
            .iter()
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let patch = json!({"spec": {"ephemeralContainers": [container("debugger")]}});
    let patched = world.patch(&path, STRATEGIC, patch).await;
    assert_eq!(names(&patched), ["debugger"]);
    let updated = world
        .update(&path, |p| {
            let containers = p["spec"]["ephemeralContainers"].as_array_mut().unwrap();
            containers.push(container("debugger2"));
        })
        .await;
    assert_eq!(names(&updated), ["debugger", "debugger2"]);
    assert_eq!(names(&world.get(&path).await), ["debugger", "debugger2"]);
    let mut fewer = updated;
    fewer["spec"]["ephemeralContainers"] = json!([container("debugger")]);
    let (code, _) = world.ask("PUT", &path, fewer).await;
    assert_eq!(code, 422, "what was added stays");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_sysctls_are_checked() {
    let world = World::start().await;
    let names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."];
    let sysctls: Vec<Value> = names
        .map(|n| json!({"name": n, "value": "100000000"}))
        .into();
    let mut body = pod("p");
    body["spec"]["securityContext"] = json!({ "sysctls": sysctls });
    let (code, answer) = world.ask("POST", PODS, body).await;
    assert_eq!(code, 422);
    let message = answer["message"].as_str().unwrap();
    for (place, name) in [(0, "foo-"), (3, "bar..")] {
        let words =
            format!("spec.securityContext.sysctls[{place}].name: Invalid value: \"{name}\"");
        assert!(message.contains(&words), "{message}");
    }
    assert!(!message.contains("kernel.shmmax\""), "{message}");
    world.stop().await;
}
