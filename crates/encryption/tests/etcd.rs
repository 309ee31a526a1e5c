//! A store in etcd whose Secrets are sealed there and plain in memory: written, read back, keys changed, written anew.

#[path = "../../store/tests/common/etcd.rs"]
#[allow(dead_code, reason = "the store's own tests need more of it")]
mod etcd;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use etcd::Cluster;
use knarr_api::{Head, head::Encoded};
use knarr_encryption::{Keyring, Kinds, parse};
use knarr_store::{EtcdOptions, HeadOf, Store, Stored, Transformer, Write};

const KEY: &str = "/registry/secrets/default/x";
const MAP: &str = "/registry/configmaps/default/x";
const A: &str =
    "  - aescbc: {keys: [{name: a, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}]}\n";
const B: &str =
    "  - aesgcm: {keys: [{name: b, secret: BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=}]}\n";
const PLAIN: &str = "  - identity: {}\n";

fn rules(providers: &str) -> Vec<knarr_encryption::Rule> {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n{providers}"
    );
    parse(&text).unwrap()
}

fn keyring(providers: &str) -> Arc<Keyring> {
    let kinds: Kinds = [("/registry/secrets/".to_owned(), "secrets".to_owned())].into();
    Arc::new(Keyring::new(&rules(providers), kinds).unwrap())
}

async fn connect(etcd: &Cluster, keys: Arc<dyn Transformer>) -> Store {
    let options = EtcdOptions {
        transformer: Some(keys),
        ..etcd.options()
    };
    let heads: HeadOf = Arc::new(|_, _| Head::default());
    Store::connect(options, heads).await.unwrap()
}

/// Looks at what is kept, and reads none of it that is sealed.
#[derive(Debug, Default)]
struct Peek(Mutex<HashMap<String, Vec<u8>>>);

impl Transformer for Peek {
    fn seal(&self, _: &str, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Err("it only looks".into())
    }

    fn open(&self, key: &str, kept: &[u8]) -> Result<Option<Bytes>, String> {
        self.0.lock().unwrap().insert(key.to_owned(), kept.to_vec());
        match kept.starts_with(b"{") {
            true => Ok(None),
            false => Err("sealed".into()),
        }
    }
}

/// What etcd keeps for a key, as text.
async fn kept(etcd: &Cluster, key: &str) -> String {
    let peek = Arc::new(Peek::default());
    connect(etcd, peek.clone()).await.close().await;
    let seen = peek.0.lock().unwrap();
    String::from_utf8_lossy(&seen[key]).into_owned()
}

fn value() -> Encoded {
    let object = knarr_json::json!({"metadata": {"name": "x"}, "data": {"k": "hidden-text"}});
    Encoded::new(&object).unwrap()
}

async fn create(store: &Store, key: &str) -> Arc<Stored> {
    let write = Write::Create {
        key: key.to_owned(),
        value: value(),
        head: Head::default(),
    };
    store.write(write).await.unwrap()
}

/// Writes the same once more, as a storage migration does.
async fn rewrite(store: &Store, key: &str) -> Arc<Stored> {
    let write = Write::Update {
        key: key.to_owned(),
        expect: store.get(key).unwrap().revision,
        value: value(),
        head: Head::default(),
    };
    store.write(write).await.unwrap()
}

fn shown(store: &Store) -> String {
    String::from_utf8_lossy(&store.get(KEY).unwrap().json).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_sealed_in_etcd_and_keys_are_changed() {
    let Some(etcd) = Cluster::start(1).await else {
        return;
    };
    let first = keyring(A);
    let store = connect(&etcd, first.clone()).await;
    let made = create(&store, KEY).await;
    create(&store, MAP).await;
    assert!(shown(&store).contains("hidden-text"), "memory is plain");
    assert_eq!(store.get(KEY).unwrap().json, made.json);
    let sealed = kept(&etcd, KEY).await;
    assert!(sealed.starts_with("k8s:enc:aescbc:v1:a:") && !sealed.contains("hidden-text"));
    assert!(
        kept(&etcd, MAP).await.contains("hidden-text"),
        "others are plain"
    );

    // Another server, which prefers another key, reads what is there, and knows that it is to be written anew.
    let second = keyring(&format!("{B}{A}"));
    let other = connect(&etcd, second.clone()).await;
    assert_eq!(other.get(KEY).unwrap().json, made.json);
    assert!(second.stale(KEY) && !first.stale(KEY));
    // The first one learns the new key before anybody writes with it.
    let keys = [KEY.to_owned()];
    first
        .replace(&rules(&format!("{A}{B}")), keys.into_iter())
        .unwrap();
    let again = rewrite(&other, KEY).await;
    assert!(!second.stale(KEY));
    assert!(kept(&etcd, KEY).await.starts_with("k8s:enc:aesgcm:v1:b:"));
    store.wait_for(again.revision).await;
    assert_eq!(store.get(KEY).unwrap().json, again.json);
    assert!(first.stale(KEY), "its first key is another one");

    // Without the key, what is there is not taken for what was there before, nor for nothing.
    let without = connect(&etcd, keyring(&format!("{A}{PLAIN}"))).await;
    let (told, why) = without.unreadable("/registry/secrets/").unwrap();
    assert!(told == KEY && why.contains("no key is there"), "{why}");
    assert_eq!(without.unreadable("/registry/configmaps/"), None);

    // Back to plain text, as who turns encryption off must.
    let off = keyring(&format!("{PLAIN}{B}{A}"));
    let last = connect(&etcd, off.clone()).await;
    assert!(off.stale(KEY));
    let plain = rewrite(&last, KEY).await;
    assert!(!off.stale(KEY) && kept(&etcd, KEY).await.contains("hidden-text"));
    without.wait_for(plain.revision).await;
    assert_eq!(without.unreadable("/registry/secrets/"), None);
    assert!(shown(&without).contains("hidden-text"));
    for store in [store, other, without, last] {
        store.close().await;
    }
}

/// A write whose answer was lost is sent again with the same bytes, so that it is known for what it is though each sealing
/// of the same text gives others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_members_costs_no_sealed_write() {
    let Some(mut etcd) = Cluster::start(3).await else {
        return;
    };
    let store = connect(&etcd, keyring(B)).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..120 {
                create(&store, &format!("/registry/secrets/default/{n:03}")).await;
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    });
    for n in 0..etcd.size() {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        etcd.kill_member(n);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        etcd.start_member(n);
        etcd.wait_for_member(n).await;
        tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    }
    writer.await.unwrap();
    let fresh = connect(&etcd, keyring(B)).await;
    let range = knarr_store::Range {
        prefix: "/registry/secrets/",
        ..knarr_store::Range::default()
    };
    let listed = fresh.list(range).unwrap().items;
    assert_eq!(listed.len(), 120);
    assert!(
        listed
            .iter()
            .all(|s| String::from_utf8_lossy(&s.json).contains("hidden-text"))
    );
}
