//! What only etcd can do to a store: several servers, members that go away, compaction by others.

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{
    PODS, connect, create, delete, etcd::Cluster, keys, list, next, object, summary, update,
    value_of,
};
use futures::FutureExt;
use knarr_store::{
    EtcdOptions, EventKind, Range, RevisionError, Store, Transformer, Write, WriteError,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

fn key(n: impl std::fmt::Display) -> String {
    format!("{PODS}default/{n}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_after_a_write_through_another_server_sees_it() {
    let Some(etcd) = Cluster::start(3).await else {
        return;
    };
    let stores = [
        connect(etcd.options()).await.unwrap(),
        connect(etcd.options()).await.unwrap(),
    ];
    for n in 0..100 {
        let (writer, reader) = (&stores[n % 2], &stores[(n + 1) % 2]);
        let done = create(writer, &key(n), "v").await.unwrap();
        assert_eq!(writer.get(&key(n)).unwrap().revision, done.revision);
        reader.catch_up().await.unwrap();
        assert_eq!(reader.get(&key(n)).unwrap().revision, done.revision);
    }
    assert_eq!(stores[0].revision(), stores[1].revision());
    for store in stores {
        store.close().await;
    }
}

/// Adds one to a counter until it was done `times` times.
async fn count(store: Store, times: usize) {
    let mut done = 0;
    while done < times {
        let old = store.get(&key("counter")).expect("it is there");
        let value: u64 = value_of(&old)["value"].as_str().unwrap().parse().unwrap();
        let next = (value + 1).to_string();
        match update(&store, &key("counter"), old.revision, &next).await {
            Ok(_) => done += 1,
            Err(WriteError::Conflict(now)) => {
                // What refused the write is seen by the next read.
                assert!(store.get(&key("counter")).unwrap().revision >= now.revision);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_between_servers() {
    let Some(etcd) = Cluster::start(1).await else {
        return;
    };
    let stores = [
        connect(etcd.options()).await.unwrap(),
        connect(etcd.options()).await.unwrap(),
    ];
    create(&stores[0], &key("counter"), "0").await.unwrap();
    stores[1].catch_up().await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..6 {
        tasks.spawn(count(stores[n % 2].clone(), 20));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for store in &stores {
        store.catch_up().await.unwrap();
        assert_eq!(
            value_of(&store.get(&key("counter")).unwrap())["value"],
            "120"
        );
    }
}

/// Creates and updates keys of its own until told to stop; what was acknowledged last, by key.
async fn load(store: Store, n: usize, stop: Arc<AtomicBool>) -> BTreeMap<String, (u64, String)> {
    let mut acked: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let key = key(format_args!("{n}-{}", round % 20));
        let value = format!("{n} {round}");
        let known = acked.get(&key).map(|(revision, _)| *revision);
        let done = match known {
            None => create(&store, &key, &value).await,
            Some(revision) => update(&store, &key, revision, &value).await,
        };
        match done {
            Ok(stored) => {
                acked.insert(key, (stored.revision, value));
            }
            // Nobody else writes these keys: a refusal would tell of a write that was done and not acknowledged.
            Err(WriteError::Engine(_)) => {
                store.catch_up().await.ok();
                match store.get(&key) {
                    Some(now) => {
                        let value = value_of(&now)["value"].as_str().unwrap().to_owned();
                        acked.insert(key, (now.revision, value));
                    }
                    None => {
                        acked.remove(&key);
                    }
                }
            }
            Err(error) => panic!("{key}: {error}"),
        }
    }
    acked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_any_member_under_load_costs_no_acknowledged_write() {
    let Some(mut etcd) = Cluster::start(3).await else {
        return;
    };
    let store = connect(etcd.options()).await.unwrap();
    let mut watch = store.watch(PODS, None).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|n| tokio::spawn(load(store.clone(), n, stop.clone())))
        .collect();
    // One of them leads.
    for n in 0..etcd.size() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        etcd.kill_member(n);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        etcd.start_member(n);
        etcd.wait_for_member(n).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut acked = BTreeMap::new();
    for writer in writers {
        acked.extend(writer.await.unwrap());
    }
    let fresh = connect(etcd.options()).await.unwrap();
    for (key, (revision, value)) in &acked {
        let found = fresh.get(key).unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!(
            (found.revision, &value_of(&found)["value"]),
            (*revision, &value.as_str().into())
        );
    }
    // The watch lost nothing, repeated nothing, and leads to the same state.
    store.catch_up().await.unwrap();
    let (mut state, mut last) = (BTreeMap::new(), 0);
    while let Some(event) = watch.next().now_or_never() {
        let event = event.unwrap().unwrap();
        assert!(event.object.revision > last);
        last = event.object.revision;
        let before = state.insert(event.object.key.to_string(), last);
        assert_eq!(before, event.previous.as_ref().map(|p| p.revision));
    }
    let want: BTreeMap<_, _> = acked.iter().map(|(k, (r, _))| (k.clone(), *r)).collect();
    assert_eq!(state, want);
    assert!(want.len() == 160, "{}: that was no load", want.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_all_of_etcd_gives_errors_and_never_wrong_answers() {
    let Some(mut etcd) = Cluster::start(1).await else {
        return;
    };
    let store = connect(etcd.options()).await.unwrap();
    let mut watch = store.watch(PODS, None).unwrap();
    let a = create(&store, &key("a"), "1").await.unwrap();
    etcd.kill_member(0);
    let b = key("b");
    let (read, write) = tokio::join!(store.catch_up(), create(&store, &b, "1"));
    assert!(read.is_err(), "nobody knows what is newest");
    assert!(matches!(write, Err(WriteError::Engine(_))));
    // Who is content with what was, may have it.
    assert_eq!(store.get(&key("a")).unwrap().revision, a.revision);
    etcd.start_member(0);
    etcd.wait_for_member(0).await;
    store.catch_up().await.unwrap();
    assert_eq!(keys(&list(&store, PODS)), [key("a")]);
    let b = create(&store, &key("b"), "2").await.unwrap();
    for (name, revision) in [("a", a.revision), ("b", b.revision)] {
        let event = next(&mut watch).await;
        assert_eq!(summary(&event), (EventKind::Added, key(name), revision));
    }
    // A cluster that forgot everything: watches must end, and what is not there any more is not shown.
    etcd.kill_member(0);
    etcd.wipe_member(0);
    etcd.start_member(0);
    etcd.wait_for_member(0).await;
    let mut patience = 100;
    while store.catch_up().await.is_err() && patience > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        patience -= 1;
    }
    assert!(list(&store, PODS).is_empty());
    let ended = watch.next().await;
    assert!(
        matches!(ended, Some(Err(RevisionError::Compacted { .. }))),
        "{ended:?}"
    );
    create(&store, &key("c"), "1").await.unwrap();
    assert_eq!(keys(&list(&store, PODS)), [key("c")]);
}

/// A way to a member that can be cut.
struct Way {
    port: u16,
    open: Arc<AtomicBool>,
    connections: Arc<tokio::sync::Mutex<JoinSet<()>>>,
}

impl Way {
    async fn to(target: u16) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Way {
            port: listener.local_addr().unwrap().port(),
            open: Arc::new(AtomicBool::new(true)),
            connections: Arc::default(),
        };
        let (open, connections) = (way.open.clone(), way.connections.clone());
        tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                connections.lock().await.spawn(async move {
                    let there = TcpStream::connect(("127.0.0.1", target)).await;
                    if let Ok(mut there) = there {
                        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                    }
                });
            }
        });
        way
    }

    async fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.connections.lock().await.shutdown().await;
    }

    fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_missed_compacted_changes_starts_over_and_says_so() {
    let Some(etcd) = Cluster::start(1).await else {
        return;
    };
    let way = Way::to(etcd.port(0)).await;
    let far = EtcdOptions {
        servers: vec![format!("https://127.0.0.1:{}", way.port)],
        compaction_interval: Duration::ZERO,
        ..etcd.options()
    };
    let far = connect(far).await.unwrap();
    let near = EtcdOptions {
        compaction_interval: Duration::from_millis(200),
        ..etcd.options()
    };
    let near = connect(near).await.unwrap();
    let mut a = create(&near, &key("a"), "0").await.unwrap().revision;
    let b = create(&near, &key("b"), "0").await.unwrap().revision;
    far.catch_up().await.unwrap();
    let mut watch = far.watch(PODS, None).unwrap();
    way.cut().await;
    delete(&near, &key("b"), b).await.unwrap();
    for n in 0..20 {
        a = update(&near, &key("a"), a, &n.to_string())
            .await
            .unwrap()
            .revision;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    way.mend();
    far.catch_up().await.unwrap();
    let shown = list(&far, PODS);
    assert_eq!(keys(&shown), [key("a")]);
    assert_eq!(shown[0].revision, a);
    assert!(matches!(
        watch.next().await,
        Some(Err(RevisionError::Compacted { .. }))
    ));
    assert!(matches!(
        far.watch(PODS, Some(b)),
        Err(RevisionError::Compacted { .. })
    ));
    // A server that comes later knows what etcd still has, and no more.
    let late = connect(etcd.options()).await.unwrap();
    let old = Range {
        prefix: PODS,
        at: Some(b),
        ..Range::default()
    };
    assert!(matches!(
        late.list(old),
        Err(RevisionError::Compacted { .. })
    ));
    assert_eq!(late.get(&key("a")).unwrap().revision, a);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_in_the_same_etcd_do_no_harm() {
    let Some(etcd) = Cluster::start_with(1, false).await else {
        return;
    };
    let store = connect(etcd.options()).await.unwrap();
    let other = EtcdOptions {
        prefix: "/other".into(),
        ..etcd.options()
    };
    let other = connect(other).await.unwrap();
    for n in 0..5 {
        create(&other, &key(n), "y").await.unwrap();
        store.catch_up().await.unwrap();
        create(&store, &key(n), "x").await.unwrap();
    }
    for (store, value) in [(&store, "x"), (&other, "y")] {
        let found = list(store, "/");
        assert_eq!(keys(&found), (0..5).map(key).collect::<Vec<_>>());
        assert!(found.iter().all(|item| value_of(item)["value"] == value));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_told_in_one_line() {
    let Some(etcd) = Cluster::start(1).await else {
        return;
    };
    let store = connect(etcd.options()).await.unwrap();
    let (value, head) = object(&key("big"), &"x".repeat(1_700_000));
    let write = Write::Create {
        key: key("big"),
        value,
        head,
    };
    let error = store.write(write).await.unwrap_err().to_string();
    assert!(error.contains("request is too large"), "{error}");
    let nameless = EtcdOptions {
        servers: vec!["127.0.0.1:2379".into()],
        ..etcd.options()
    };
    let error = connect(nameless).await.err().unwrap().to_string();
    assert!(error.contains("http:// or https://"), "{error}");
    let keyless = EtcdOptions {
        key_file: None,
        ..etcd.options()
    };
    let error = connect(keyless).await.err().unwrap().to_string();
    assert!(error.contains("needs its key"), "{error}");
    let missing = EtcdOptions {
        ca_file: Some("/nonexistent/ca.crt".into()),
        ..etcd.options()
    };
    let error = connect(missing).await.err().unwrap().to_string();
    assert!(error.contains("/nonexistent/ca.crt"), "{error}");
}

/// Waits until a store has a key, without asking etcd.
async fn has(store: &Store, key: &str) -> bool {
    for _ in 0..200 {
        if store.get(key).is_some() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// Of an even number of ways each is tried, also when nobody asks anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_by_another_way_without_being_asked() {
    let Some(etcd) = Cluster::start(1).await else {
        return;
    };
    let ways = [Way::to(etcd.port(0)).await, Way::to(etcd.port(0)).await];
    let by_two = EtcdOptions {
        servers: ways
            .iter()
            .map(|way| format!("https://127.0.0.1:{}", way.port))
            .collect(),
        compaction_interval: Duration::ZERO,
        ..etcd.options()
    };
    let quiet = connect(by_two).await.unwrap();
    let other = connect(etcd.options()).await.unwrap();
    create(&other, &key("a"), "1").await.unwrap();
    assert!(has(&quiet, &key("a")).await);
    ways[0].cut().await;
    create(&other, &key("b"), "1").await.unwrap();
    assert!(has(&quiet, &key("b")).await, "by the second way");
    ways[0].mend();
    ways[1].cut().await;
    create(&other, &key("c"), "1").await.unwrap();
    assert!(has(&quiet, &key("c")).await, "by the first again");
}

/// Revisions of a restored cluster may be past those of the old one by the time anybody looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_cluster_is_told_from_the_old_one() {
    let Some(mut etcd) = Cluster::start(1).await else {
        return;
    };
    let way = Way::to(etcd.port(0)).await;
    let far = EtcdOptions {
        servers: vec![format!("https://127.0.0.1:{}", way.port)],
        compaction_interval: Duration::ZERO,
        ..etcd.options()
    };
    let far = connect(far).await.unwrap();
    create(&far, &key("old"), "1").await.unwrap();
    let mut watch = far.watch(PODS, None).unwrap();
    way.cut().await;
    etcd.kill_member(0);
    etcd.wipe_member(0);
    etcd.start_another(0);
    etcd.wait_for_member(0).await;
    let near = connect(etcd.options()).await.unwrap();
    while near.revision() < far.revision() + 20 {
        let n = near.revision();
        create(&near, &key(n), "1").await.unwrap();
    }
    way.mend();
    let mut patience = 100;
    while far.catch_up().await.is_err() && patience > 0 {
        patience -= 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What goes on behind a question that was answered by chance is over by then.
    for _ in 0..100 {
        if far.get(&key("old")).is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(keys(&list(&far, PODS)), keys(&list(&near, PODS)));
    assert!(matches!(
        watch.next().await,
        Some(Err(RevisionError::Compacted { .. }))
    ));
}

/// Turns bytes over, so that nobody without it can read them.
#[derive(Debug)]
struct Turned;

impl Transformer for Turned {
    fn seal(&self, _: &str, plain: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(Some(plain.iter().map(|b| !b).collect()))
    }

    fn open(&self, _: &str, kept: &[u8]) -> Result<Option<bytes::Bytes>, String> {
        if kept.starts_with(b"{") {
            return Ok(None);
        }
        Ok(Some(kept.iter().map(|b| !b).collect::<Vec<u8>>().into()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_known_and_not_taken_for_what_was() {
    let Some(etcd) = Cluster::start(1).await else {
        return;
    };
    let plain = connect(etcd.options()).await.unwrap();
    let turning = EtcdOptions {
        transformer: Some(Arc::new(Turned)),
        ..etcd.options()
    };
    let turning = connect(turning).await.unwrap();
    let a = create(&plain, &key("a"), "1").await.unwrap();
    turning.catch_up().await.unwrap();
    assert_eq!(plain.unreadable(PODS), None);
    let a = update(&turning, &key("a"), a.revision, "2").await.unwrap();
    plain.catch_up().await.unwrap();
    let (told, _) = plain.unreadable(PODS).expect("it is known");
    assert_eq!(told, key("a"));
    assert_eq!(plain.unreadable("/registry/secrets/"), None);
    assert!(matches!(
        update(&plain, &key("a"), a.revision - 1, "3").await,
        Err(WriteError::Engine(_))
    ));
    // Who starts now knows, too.
    let late = connect(etcd.options()).await.unwrap();
    assert_eq!(late.unreadable(PODS).map(|(key, _)| key), Some(key("a")));
    // It goes, or can be read again.
    let gone = delete(&turning, &key("a"), a.revision).await.unwrap();
    for store in [&plain, &late] {
        store.wait_for(gone.revision).await;
        assert_eq!(store.unreadable(PODS), None);
        assert!(store.get(&key("a")).is_none());
    }
}
