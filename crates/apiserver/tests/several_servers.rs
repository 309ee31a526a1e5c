//! Several API servers on one etcd are one API: what one of them acknowledged, all of them know.

mod common;
#[path = "../../store/tests/common/etcd.rs"]
#[allow(dead_code, reason = "the store's own tests need more of it")]
mod etcd;

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use common::{Server, request::send};
use etcd::Cluster;
use futures::{StreamExt, future::join_all};
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use knarr_apiserver::Config;
use knarr_json::{Value, json};
use knarr_store::Store;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn server(etcd: &Cluster) -> Server {
    server_with(etcd, |_| {}).await
}

async fn server_with(etcd: &Cluster, change: impl FnOnce(&mut Config)) -> Server {
    common::crypto();
    let heads = knarr_apiserver::head_of(&knarr_api::builtin::registry());
    let store = Store::connect(etcd.options(), heads).await.unwrap();
    Server::start_on(store, change).await
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}})
}

fn revision(object: &Value) -> String {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_server_is_asked_the_answer_is_the_same() {
    let Some(etcd) = Cluster::start(1).await else {
        return;
    };
    let servers = [server(&etcd).await, server(&etcd).await];
    let clients = [servers[0].admin().await, servers[1].admin().await];
    for n in 0..20 {
        let (here, there) = (&clients[n % 2], &clients[(n + 1) % 2]);
        let name = format!("m{n:02}");
        let path = format!("{MAPS}/{name}");
        let (code, made, _) = send(here, "POST", MAPS, config_map(&name, "1")).await;
        assert_eq!(code, 201, "{made}");
        let (code, read, _) = send(there, "GET", &path, Value::Null).await;
        assert_eq!((code, &read), (200, &made));
        // An update with what the other server said is no conflict; with what is older, it is.
        let mut new = made.clone();
        new["data"]["k"] = "2".into();
        let (code, updated, _) = send(there, "PUT", &path, new.clone()).await;
        assert_eq!(code, 200, "{updated}");
        assert_eq!(send(here, "PUT", &path, new).await.0, 409);
        let (code, _, _) = send(here, "POST", MAPS, config_map(&name, "1")).await;
        assert_eq!(code, 409);
        let (_, listed, _) = send(here, "GET", MAPS, Value::Null).await;
        let items = listed["items"].as_array().unwrap();
        let found = items.iter().find(|i| i["metadata"]["name"] == *name);
        assert_eq!(found.map(revision), Some(revision(&updated)));
    }
    pages_go_on_elsewhere(&clients).await;
    addresses_are_given_once(&clients).await;
    node_ports_are_given_once(&clients).await;
    for server in servers {
        server.stop().await;
    }
}

/// A list may be continued, and a watch begun, at another server than the one that gave the revision.
async fn pages_go_on_elsewhere(clients: &[kube::Client; 2]) {
    let (_, first, _) = send(&clients[0], "GET", &format!("{MAPS}?limit=7"), Value::Null).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (code, _, _) = send(&clients[0], "DELETE", &format!("{MAPS}/m15"), Value::Null).await;
    assert_eq!(code, 200);
    let next = format!("{MAPS}?limit=100&continue={token}");
    let (code, second, _) = send(&clients[1], "GET", &next, Value::Null).await;
    assert_eq!(code, 200, "{second}");
    let names: Vec<&str> = [&first, &second]
        .iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .filter_map(|item| item["metadata"]["name"].as_str())
        .filter(|name| name.starts_with('m'))
        .collect();
    let want: Vec<String> = (0..20).map(|n| format!("m{n:02}")).collect();
    assert_eq!(names, want, "the second page is as old as the first");

    let (_, made, _) = send(&clients[0], "POST", MAPS, config_map("seen", "1")).await;
    let maps: Api<ConfigMap> = Api::namespaced(clients[1].clone(), "default");
    let mut events = maps
        .watch(&WatchParams::default(), &revision(&made))
        .await
        .unwrap()
        .boxed();
    send(&clients[0], "POST", MAPS, config_map("later", "1")).await;
    let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
    match event.expect("in time").expect("goes on").unwrap() {
        WatchEvent::Added(map) => assert_eq!(map.metadata.name.as_deref(), Some("later")),
        other => panic!("{other:?}"),
    }
}

async fn addresses_are_given_once(clients: &[kube::Client; 2]) {
    let services = "/api/v1/namespaces/default/services";
    let service = |n: usize| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n}")}, "spec": {"ports": [{"port": 80}]}});
    let made = join_all((0..20).map(|n| send(&clients[n % 2], "POST", services, service(n)))).await;
    let mut given = HashSet::new();
    for (code, service, _) in made {
        assert_eq!(code, 201, "{service}");
        let ip = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
        assert!(given.insert(ip), "{service}");
    }
}

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn with_port(name: &str, port: u16) -> Value {
    let mut ports = json!([{"port": 80}]);
    if port > 0 {
        ports[0]["nodePort"] = port.into();
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"type": "NodePort", "ports": ports}})
}

