//! kill -9 of an API server under mixed load: what was acknowledged is there, watches go on where they were and miss and repeat
//! nothing, lists go on at their revision.
//!
//! The test starts itself as a child that serves, and kills it, again and again.

mod common;
#[path = "../../store/tests/common/etcd.rs"]
#[allow(dead_code, reason = "the store's own tests need more of it")]
mod etcd;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{Server, client_of, request::send};
use etcd::Cluster;
use http_body_util::BodyExt;
use knarr_json::{Value, json};
use knarr_store::{EtcdOptions, Options, Store};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const KILLS: u32 = 6;
const WRITERS: usize = 8;
/// Objects that nobody changes, for lists in pages.
const STILL: usize = 12;
const DIR: &str = "KNARR_CRASH_TEST_DIR";
const ETCD: &str = "KNARR_CRASH_TEST_ETCD";

/// Not a test: the child of the tests below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let heads = knarr_apiserver::head_of(&knarr_api::builtin::registry());
    let store = match std::env::var(ETCD) {
        Ok(url) => {
            let file = |name: &str| Some(dir.join(name));
            let options = EtcdOptions {
                ca_file: file("ca.crt"),
                cert_file: file("client.crt"),
                key_file: file("client.key"),
                ..EtcdOptions::new(vec![url])
            };
            Store::connect(options, heads).await
        }
        Err(_) => {
            // Small, so that kills meet compactions; what they keep of the past is half of it.
            let options = Options {
                compact_at: 4 << 20,
                ..Options::new(&dir.join("store"))
            };
            Store::open(options, heads).await
        }
    };
    common::crypto();
    let server = Server::start_on(store.expect("the store opens after a kill"), |_| {}).await;
    let kubeconfig = server.kubeconfig("admin", &["system:masters"]);
    let line = format!("\n@{}\n", kubeconfig.replace('\n', " "));
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
    std::future::pending::<()>().await;
}

/// Where the child keeps its objects.
enum Engine {
    Embedded(tempfile::TempDir),
    Etcd(Cluster),
}

impl Engine {
    /// Starts a child and gives it with a client.
    async fn serve(&self) -> (Child, kube::Client) {
        let mut command = Command::new(std::env::current_exe().expect("this test has a path"));
        command
            .args(["--exact", "child", "--nocapture"])
            .stdout(Stdio::piped());
        match self {
            Engine::Embedded(dir) => command.env(DIR, dir.path()),
            Engine::Etcd(cluster) => command
                .env(DIR, cluster.path("."))
                .env(ETCD, format!("https://127.0.0.1:{}", cluster.port(0))),
        };
        let mut child = command.spawn().expect("the child starts");
        let pipe = child.stdout.take().expect("it has a pipe");
        let told = tokio::task::spawn_blocking(move || {
            let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
            lines.find_map(|line| line.strip_prefix('@').map(str::to_owned))
        });
        let kubeconfig = told.await.unwrap().expect("the child serves");
        (child, client_of(&kubeconfig).await)
    }
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// What one writer knows of its object.
#[derive(Default)]
struct Known {
    tick: u64,
    /// The value and revision that were acknowledged last; none when it was deleted.
    acked: Option<(u64, u64)>,
    /// What was asked for after that and not answered: a value, or none for a delete.
    asked: Option<Option<u64>>,
    /// Revisions of all creates and patches that were acknowledged.
    revisions: BTreeSet<u64>,
}

/// Sends a request; none when there is no answer, as from a server that is killed.
async fn attempt(
    client: &kube::Client,
    method: &str,
    path: &str,
    body: Value,
) -> Option<(u16, Value)> {
    let kind = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind);
    let body = kube::client::Body::from(body.to_string().into_bytes());
    let response = client.send(request.body(body).unwrap()).await.ok()?;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.ok()?.to_bytes();
    Some((code, serde_json::from_slice(&bytes).ok()?))
}

