//! Events are the same objects in both groups.

use knarr_json::{Value, json};

use crate::world::{STRATEGIC, World};

const CORE: &str = "/api/v1/namespaces/default/events";
const NEW: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_seen_in_both_groups() {
    let world = World::start().await;
    let event = json!({"metadata": {"name": "event-test", "labels": {"testevent-constant": "true"}}, "message": "This is a test event",
        "reason": "Test", "type": "Normal", "count": 1, "involvedObject": {"namespace": "default"}, "source": {"component": "walk"}});
    world.make(CORE, event).await;
    let everywhere = "/api/v1/events?labelSelector=testevent-constant%3Dtrue";
    assert_eq!(world.names(everywhere).await, ["event-test"]);
    let message = json!({"message": "This is a test event - patched"});
    let one = format!("{CORE}/event-test");
    world.patch(&one, STRATEGIC, message).await;
    let other = world.get(&format!("{NEW}/event-test")).await;
    assert_eq!(other["note"], "This is a test event - patched");
    assert_eq!(other["kind"], "Event");
    let selected = format!("{CORE}?fieldSelector=involvedObject.namespace%3Ddefault,reason%3DTest");
    assert_eq!(world.names(&selected).await, ["event-test"]);
    let selected = format!("{NEW}?fieldSelector=reason%3DTest,type%3DNormal");
    assert_eq!(world.names(&selected).await, ["event-test"]);
    world.delete(&format!("{NEW}/event-test")).await;
    assert_eq!(world.ask("GET", &one, Value::Null).await.0, 404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_is_told_by_updates() {
    let world = World::start().await;
    let event = json!({"metadata": {"name": "e"}, "regarding": {"namespace": "default", "kind": "Pod", "name": "p"},
        "eventTime": "2026-01-01T00:00:00.123456Z", "note": "This is e", "type": "Normal", "action": "Do", "reason": "Test",
        "reportingController": "test-controller", "reportingInstance": "test-node"});
    let made = world.make(NEW, event).await;
    assert_eq!(made["eventTime"], "2026-01-01T00:00:00.123456Z");
    for selected in [
        format!("{CORE}?fieldSelector=source%3Dtest-controller"),
        format!("{NEW}?fieldSelector=reportingController%3Dtest-controller"),
    ] {
        assert_eq!(world.names(&selected).await, ["e"]);
    }
    let path = format!("{NEW}/e");
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000001Z"}});
    let patched = world.patch(&path, STRATEGIC, series.clone()).await;
    assert_eq!(patched["series"], series["series"]);
    let updated = world
        .update(&path, |e| e["series"]["count"] = json!(100))
        .await;
    assert_eq!(updated["series"]["count"], 100);
    world.stop().await;
}
