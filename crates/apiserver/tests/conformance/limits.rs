//! A limit range fills in what pods do not say and refuses what is too little or too much.

use knarr_json::{Value, json};

use crate::world::{World, until};

const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn amounts(cpu: &str, memory: &str, storage: &str) -> Value {
    let all = [
        ("cpu", cpu),
        ("memory", memory),
        ("ephemeral-storage", storage),
    ];
    let said = all.into_iter().filter(|(_, amount)| !amount.is_empty());
    said.map(|(name, amount)| (name.to_owned(), json!(amount)))
        .collect::<knarr_json::Map>()
        .into()
}

fn range(name: &str) -> Value {
    let limits = json!({"type": "Container",
        "min": amounts("50m", "100Mi", "100Gi"), "max": amounts("500m", "500Mi", "500Gi"),
        "default": amounts("500m", "500Mi", "500Gi"), "defaultRequest": amounts("100m", "200Mi", "200Gi")});
    json!({"metadata": {"name": name, "labels": {"e2e-test": "x", "state": "created"}}, "spec": {"limits": [limits]}})
}

fn pod(name: &str, requests: Value, limits: Value) -> Value {
    let resources = json!({"requests": requests, "limits": limits});
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_get_defaults_and_keep_to_the_limits() {
    let world = World::start().await;
    let mut watch = world
        .watch(&format!("{RANGES}?watch=true&labelSelector=e2e-test"))
        .await;
    world.make(RANGES, range("l")).await;
    assert_eq!(watch.told().await, ("ADDED".into(), "l".into()));
    let none = || json!({});
    let made = world.make(PODS, pod("none", none(), none())).await;
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources["requests"], amounts("100m", "200Mi", "200Gi"));
    assert_eq!(resources["limits"], amounts("500m", "500Mi", "500Gi"));
    // A limit that is told is the request that is not.
    let part = pod(
        "part",
        amounts("", "150Mi", "150Gi"),
        amounts("300m", "", ""),
    );
    let made = world.make(PODS, part).await;
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources["requests"], amounts("300m", "150Mi", "150Gi"));
    assert_eq!(resources["limits"], amounts("300m", "500Mi", "500Gi"));
    let small = || pod("small", amounts("10m", "50Mi", "50Gi"), none());
    let large = || pod("large", amounts("600m", "600Mi", "600Gi"), none());
    for refused in [small(), large()] {
        assert!(matches!(
            world.ask("POST", PODS, refused).await.0,
            403 | 422
        ));
    }
    world
        .update(&format!("{RANGES}/l"), |l| {
            l["spec"]["limits"][0]["min"] = amounts("9m", "49Mi", "49Gi");
        })
        .await;
    until("the update is effective", async || {
        world.ask("POST", PODS, small()).await.0 == 201
    })
    .await;
    assert!(matches!(
        world.ask("POST", PODS, large()).await.0,
        403 | 422
    ));
    world.delete(&format!("{RANGES}/l")).await;
    until("the end is effective", async || {
        world.ask("POST", PODS, large()).await.0 == 201
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_all_namespaces_are_listed_and_one_is_deleted() {
    let world = World::start().await;
    world.namespace("other").await;
    world.make(RANGES, range("l")).await;
    let other = RANGES.replace("default", "other");
    world.make(&other, range("l")).await;
    let all = "/api/v1/limitranges?labelSelector=e2e-test%3Dx";
    assert_eq!(world.names(all).await.len(), 2);
    let mut limits = range("l")["spec"]["limits"].clone();
    limits[0]["min"] = amounts("9m", "49Mi", "49Gi");
    let patch = json!({"metadata": {"labels": {"state": "patched"}}, "spec": {"limits": limits}});
    let path = format!("{RANGES}/l");
    let patched = world.patch(&path, crate::world::STRATEGIC, patch).await;
    assert_eq!(patched["metadata"]["labels"]["state"], "patched");
    assert_eq!(patched["spec"]["limits"], limits);
    let select = format!("{RANGES}?labelSelector=state%3Dpatched");
    world.delete(&select).await;
    assert_eq!(world.names(&select).await.len(), 0);
    assert_eq!(world.names(all).await.len(), 1);
    world.stop().await;
}