/// Creates, patches and deletes one object until the server is gone.
async fn write(client: kube::Client, n: usize, known: Arc<Mutex<Known>>) {
    let name = format!("w{n}");
    let path = format!("{MAPS}/{name}");
    loop {
        let (tick, exists) = {
            let mut known = known.lock().unwrap();
            known.tick += 1;
            let exists = known.acked.is_some();
            let deletes = exists && known.tick.is_multiple_of(7);
            known.asked = Some((!deletes).then_some(known.tick));
            (known.tick, exists)
        };
        let data = json!({"tick": tick.to_string(), "filler": "x".repeat(200 + 50 * n)});
        let done = match (exists, tick % 7) {
            (true, 0) => attempt(&client, "DELETE", &path, json!({})).await,
            (true, _) => attempt(&client, "PATCH", &path, json!({"data": data})).await,
            (false, _) => {
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
                attempt(&client, "POST", MAPS, map).await
            }
        };
        let Some((code, object)) = done else {
            return;
        };
        assert!(code < 300, "{code} {object}");
        let mut known = known.lock().unwrap();
        known.asked = None;
        known.acked = (!(exists && tick % 7 == 0)).then(|| (tick, revision(&object)));
        let acked = known.acked.map(|(_, revision)| revision);
        known.revisions.extend(acked);
    }
}

/// What a watch has told so far.
struct Mirror {
    revision: u64,
    objects: BTreeMap<String, u64>,
    /// Names and revisions of all additions and changes.
    told: BTreeSet<(String, u64)>,
}

/// Goes on with the watch until the server is gone.
async fn watch(client: kube::Client, mirror: Arc<Mutex<Mirror>>) {
    let from = mirror.lock().unwrap().revision;
    let path = format!("{MAPS}?watch=1&allowWatchBookmarks=1&resourceVersion={from}");
    let request = http::Request::get(path)
        .body(kube::client::Body::empty())
        .unwrap();
    let Ok(response) = client.send(request).await else {
        return;
    };
    let mut body = response.into_body();
    let mut rest = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        rest.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap();
            mirror.lock().unwrap().take(&event);
        }
    }
}

impl Mirror {
    fn take(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap();
        let object = &event["object"];
        assert!(kind != "ERROR", "the watch does not go on: {object}");
        let (name, now) = (
            object["metadata"]["name"].as_str().unwrap_or_default(),
            revision(object),
        );
        let known = self.objects.get(name).copied();
        assert!(
            now > self.revision || (kind == "BOOKMARK" && now >= self.revision),
            "{event} after {}",
            self.revision
        );
        self.revision = now;
        match (kind, known) {
            ("ADDED", None) | ("MODIFIED", Some(_)) => {
                self.objects.insert(name.to_owned(), now);
                assert!(self.told.insert((name.to_owned(), now)));
            }
            ("DELETED", Some(_)) => drop(self.objects.remove(name)),
            ("BOOKMARK", _) => {}
            _ => panic!("{event} for {known:?}"),
        }
    }
}

async fn list(client: &kube::Client) -> Value {
    let (code, list, _) = send(client, "GET", MAPS, Value::Null).await;
    assert_eq!(code, 200, "{list}");
    list
}

/// Every object is as it was acknowledged, or as it was asked for after that.
fn check(list: &Value, known: &[Arc<Mutex<Known>>]) {
    for (n, known) in known.iter().enumerate() {
        let mut known = known.lock().unwrap();
        let mut items = list["items"].as_array().unwrap().iter();
        let found = items.find(|i| i["metadata"]["name"] == format!("w{n}"));
        let value = found.map(|f| f["data"]["tick"].as_str().unwrap().parse::<u64>().unwrap());
        let as_acked = value == known.acked.map(|(tick, _)| tick);
        assert!(
            as_acked || Some(value) == known.asked,
            "w{n} has {value:?}: {:?} {:?}",
            known.acked,
            known.asked
        );
        known.acked = value.zip(found.map(revision));
        known.asked = None;
    }
}

