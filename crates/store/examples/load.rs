//! What the store can do on this machine: `cargo run --release -p knarr-store --example load [DIR]`.
//!
//! Writes per second with 1 and 64 writers in flight and values of 1 and 4 KB, each durable when acknowledged; watch
//! fan-out to 100 watchers meanwhile; time to open again.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use knarr_api::{Head, head::Encoded};
use knarr_json::{Value, json};
use knarr_store::{HeadOf, Options, Range, Store, Write};

const FOR: Duration = Duration::from_secs(3);

fn object(name: &str, size: usize) -> (Encoded, Head) {
    let filler = "x".repeat(size.saturating_sub(120));
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"a": filler}});
    (
        Encoded::new(&object).expect("it has metadata"),
        Head::of(&object, Vec::new()),
    )
}

fn head_of() -> HeadOf {
    Arc::new(|_, bytes| {
        Head::of(
            &serde_json::from_slice::<Value>(bytes).unwrap_or_default(),
            Vec::new(),
        )
    })
}

async fn creates(store: &Store, label: &str, writers: usize, size: usize) -> f64 {
    let (start, mut tasks) = (Instant::now(), Vec::new());
    for writer in 0..writers {
        let (store, label) = (store.clone(), label.to_owned());
        tasks.push(tokio::spawn(async move {
            let (mut n, mut slowest) = (0u64, Duration::ZERO);
            while start.elapsed() < FOR {
                let name = format!("{label}-{writer}-{n}");
                let (value, head) = object(&name, size);
                let key = format!("/registry/configmaps/default/{name}");
                let began = Instant::now();
                store
                    .write(Write::Create { key, value, head })
                    .await
                    .expect("the store takes it");
                slowest = slowest.max(began.elapsed());
                n += 1;
            }
            (n, slowest)
        }));
    }
    let (mut total, mut slowest) = (0, Duration::ZERO);
    for task in tasks {
        let (n, slow) = task.await.expect("a writer");
        (total, slowest) = (total + n, slowest.max(slow));
    }
    let rate = total as f64 / start.elapsed().as_secs_f64();
    println!("{label}: {rate:.0} creates/s, slowest {slowest:.1?}");
    rate
}

async fn fan_out(store: &Store, watchers: usize) {
    let seen = Arc::new(AtomicU64::new(0));
    for _ in 0..watchers {
        let (mut watch, seen) = (
            store
                .watch("/registry/configmaps/", None)
                .expect("from now"),
            seen.clone(),
        );
        tokio::spawn(async move {
            while let Some(Ok(_)) = watch.next().await {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let start = Instant::now();
    creates(store, "with 100 watchers, 64 x 1 KB", 64, 1024).await;
    println!(
        "fan-out: {:.0} events/s",
        seen.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
    );
}

/// Resident memory in MB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kb| kb.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

async fn ten_thousand(dir: PathBuf) {
    let store = Store::open(Options::new(&dir), head_of())
        .await
        .expect("it opens");
    let mut tasks = Vec::new();
    for n in 0..10_000 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let (value, head) = object(&format!("{n}"), 1024);
            store
                .write(Write::Create {
                    key: format!("/registry/configmaps/default/{n}"),
                    value,
                    head,
                })
                .await
        }));
    }
    for task in tasks {
        task.await.expect("a task").expect("a write");
    }
    store.close().await;
    let start = Instant::now();
    let store = Store::open(Options::new(&dir), head_of())
        .await
        .expect("it opens");
    println!("open with 10,000 objects of 1 KB: {:.1?}", start.elapsed());
    let start = Instant::now();
    let listing = store
        .list(Range {
            prefix: "/registry/configmaps/",
            ..Range::default()
        })
        .expect("the newest view");
    println!("list of {}: {:.2?}", listing.items.len(), start.elapsed());
    store.close().await;
}

#[tokio::main]
async fn main() {
    let dir = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("load-{}", std::process::id()));
    let store = Store::open(Options::new(&dir.join("a")), head_of())
        .await
        .expect("it opens");
    println!("resident before: {} MB", resident());
    creates(&store, "1 x 1 KB", 1, 1024).await;
    creates(&store, "1 x 4 KB", 1, 4096).await;
    creates(&store, "64 x 1 KB", 64, 1024).await;
    creates(&store, "64 x 4 KB", 64, 4096).await;
    println!("resident with everything: {} MB", resident());
    fan_out(&store, 100).await;
    store.close().await;
    ten_thousand(dir.join("b")).await;
    std::fs::remove_dir_all(&dir).expect("the directory can be removed");
}
