//! A store whose Secrets are sealed on disk and plain in memory.

use std::{path::Path, sync::Arc};

use knarr_api::{Head, head::Encoded};
use knarr_encryption::{Keyring, Kinds, parse};
use knarr_store::{HeadOf, Options, Store, Transformer, Write};

fn keyring(providers: &str) -> Arc<Keyring> {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n{providers}"
    );
    let kinds: Kinds = [("/registry/secrets/".to_owned(), "secrets".to_owned())].into();
    Arc::new(Keyring::new(&parse(&text).unwrap(), kinds).unwrap())
}

async fn open(dir: &Path, keys: Option<Arc<Keyring>>) -> Result<Store, String> {
    let mut options = Options::new(dir);
    options.transformer = keys.map(|k| k as Arc<dyn Transformer>);
    let heads: HeadOf = Arc::new(|_, _| Head::default());
    Store::open(options, heads).await.map_err(|e| e.to_string())
}

fn on_disk(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    })
}

async fn put(store: &Store, key: &str) {
    let object = knarr_json::json!({"metadata": {"name": "x"}, "data": {"k": "hidden-text"}});
    let write = Write::Create {
        key: key.to_owned(),
        value: Encoded::new(&object).unwrap(),
        head: Head::default(),
    };
    store.write(write).await.unwrap();
}

const KEY: &str = "/registry/secrets/default/x";
const A: &str =
    "  - aescbc: {keys: [{name: a, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}]}\n";
const B: &str =
    "  - secretbox: {keys: [{name: b, secret: BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_sealed_on_disk_and_survive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Some(keyring(A))).await.unwrap();
    put(&store, KEY).await;
    let shown = store.get(KEY).unwrap();
    assert!(String::from_utf8_lossy(&shown.json).contains("hidden-text"));
    store.close().await;
    assert!(!on_disk(dir.path(), "hidden-text") && on_disk(dir.path(), "k8s:enc:aescbc:v1:a:"));

    let without = open(dir.path(), Some(keyring(B))).await;
    assert!(without.is_err_and(|e| e.contains("no key is there")));
    let keys = keyring(&format!("{B}{A}"));
    let store = open(dir.path(), Some(keys.clone())).await.unwrap();
    assert_eq!(store.get(KEY).unwrap().json, shown.json);
    assert!(keys.stale(KEY), "the first provider has not written it");
    put(&store, "/registry/configmaps/default/x").await;
    let revision = shown.revision;
    let again = Write::Update {
        key: KEY.to_owned(),
        expect: revision,
        value: Encoded::new(&knarr_json::json!({"metadata": {"name": "x"}})).unwrap(),
        head: Head::default(),
    };
    store.write(again).await.unwrap();
    store.close().await;
    assert!(
        on_disk(dir.path(), "hidden-text"),
        "other kinds are kept plain"
    );

    // All that is live was written anew: the old key may go, and takes the past with it that nobody can read any more.
    let keys = keyring(B);
    let store = open(dir.path(), Some(keys.clone())).await.unwrap();
    assert!(!keys.stale(KEY), "its past is not what is kept");
    let from = store.watch("/registry/secrets/", Some(revision));
    assert!(from.is_err(), "what came before is not known any more");
    let current = store.get(KEY).unwrap().revision;
    assert!(store.watch("/registry/secrets/", Some(current)).is_ok());
    store.close().await;
}