/// The rest of a list that was begun before the kill shows what there was then.
async fn next_page(client: &kube::Client, token: &str) -> (Vec<String>, Option<String>) {
    let path = format!("{MAPS}?labelSelector=still&limit=4&continue={token}");
    let (code, page, _) = send(client, "GET", &path, Value::Null).await;
    assert_eq!(code, 200, "{page}");
    let names = page["items"].as_array().unwrap().iter();
    let names = names.map(|i| i["metadata"]["name"].as_str().unwrap().to_owned());
    (
        names.collect(),
        page["metadata"]["continue"].as_str().map(str::to_owned),
    )
}

async fn killed_again_and_again(engine: Engine) {
    let (mut child, mut client) = engine.serve().await;
    for n in 0..STILL {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("s{n:02}"), "labels": {"still": ""}}});
        assert_eq!(send(&client, "POST", MAPS, map).await.0, 201);
    }
    let first = list(&client).await;
    let objects = first["items"].as_array().unwrap().iter();
    let mirror = Arc::new(Mutex::new(Mirror {
        revision: revision(&first),
        objects: objects
            .map(|o| {
                (
                    o["metadata"]["name"].as_str().unwrap().to_owned(),
                    revision(o),
                )
            })
            .collect(),
        told: BTreeSet::new(),
    }));
    let known: Vec<_> = (0..WRITERS)
        .map(|_| Arc::<Mutex<Known>>::default())
        .collect();
    let all: Vec<String> = (0..STILL).map(|n| format!("s{n:02}")).collect();
    let (mut paged, mut lists, mut token) = (Vec::new(), 0, None::<String>);
    for round in 0..KILLS {
        // One that is not changed by the load, page by page over all the kills.
        let (names, next) = match &token {
            Some(token) => next_page(&client, token).await,
            None => next_page(&client, "").await,
        };
        paged.extend(names);
        token = next;
        if token.is_none() {
            assert_eq!(std::mem::take(&mut paged), all);
            lists += 1;
        }
        let mut tasks: Vec<_> = (0..WRITERS)
            .map(|n| tokio::spawn(write(client.clone(), n, known[n].clone())))
            .collect();
        tasks.push(tokio::spawn(watch(client.clone(), mirror.clone())));
        let killed = Arc::new(AtomicBool::new(false));
        let after = Duration::from_millis(u64::from(100 + round * 97 % 400));
        let told = killed.clone();
        let killer = tokio::task::spawn_blocking(move || {
            std::thread::sleep(after);
            told.store(true, Ordering::SeqCst);
            child.kill().expect("the child was still alive");
            child.wait().expect("it can be waited for")
        });
        for task in tasks {
            task.await.unwrap();
            assert!(
                killed.load(Ordering::SeqCst),
                "a client lost its connection before the kill"
            );
        }
        killer.await.unwrap();
        (child, client) = engine.serve().await;
        check(&list(&client).await, &known);
    }
    // All that a list says has been told by then.
    let last = list(&client).await;
    let wanted: BTreeMap<String, u64> = last["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| {
            (
                o["metadata"]["name"].as_str().unwrap().to_owned(),
                revision(o),
            )
        })
        .collect();
    let watching = tokio::spawn(watch(client.clone(), mirror.clone()));
    for _ in 0..200 {
        if mirror.lock().unwrap().objects == wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    watching.abort();
    child.kill().unwrap();
    child.wait().unwrap();
    let mirror = mirror.lock().unwrap();
    assert_eq!(mirror.objects, wanted);
    let mut writes = 0;
    for (n, known) in known.iter().enumerate() {
        for revision in &known.lock().unwrap().revisions {
            writes += 1;
            assert!(
                mirror.told.contains(&(format!("w{n}"), *revision)),
                "w{n} at {revision} was not told"
            );
        }
    }
    assert!(writes > 100, "only {writes} writes: that was no load");
    assert_eq!(lists, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_cost_nothing_on_disk() {
    killed_again_and_again(Engine::Embedded(tempfile::tempdir().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_cost_nothing_in_etcd() {
    if let Some(cluster) = Cluster::start(1).await {
        killed_again_and_again(Engine::Etcd(cluster)).await;
    }
}
