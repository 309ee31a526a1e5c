//! Several API servers on one etcd are one API: what one of them acknowledged, all of them know.

mod common;
#[path = "../../store/tests/common/etcd.rs"]
#[allow(dead_code, reason = "the store's own tests need more of it")]
mod etcd;

use std::{collections::HashSet, time::Duration};

use common::{Server, request::send};
use etcd::Cluster;
use futures::{StreamExt, future::join_all};
use k8s_openapi::api::core::v1::ConfigMap;
use knarr_store::Store;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn server(etcd: &Cluster) -> Server {
    common::crypto();
    let heads = knarr_apiserver::head_of(&knarr_api::builtin::registry());
    let store = Store::connect(etcd.options(), heads).await.unwrap();
    Server::start_on(store, |_| {}).await
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
