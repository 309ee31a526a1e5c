//! What the store's tests share.
#![allow(dead_code, unused_macros)]

pub mod etcd;

use std::{path::Path, sync::Arc, time::Duration};

use knarr_api::{Head, head::Encoded};
use knarr_json::{Value, json};
use knarr_store::{
    EtcdOptions, Event, EventKind, HeadOf, OpenError, Options, Range, Store, Stored, Watch, Write,
    WriteError,
};

pub const PODS: &str = "/registry/pods/";

pub fn head_of() -> HeadOf {
    Arc::new(|_, bytes| {
        let object: Value = serde_json::from_slice(bytes).expect("stored objects are JSON");
        Head::of(&object, Vec::new())
    })
}

/// Makes a test of each function for each engine. The functions take a [`Bed`].
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::common::Bed::embedded()).await;
            })*
        }
        mod etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(bed) = $crate::common::Bed::etcd().await {
                    super::$name(bed).await;
                }
            })*
        }
    };
}

/// Where a store is kept during a test.
pub struct Bed {
    pub dir: tempfile::TempDir,
    pub etcd: Option<etcd::Cluster>,
}

impl Bed {
    pub fn embedded() -> Bed {
        Bed {
            dir: tempfile::tempdir().expect("a directory"),
            etcd: None,
        }
    }

    /// With one member of etcd; none, and a word, when etcd is not installed.
    pub async fn etcd() -> Option<Bed> {
        let etcd = Some(etcd::Cluster::start(1).await?);
        Some(Bed {
            etcd,
            ..Bed::embedded()
        })
    }

    pub async fn open(&self) -> Store {
        self.open_keeping(1000, Duration::from_secs(300)).await
    }

    /// With these limits of history.
    pub async fn open_keeping(&self, history: usize, keep: Duration) -> Store {
        match &self.etcd {
            Some(etcd) => {
                let options = EtcdOptions {
                    history,
                    keep,
                    ..etcd.options()
                };
                connect(options).await.expect("etcd is there")
            }
            None => {
                let options = Options {
                    history,
                    keep,
                    ..Options::new(self.dir.path())
                };
                try_open(&options).await.expect("the store opens")
            }
        }
    }
}

pub async fn connect(options: EtcdOptions) -> Result<Store, OpenError> {
    Store::connect(options, head_of()).await
}

pub async fn open(dir: &Path) -> Store {
    try_open(&Options::new(dir)).await.expect("the store opens")
}

pub async fn try_open(options: &Options) -> Result<Store, OpenError> {
    Store::open(options.clone(), head_of()).await
}

/// `pods/default/a` becomes an object of that name and namespace with `value` in it.
pub fn object(key: &str, value: &str) -> (Encoded, Head) {
    let mut parts = key.rsplit('/');
    let (name, namespace) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "value": value});
    (
        Encoded::new(&object).expect("it has metadata"),
        Head::of(&object, Vec::new()),
    )
}

pub async fn create(store: &Store, key: &str, value: &str) -> Result<Arc<Stored>, WriteError> {
    let (encoded, head) = object(key, value);
    store
        .write(Write::Create {
            key: key.into(),
            value: encoded,
            head,
        })
        .await
}

pub async fn update(
    store: &Store,
    key: &str,
    expect: u64,
    value: &str,
) -> Result<Arc<Stored>, WriteError> {
    let (encoded, head) = object(key, value);
    store
        .write(Write::Update {
            key: key.into(),
            expect,
            value: encoded,
            head,
        })
        .await
}

pub async fn delete(store: &Store, key: &str, expect: u64) -> Result<Arc<Stored>, WriteError> {
    store
        .write(Write::Delete {
            key: key.into(),
            expect,
        })
        .await
}

pub fn value_of(stored: &Stored) -> Value {
    serde_json::from_slice(&stored.json).expect("stored objects are JSON")
}

pub fn list(store: &Store, prefix: &str) -> Vec<Arc<Stored>> {
    store
        .list(Range {
            prefix,
            ..Range::default()
        })
        .expect("the newest view is always there")
        .items
}

pub fn keys(items: &[Arc<Stored>]) -> Vec<String> {
    items.iter().map(|item| item.key.to_string()).collect()
}

/// The next event, which must come soon.
pub async fn next(watch: &mut Watch) -> Arc<Event> {
    let event = tokio::time::timeout(Duration::from_secs(5), watch.next())
        .await
        .expect("an event in time");
    event
        .expect("the watch goes on")
        .expect("nothing is compacted")
}

pub fn summary(event: &Arc<Event>) -> (EventKind, String, u64) {
    (
        event.kind,
        event.object.key.to_string(),
        event.object.revision,
    )
}
