//! Whatever several writers do in whatever order: a list with selectors and the events behind it lead to what a later list
//! with the same selectors shows.

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{Server, request::send};
use futures::{StreamExt, future::join_all};
use k8s_openapi::api::core::v1::Pod;
use knarr_json::{Value, json};
use kube::{
    Api, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use proptest::prelude::*;

const SELECTORS: [(&str, &str); 7] = [
    ("", ""),
    ("app=a", ""),
    ("app in (a,b),!tier", ""),
    ("app!=a", ""),
    ("", "status.phase=Running"),
    ("tier", "metadata.name!=p1,status.phase!=Running"),
    ("", "metadata.name=p2"),
];

#[derive(Debug, Clone)]
enum Step {
    /// Sets or removes a label of a pod, which is created when it is not there.
    Label {
        pod: usize,
        key: bool,
        value: Option<char>,
    },
    Phase {
        pod: usize,
        running: bool,
    },
    Delete {
        pod: usize,
    },
    /// What came so far goes at once; then followers start.
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pod = 0..4usize;
    let step = prop_oneof![
        6 => (pod.clone(), any::<bool>(), prop::option::of(prop::char::range('a', 'c')))
            .prop_map(|(pod, key, value)| Step::Label { pod, key, value }),
        3 => (pod.clone(), any::<bool>()).prop_map(|(pod, running)| Step::Phase { pod, running }),
        2 => pod.prop_map(|pod| Step::Delete { pod }),
        2 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..40)
}

/// Does a step; that it is refused since somebody else was faster is fine.
async fn act(client: &kube::Client, pods: &str, step: &Step) {
    match step {
        Step::Label { pod, key, value } => {
            let key = if *key { "app" } else { "tier" };
            let value = value.map(String::from);
            let labels = json!({"metadata": {"labels": {key: value}}});
            let path = format!("{pods}/p{pod}");
            if send(client, "PATCH", &path, labels.clone()).await.0 == 404 {
                let mut new = json!({
                    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{pod}"), "labels": {}},
                    "spec": {"containers": [{"name": "c", "image": "i"}]},
                });
                if let Some(value) = value {
                    new["metadata"]["labels"][key] = value.into();
                }
                send(client, "POST", pods, new).await;
            }
        }
        Step::Phase { pod, running } => {
            let phase = if *running { "Running" } else { "Pending" };
            let status = json!({"status": {"phase": phase}});
            send(client, "PATCH", &format!("{pods}/p{pod}/status"), status).await;
        }
        Step::Delete { pod } => {
            let path = format!("{pods}/p{pod}?gracePeriodSeconds=0");
            send(client, "DELETE", &path, Value::Null).await;
        }
        Step::Settle => {}
    }
}

type State = BTreeMap<String, String>;

/// Names and revisions of what a list shows, and the list's own revision.
async fn list(api: &Api<Pod>, selectors: (&str, &str)) -> (State, String) {
    let params = ListParams::default()
        .labels(selectors.0)
        .fields(selectors.1);
    let found = api.list(&params).await.unwrap();
    let revision = found.metadata.resource_version.clone().unwrap();
    let state = found
        .iter()
        .map(|pod| (pod.name_any(), pod.resource_version().unwrap()));
    (state.collect(), revision)
}

/// Follows from a list on until `until` is reached, which must be what `want` shows.
async fn follow(
    api: Api<Pod>,
    selectors: (&'static str, &'static str),
    from: (State, String),
    want: State,
) {
    let params = WatchParams::default()
        .labels(selectors.0)
        .fields(selectors.1);
    let mut events = api.watch(&params, &from.1).await.unwrap().boxed();
    let (mut state, mut last) = (from.0, from.1.parse::<u64>().unwrap());
    while state != want {
        let next = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
        let event = next.unwrap_or_else(|_| panic!("{selectors:?}: {state:?} never gets {want:?}"));
        let (pod, there, stays) = match event.expect("the watch goes on").unwrap() {
            WatchEvent::Added(pod) => (pod, false, true),
            WatchEvent::Modified(pod) => (pod, true, true),
            WatchEvent::Deleted(pod) => (pod, true, false),
            other => panic!("{other:?}"),
        };
        let (name, revision) = (pod.name_any(), pod.resource_version().unwrap());
        let number: u64 = revision.parse().unwrap();
        assert!(number > last, "in order, each once");
        last = number;
        assert_eq!(state.contains_key(&name), there, "{selectors:?} {name}");
        if stays {
            state.insert(name, revision);
        } else {
            state.remove(&name);
        }
    }
}

async fn run(client: &kube::Client, namespace: &str, steps: &[Step]) {
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let api: &Api<Pod> = &Api::namespaced(client.clone(), namespace);
    let mut starts = Vec::new();
    for part in steps.split_inclusive(|step| matches!(step, Step::Settle)) {
        // All at once, so that writers meet, and lists are taken in between.
        let acts = join_all(part.iter().map(|step| act(client, &pods, step)));
        let lists = join_all(
            SELECTORS.map(|selectors| async move { (selectors, list(api, selectors).await) }),
        );
        starts.extend(tokio::join!(acts, lists).1);
    }
    let mut followers = Vec::new();
    let ends = join_all(SELECTORS.map(|selectors| list(api, selectors))).await;
    for (selectors, from) in starts {
        let at = SELECTORS.iter().position(|s| *s == selectors).unwrap();
        followers.push(follow(api.clone(), selectors, from, ends[at].0.clone()));
    }
    join_all(followers).await;
}

#[test]
fn a_list_and_its_events_lead_to_the_next_list() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = runtime.block_on(Server::start(dir.path()));
    let client = runtime.block_on(server.admin());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        max_shrink_iters: 20,
        ..ProptestConfig::default()
    });
    let count = std::cell::Cell::new(0);
    let done = runner.run(&steps(), |steps| {
        count.set(count.get() + 1);
        let namespace = format!("n{}", count.get());
        runtime.block_on(async {
            let plain = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
            send(&client, "POST", "/api/v1/namespaces", plain("Namespace", &namespace)).await;
            let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            send(&client, "POST", &accounts, plain("ServiceAccount", "default")).await;
            run(&client, &namespace, &steps).await;
        });
        Ok(())
    });
    runtime.block_on(server.stop());
    if let Err(error) = done {
        panic!("{error}");
    }
}