async fn node_ports_are_given_once(clients: &[kube::Client; 2]) {
    // Drawn by both at the same time.
    let draws = (0..40).map(|n| {
        let service = with_port(&format!("drawn-{n}"), 0);
        send(&clients[n % 2], "POST", SERVICES, service)
    });
    let mut given = HashSet::new();
    for (code, service, _) in join_all(draws).await {
        assert_eq!(code, 201, "{service}");
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        assert!(given.insert(port), "{service}");
    }
    // A certain one, asked for at both: one gets it, however often.
    let free = (30_000..32_767).find(|port| !given.contains(port)).unwrap() as u16;
    for round in 0..5 {
        let asks = (0..6).map(|n| {
            let service = with_port(&format!("asked-{round}-{n}"), free);
            send(&clients[n % 2], "POST", SERVICES, service)
        });
        let answers = join_all(asks).await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(code, ..)| *code == 201);
        assert_eq!((made.len(), refused.len()), (1, 5), "{answers:?}");
        for (code, answer, _) in refused {
            assert_eq!(*code, 422, "{answer}");
            let message = answer["message"].as_str().unwrap();
            assert!(message.ends_with(&format!("spec.ports[0].nodePort: Invalid value: {free}: provided port is already allocated")), "{message}");
        }
        // What one server gives back, the other gives again, at once.
        let name = made[0].1["metadata"]["name"].as_str().unwrap();
        let path = format!("{SERVICES}/{name}");
        let (code, answer, _) = send(&clients[round % 2], "DELETE", &path, Value::Null).await;
        assert_eq!(code, 200, "{answer}");
    }
    // An update lets go of a port, too, and of an address.
    let (_, made, _) = send(&clients[0], "POST", SERVICES, with_port("changing", free)).await;
    let ip = made["spec"]["clusterIP"].as_str().unwrap();
    let path = format!("{SERVICES}/changing");
    let plain = json!({"spec": {"type": "ExternalName", "externalName": "example.com", "ports": null, "clusterIP": null, "clusterIPs": null}});
    let (code, answer, _) = send(&clients[1], "PATCH", &path, plain).await;
    assert_eq!(code, 200, "{answer}");
    let mut again = with_port("again", free);
    again["spec"]["clusterIP"] = ip.into();
    let (code, answer, _) = send(&clients[0], "POST", SERVICES, again).await;
    assert_eq!(code, 201, "{answer}");
}

/// A server that starts takes in what others hold, and what Services hold that were written without claims.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_later_gives_nothing_that_is_taken() {
    let Some(etcd) = Cluster::start(1).await else {
        return;
    };
    let first = server(&etcd).await;
    let client = first.admin().await;
    let (code, made, _) = send(&client, "POST", SERVICES, with_port("one", 30_100)).await;
    assert_eq!(code, 201, "{made}");
    let marks = first
        .store
        .get("/registry/ranges/servicenodeports")
        .unwrap();
    let marks: Value = serde_json::from_slice(&marks.json).unwrap();
    assert_eq!(
        (&marks["kind"], &marks["range"]),
        (&json!("RangeAllocation"), &json!("30000-32767"))
    );
    // As a version that knew no marks left it.
    let stored = first
        .store
        .get("/registry/ranges/servicenodeports")
        .unwrap();
    let gone = knarr_store::Write::Delete {
        key: stored.key.to_string(),
        expect: stored.revision,
    };
    first.store.write(gone).await.unwrap();
    let second = server(&etcd).await;
    let other = second.admin().await;
    let (code, answer, _) = send(&other, "POST", SERVICES, with_port("two", 30_100)).await;
    assert_eq!(code, 422, "{answer}");
    let mut taken = with_port("three", 0);
    taken["spec"]["clusterIP"] = made["spec"]["clusterIP"].clone();
    let (code, answer, _) = send(&other, "POST", SERVICES, taken).await;
    assert_eq!(code, 422, "{answer}");
    first.stop().await;
    second.stop().await;
}

