//! What the API server itself does for quotas: their status, and the charge before anything is made.

use knarr_json::{Value, json};

use crate::{
    kinds::template,
    world::{MERGE, World},
};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_apart_from_what_is_wanted() {
    let world = World::start().await;
    let hard = |cpu: &str, memory: &str| json!({"hard": {"cpu": cpu, "memory": memory}});
    let body = json!({"metadata": {"name": "q"}, "spec": hard("500m", "500Mi")});
    world.make(QUOTAS, body).await;
    let (path, status) = (format!("{QUOTAS}/q"), format!("{QUOTAS}/q/status"));
    let updated = world
        .update(&status, |q| q["status"] = hard("500m", "500Mi"))
        .await;
    assert_eq!(updated["status"], hard("500m", "500Mi"));
    let patched = world
        .patch(&path, MERGE, json!({"spec": hard("1", "1Gi")}))
        .await;
    assert_eq!(patched["spec"], hard("1", "1Gi"));
    let patched = world
        .patch(&status, MERGE, json!({"status": hard("1", "1Gi")}))
        .await;
    assert_eq!(patched["status"], hard("1", "1Gi"));
    assert_eq!(world.get(&status).await["status"], hard("1", "1Gi"));
    // By the status nothing is wanted.
    let both = json!({"spec": hard("9", "9Gi"), "status": hard("2", "2Gi")});
    let patched = world.patch(&status, MERGE, both).await;
    assert_eq!(
        (&patched["spec"], &patched["status"]),
        (&hard("1", "1Gi"), &hard("2", "2Gi"))
    );
    world.stop().await;
}

/// Makes a quota and says, as a controller would, that nothing of it is used.
async fn quota(world: &World, name: &str, spec: Value) {
    let hard = spec["hard"].clone();
    world
        .make(QUOTAS, json!({"metadata": {"name": name}, "spec": spec}))
        .await;
    let used: knarr_json::Map = hard
        .as_object()
        .unwrap()
        .keys()
        .map(|k| (k.clone(), json!("0")))
        .collect();
    let status = json!({"status": {"hard": hard, "used": used}});
    let path = format!("{QUOTAS}/{name}/status");
    world.patch(&path, MERGE, status).await;
}

async fn used(world: &World, name: &str) -> Value {
    let quota = world.get(&format!("{QUOTAS}/{name}")).await;
    quota["status"]["used"].clone()
}

fn pod(name: &str, requests: Value, more: Value) -> Value {
    let limits = requests.clone();
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": requests, "limits": limits}}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        pod["spec"][key.as_str()] = value.clone();
    }
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_charged_when_they_are_made() {
    let world = World::start().await;
    let counts = [
        "configmaps",
        "secrets",
        "services",
        "replicationcontrollers",
        "count/replicasets.apps",
    ];
    let hard: Value = counts
        .iter()
        .map(|c| ((*c).to_owned(), json!("2")))
        .collect::<knarr_json::Map>()
        .into();
    quota(&world, "counts", json!({ "hard": hard })).await;
    let (core, apps) = (
        "/api/v1/namespaces/default",
        "/apis/apps/v1/namespaces/default",
    );
    let of_set = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template()});
    for (path, mut body) in [
        (format!("{core}/configmaps"), json!({})),
        (format!("{core}/secrets"), json!({})),
        (
            format!("{core}/services"),
            json!({"spec": {"ports": [{"port": 80}]}}),
        ),
        (
            format!("{core}/replicationcontrollers"),
            json!({"spec": {"selector": {"app": "a"}, "template": template()}}),
        ),
        (format!("{apps}/replicasets"), json!({ "spec": of_set })),
    ] {
        for (name, wanted) in [("a", 201), ("b", 201), ("c", 403)] {
            body["metadata"]["name"] = json!(name);
            let (code, answer) = world.ask("POST", &path, body.clone()).await;
            assert_eq!(code, wanted, "{path}: {answer}");
        }
    }
    assert_eq!(used(&world, "counts").await, hard);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_charged_by_their_type() {
    let world = World::start().await;
    let hard = json!({"services": "4", "services.nodeports": "1", "services.loadbalancers": "1"});
    quota(&world, "q", json!({ "hard": hard })).await;
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, kind: &str| json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    world.make(services, service("a", "ClusterIP")).await;
    world.make(services, service("b", "NodePort")).await;
    let (code, _) = world.ask("POST", services, service("c", "NodePort")).await;
    assert_eq!(code, 403);
    // One that has node ports of its own counts twice.
    let (code, _) = world
        .ask("POST", services, service("d", "LoadBalancer"))
        .await;
    assert_eq!(code, 403);
    let wanted = json!({"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"});
    assert_eq!(used(&world, "q").await, wanted);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_charged_and_do_not_grow() {
    let world = World::start().await;
    let hard = json!({"pods": "5", "cpu": "1", "memory": "500Mi", "requests.ephemeral-storage": "50Gi", "requests.example.com/dongle": "3"});
    quota(&world, "q", json!({ "hard": hard })).await;
    let amounts = json!({"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"});
    world.make(PODS, pod("a", amounts, json!({}))).await;
    let wanted = json!({"pods": "1", "cpu": "500m", "memory": "252Mi", "requests.ephemeral-storage": "30Gi", "requests.example.com/dongle": "2"});
    assert_eq!(used(&world, "q").await, wanted);
    for too_much in [
        json!({"cpu": "600m", "memory": "100Mi", "ephemeral-storage": "1Gi"}),
        json!({"cpu": "500m", "memory": "100Mi", "ephemeral-storage": "30Gi"}),
        json!({"cpu": "500m", "memory": "100Mi", "ephemeral-storage": "1Gi", "example.com/dongle": "2"}),
    ] {
        let (code, answer) = world.ask("POST", PODS, pod("b", too_much, json!({}))).await;
        assert_eq!(code, 403, "{answer}");
    }
    let mut grown = world.get(&format!("{PODS}/a")).await;
    grown["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("100m");
    let (code, _) = world.ask("PUT", &format!("{PODS}/a"), grown).await;
    assert_eq!(code, 422);
    assert_eq!(used(&world, "q").await, wanted);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_charged_to_the_quota_of_their_scope() {
    let world = World::start().await;
    for scope in [
        "BestEffort",
        "NotBestEffort",
        "Terminating",
        "NotTerminating",
    ] {
        let spec = json!({"hard": {"pods": "5"}, "scopes": [scope]});
        quota(&world, &scope.to_lowercase(), spec).await;
    }
    let charged = async |scopes: [&str; 4]| {
        let mut counts = Vec::new();
        for scope in scopes {
            let used = used(&world, &scope.to_lowercase()).await;
            counts.push(used["pods"].as_str().unwrap().to_owned());
        }
        counts
    };
    let scopes = [
        "BestEffort",
        "NotBestEffort",
        "Terminating",
        "NotTerminating",
    ];
    world.make(PODS, pod("a", json!({}), json!({}))).await;
    assert_eq!(charged(scopes).await, ["1", "0", "0", "1"]);
    let some = || json!({"cpu": "100m"});
    world.make(PODS, pod("b", some(), json!({}))).await;
    assert_eq!(charged(scopes).await, ["1", "1", "0", "2"]);
    let deadline = json!({"activeDeadlineSeconds": 3600});
    world.make(PODS, pod("c", some(), deadline)).await;
    assert_eq!(charged(scopes).await, ["1", "2", "1", "2"]);
    world.stop().await;
}
