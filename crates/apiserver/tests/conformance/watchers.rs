//! Watches tell every change that was selected, from the revision that was asked for on, and all in the same order.

use knarr_json::{Value, json};

use crate::world::{Watch, World, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"watcher": label}}})
}

fn mutation(value: &str) -> Value {
    json!({"data": {"mutation": value}})
}

async fn told(watch: &mut Watch, kind: &str, name: &str, value: Option<&str>) {
    let event = watch.next().await;
    let object = &event["object"];
    let value = value.map_or(Value::Null, Value::from);
    assert_eq!(
        (
            &event["type"],
            &object["metadata"]["name"],
            &object["data"]["mutation"]
        ),
        (&json!(kind), &json!(name), &value)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_told_what_he_selected() {
    let world = World::start().await;
    let select = async |selector: &str| {
        let path = format!("{MAPS}?watch=true&labelSelector={selector}");
        world.watch(&path).await
    };
    let mut one = select("watcher%3Done").await;
    let mut two = select("watcher%3Dtwo").await;
    let mut both = select("watcher%20in%20(one,two)").await;
    for (name, mine) in [("one", true), ("two", false)] {
        let own = if mine { &mut one } else { &mut two };
        let path = format!("{MAPS}/{name}");
        world.make(MAPS, map(name, name)).await;
        world.merge(&path, mutation("1")).await;
        world.merge(&path, mutation("2")).await;
        world.delete(&path).await;
        for watch in [own, &mut both] {
            told(watch, "ADDED", name, None).await;
            told(watch, "MODIFIED", name, Some("1")).await;
            told(watch, "MODIFIED", name, Some("2")).await;
            told(watch, "DELETED", name, Some("2")).await;
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_where_it_begins_and_where_it_goes_on() {
    let world = World::start().await;
    let path = format!("{MAPS}/a");
    let made = world.make(MAPS, map("a", "a")).await;
    let first = world.merge(&path, mutation("1")).await;
    world.merge(&path, mutation("2")).await;
    world.delete(&path).await;
    let from = async |revision: u64| {
        let path = format!("{MAPS}?watch=true&labelSelector=watcher&resourceVersion={revision}");
        world.watch(&path).await
    };
    let mut later = from(revision(&first)).await;
    told(&mut later, "MODIFIED", "a", Some("2")).await;
    told(&mut later, "DELETED", "a", Some("2")).await;
    // Another watch ends after two events; what is done meanwhile is told to the one that goes on from there.
    let mut broken = from(revision(&made)).await;
    told(&mut broken, "MODIFIED", "a", Some("1")).await;
    let last = broken.next().await;
    drop(broken);
    world.make(MAPS, map("a", "a")).await;
    let mut again = from(revision(&last["object"])).await;
    told(&mut again, "DELETED", "a", Some("2")).await;
    told(&mut again, "ADDED", "a", None).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_the_selection_is_gone_until_it_comes_back() {
    let world = World::start().await;
    let path = format!("{MAPS}/a");
    let mut watch = world
        .watch(&format!("{MAPS}?watch=true&labelSelector=watcher%3Dyes"))
        .await;
    let label = |label: &str| json!({"metadata": {"labels": {"watcher": label}}});
    world.make(MAPS, map("a", "yes")).await;
    world.merge(&path, mutation("1")).await;
    world.merge(&path, label("no")).await;
    world.merge(&path, mutation("2")).await;
    world.merge(&path, label("yes")).await;
    world.merge(&path, mutation("3")).await;
    world.delete(&path).await;
    told(&mut watch, "ADDED", "a", None).await;
    told(&mut watch, "MODIFIED", "a", Some("1")).await;
    told(&mut watch, "DELETED", "a", Some("1")).await;
    told(&mut watch, "ADDED", "a", Some("2")).await;
    told(&mut watch, "MODIFIED", "a", Some("3")).await;
    told(&mut watch, "DELETED", "a", Some("3")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_see_the_same_order() {
    let world = World::start().await;
    let start = revision(&world.get(MAPS).await);
    let write = async |i: usize| {
        let (name, turn) = (format!("m{}", i % 10), i / 10);
        let path = format!("{MAPS}/{name}");
        match turn % 3 {
            0 => world.make(MAPS, map(&name, "x")).await,
            1 => world.merge(&path, mutation(&turn.to_string())).await,
            _ => world.delete(&path).await,
        };
    };
    let watch = async |revision: u64| {
        let path = format!("{MAPS}?watch=true&resourceVersion={revision}");
        world.watch(&path).await
    };
    let mut first = watch(start).await;
    let writes = futures::future::join_all((0..10).map(|start| async move {
        for turn in 0..9 {
            write(turn * 10 + start).await;
        }
    }));
    writes.await;
    let mut all = Vec::new();
    for _ in 0..90 {
        all.push(revision(&first.next().await["object"]));
    }
    assert!(all.is_sorted(), "{all:?}");
    for (i, begin) in all.iter().enumerate() {
        let mut other = watch(*begin).await;
        for wanted in &all[i + 1..] {
            assert_eq!(revision(&other.next().await["object"]), *wanted);
        }
    }
    world.stop().await;
}