/// Writes maps until told to stop; gives the names of those that were acknowledged.
async fn write_maps(
    client: kube::Client,
    n: usize,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
) -> Vec<String> {
    let mut acked = Vec::new();
    let mut i = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        i += 1;
        let name = format!("w{n}-{i}");
        let (code, answer, _) = send(&client, "POST", MAPS, config_map(&name, "1")).await;
        match code {
            201 => acked.push(name),
            500..=599 => {}
            // It was done, and its answer lost.
            409 if answer["reason"] == "AlreadyExists" => {}
            other => panic!("{other}: {answer}"),
        }
    }
    acked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_members_under_load_costs_no_acknowledged_write() {
    let Some(mut etcd) = Cluster::start(3).await else {
        return;
    };
    let servers = [server(&etcd).await, server(&etcd).await];
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writers = Vec::new();
    for n in 0..4 {
        let client = servers[n % 2].admin().await;
        writers.push(tokio::spawn(write_maps(client, n, stop.clone())));
    }
    // One of them leads.
    for n in 0..etcd.size() {
        tokio::time::sleep(Duration::from_millis(700)).await;
        etcd.kill_member(n);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        etcd.start_member(n);
        etcd.wait_for_member(n).await;
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut acked = Vec::new();
    for writer in writers {
        acked.extend(writer.await.unwrap());
    }
    assert!(acked.len() > 20, "{}: that was no load", acked.len());
    for server in &servers {
        let client = server.admin().await;
        let (code, listed, _) = send(&client, "GET", MAPS, Value::Null).await;
        assert_eq!(code, 200, "{listed}");
        let names: HashSet<&str> = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect();
        let lost: Vec<_> = acked
            .iter()
            .filter(|name| !names.contains(name.as_str()))
            .collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_nobody_is_told_what_may_be_wrong() {
    let Some(mut etcd) = Cluster::start(1).await else {
        return;
    };
    let server = server(&etcd).await;
    let client = server.admin().await;
    let path = format!("{MAPS}/a");
    let (code, made, _) = send(&client, "POST", MAPS, config_map("a", "1")).await;
    assert_eq!(code, 201);
    etcd.kill_member(0);
    let create = config_map("b", "1");
    let (read, write) = tokio::join!(
        send(&client, "GET", &path, Value::Null),
        send(&client, "POST", MAPS, create)
    );
    for (code, body, _) in [read, write] {
        assert!(code >= 500, "{code}: {body}");
    }
    // Who is content with what this server knows, gets it.
    let any = format!("{path}?resourceVersion=0");
    let (code, old, _) = send(&client, "GET", &any, Value::Null).await;
    assert_eq!((code, old), (200, made.clone()));
    etcd.start_member(0);
    etcd.wait_for_member(0).await;
    let (code, now, _) = send(&client, "GET", &path, Value::Null).await;
    assert_eq!((code, now), (200, made));
    server.stop().await;
}

/// Both servers look for old events: each goes once, and not before its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_once() {
    const EVENTS: &str = "/api/v1/namespaces/default/events";
    let life = Duration::from_secs(2);
    let Some(etcd) = Cluster::start(1).await else {
        return;
    };
    let servers = [
        server_with(&etcd, |c| c.event_ttl = life).await,
        server_with(&etcd, |c| c.event_ttl = life).await,
    ];
    let clients = [servers[0].admin().await, servers[1].admin().await];
    let (_, empty, _) = send(&clients[0], "GET", EVENTS, Value::Null).await;
    let mut watches = Vec::new();
    for client in &clients {
        let events: Api<Event> = Api::namespaced(client.clone(), "default");
        let watch = events
            .watch(&WatchParams::default(), &revision(&empty))
            .await;
        watches.push(watch.unwrap().boxed());
    }
    let mut written = HashMap::new();
    for n in 0..20 {
        let name = format!("e{n}");
        // Whatever time they tell.
        let last = ["2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"][n / 2 % 2];
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"}, "lastTimestamp": last,
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "message": "m", "type": "Normal"});
        written.insert(name, Instant::now());
        let (code, made, _) = send(&clients[n % 2], "POST", EVENTS, event).await;
        assert_eq!(code, 201, "{made}");
    }
    // One is written again and again, at both servers in turn.
    for n in 0..8 {
        tokio::time::sleep(life / 4).await;
        let path = format!("{EVENTS}/e0");
        written.insert("e0".into(), Instant::now());
        let (code, body, _) = send(&clients[n % 2], "PATCH", &path, json!({"count": n + 2})).await;
        assert_eq!(code, 200, "an event that is written again is gone: {body}");
    }
    for watch in &mut watches {
        let mut gone = HashSet::new();
        while gone.len() < 20 {
            let next = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
            if let WatchEvent::Deleted(event) = next.expect("in time").unwrap().unwrap() {
                let name = event.metadata.name.unwrap();
                assert!(written[&name].elapsed() >= life, "{name} went too early");
                assert!(gone.insert(name), "an event goes once");
            }
        }
    }
    for client in &clients {
        let (_, left, _) = send(client, "GET", EVENTS, Value::Null).await;
        assert_eq!(left["items"].items().len(), 0);
    }
    // Nothing is told of those that are gone any more.
    let last = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "last", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
    let (code, made, _) = send(&clients[0], "POST", EVENTS, last).await;
    assert_eq!(code, 201, "{made}");
    for mut watch in watches {
        let next = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
        match next.expect("in time").unwrap().unwrap() {
            WatchEvent::Added(event) => assert_eq!(event.metadata.name.as_deref(), Some("last")),
            other => panic!("{other:?}"),
        }
    }
    for server in servers {
        server.stop().await;
    }
}
