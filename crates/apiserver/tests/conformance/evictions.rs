//! An eviction is refused until the budget of its pod allows it.

use knarr_json::{Value, json};

use crate::{
    kinds::template,
    world::{MERGE, World},
};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_blocks_until_it_allows() {
    let world = World::start().await;
    let mut pod = template();
    pod["metadata"]["name"] = json!("p");
    world.make(PODS, pod).await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    world.make(&format!("{PODS}/p/binding"), binding).await;
    let conditions = json!([{"type": "Ready", "status": "True"}]);
    let running = json!({"status": {"phase": "Running", "conditions": conditions}});
    world.merge(&format!("{PODS}/p/status"), running).await;
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    let made = world.make(BUDGETS, budget).await;
    // What a controller would find: first the pod is needed, then it is one too many.
    let allow = async |allowed: u32| {
        let status = json!({"status": {"observedGeneration": made["metadata"]["generation"], "disruptionsAllowed": allowed,
            "currentHealthy": 1 + allowed, "desiredHealthy": 1, "expectedPods": 1 + allowed}});
        world
            .patch(&format!("{BUDGETS}/b/status"), MERGE, status)
            .await;
    };
    let evict = async || {
        let eviction =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
        world
            .ask("POST", &format!("{PODS}/p/eviction"), eviction)
            .await
    };
    allow(0).await;
    let (code, answer) = evict().await;
    assert_eq!((code, &answer["reason"]), (429, &json!("TooManyRequests")));
    let cause = &answer["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(
        world.get(&format!("{PODS}/p")).await["metadata"]["deletionTimestamp"],
        Value::Null
    );
    allow(1).await;
    assert_eq!(evict().await.0, 201);
    let budget = world.get(&format!("{BUDGETS}/b")).await;
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(
        budget["status"]["disruptedPods"]["p"].is_string(),
        "{budget}"
    );
    assert!(world.get(&format!("{PODS}/p")).await["metadata"]["deletionTimestamp"].is_string());
    world.stop().await;
}
