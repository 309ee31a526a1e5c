//! Keys of encryption at rest are changed: what is written again through the API, though unchanged, is sealed with the new one.

mod common;
#[path = "../../store/tests/common/etcd.rs"]
#[allow(dead_code, reason = "the store's own tests need more of it")]
mod etcd;

use std::sync::Arc;

use common::{Server, request::send};
use etcd::Cluster;
use knarr_encryption::{Keyring, Kinds, Rule, parse};
use knarr_json::{Value, json};
use knarr_store::{EtcdOptions, Options, Store, Transformer};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const A: &str =
    "  - aescbc: {keys: [{name: a, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}]}\n";
const B: &str =
    "  - aesgcm: {keys: [{name: b, secret: BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=}]}\n";
const C: &str =
    "  - secretbox: {keys: [{name: c, secret: CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA=}]}\n";

fn rules(providers: &str) -> Vec<Rule> {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n{providers}"
    );
    parse(&text).unwrap()
}

fn keyring(providers: &str) -> Arc<Keyring> {
    let kinds: Kinds = [("/registry/secrets/".to_owned(), "secrets".to_owned())].into();
    Arc::new(Keyring::new(&rules(providers), kinds).unwrap())
}

/// Where objects are kept.
enum Engine {
    Embedded(tempfile::TempDir),
    Etcd(Cluster),
}

impl Engine {
    async fn start(&self, keys: &Arc<Keyring>) -> Server {
        common::crypto();
        let heads = knarr_apiserver::head_of(&knarr_api::builtin::registry());
        let transformer = Some(keys.clone() as Arc<dyn Transformer>);
        let store = match self {
            Engine::Embedded(dir) => {
                let mut options = Options::new(dir.path());
                options.transformer = transformer;
                Store::open(options, heads).await
            }
            Engine::Etcd(cluster) => {
                let options = EtcdOptions {
                    transformer,
                    ..cluster.options()
                };
                Store::connect(options, heads).await
            }
        };
        let keys = keys.clone();
        Server::start_on(store.unwrap(), |config| config.encryption = Some(keys)).await
    }
}

async fn get(client: &kube::Client, path: &str) -> Value {
    let (code, body, _) = send(client, "GET", path, Value::Null).await;
    assert_eq!(code, 200, "{body}");
    body
}

fn revision(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

/// What `kubectl get secrets -A -o json | kubectl replace -f -` does. Whether each object was written.
async fn replace_all(client: &kube::Client) -> Vec<bool> {
    let list = get(client, "/api/v1/secrets").await;
    let mut written = Vec::new();
    for item in list["items"].as_array().unwrap() {
        // Which items of a list leave to it, and kubectl adds.
        let mut item = item.clone();
        (item["apiVersion"], item["kind"]) = ("v1".into(), "Secret".into());
        let path = format!("{SECRETS}/{}", item["metadata"]["name"].as_str().unwrap());
        let (code, replaced, _) = send(client, "PUT", &path, item.clone()).await;
        assert_eq!(code, 200, "{replaced}");
        let mut same = replaced.clone();
        same["metadata"]["resourceVersion"] = revision(&item).into();
        assert_eq!(same, item, "nothing but the revision changes");
        written.push(revision(&replaced) != revision(&item));
    }
    written
}

async fn keys_are_changed(engine: Engine) {
    let keys = keyring(A);
    let server = engine.start(&keys).await;
    let client = server.admin().await;
    for n in 0..3 {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s{n}")}, "data": {"k": "aGlkZGVu"}});
        assert_eq!(send(&client, "POST", SECRETS, secret).await.0, 201);
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let (_, map, _) = send(&client, "POST", MAPS, map).await;
    assert_eq!(
        replace_all(&client).await,
        [false; 3],
        "sealed as they should be"
    );

    // The file is read again, with another key first.
    let stored = server.store.list(knarr_store::Range {
        prefix: "/registry/",
        ..Default::default()
    });
    let stored = stored.unwrap().items.into_iter().map(|s| s.key.to_string());
    keys.replace(&rules(&format!("{B}{A}")), stored).unwrap();
    let (_, patched, _) = send(
        &client,
        "PATCH",
        &format!("{SECRETS}/s0?dryRun=All"),
        json!({}),
    )
    .await;
    let (_, again, _) = send(&client, "PATCH", &format!("{SECRETS}/s0"), json!({})).await;
    assert_ne!(
        revision(&patched),
        revision(&again),
        "a rehearsal writes nothing, a patch does"
    );
    assert_eq!(replace_all(&client).await, [false, true, true]);
    assert_eq!(replace_all(&client).await, [false; 3], "once is enough");
    let (_, same, _) = send(&client, "PUT", &format!("{MAPS}/m"), map.clone()).await;
    assert_eq!(revision(&same), revision(&map), "others are not concerned");
    let seen = get(&client, SECRETS).await["items"].clone();
    server.stop().await;

    let both = engine.start(&keyring(&format!("{B}{A}"))).await;
    let client = both.admin().await;
    assert_eq!(get(&client, SECRETS).await["items"], seen);
    assert_eq!(replace_all(&client).await, [false; 3]);
    both.stop().await;
    // The old key is not needed any more; a third one comes with a restart.
    for (keys, written) in [
        (B.to_owned(), false),
        (format!("{C}{B}"), true),
        (C.to_owned(), false),
    ] {
        let server = engine.start(&keyring(&keys)).await;
        assert_eq!(replace_all(&server.admin().await).await, [written; 3]);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_changed_on_disk() {
    keys_are_changed(Engine::Embedded(tempfile::tempdir().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_changed_in_etcd() {
    if let Some(cluster) = Cluster::start(1).await {
        keys_are_changed(Engine::Etcd(cluster)).await;
    }
}
