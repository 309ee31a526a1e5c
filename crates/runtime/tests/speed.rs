//! How long a pod takes. Run it alone: `cargo test -p knarr-runtime --test speed -- --ignored --nocapture`.

mod common;

use std::time::Instant;

use common::{Fixture, can_run, shell};
use knarr_runtime::Runtime;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn pod_start() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    for round in 0..8 {
        let begin = Instant::now();
        let sandbox = f.sandbox(&format!("p{round}")).await;
        let made = begin.elapsed();
        let id = f
            .runtime
            .create_container(&sandbox, &shell("c", "sleep 100"))
            .await
            .unwrap();
        let created = begin.elapsed();
        f.runtime.start_container(&id).await.unwrap();
        let started = begin.elapsed();
        let exec = Instant::now();
        f.runtime
            .exec_sync(
                &id,
                &Fixture::exec_words(&["true"]),
                std::time::Duration::from_secs(5),
            )
            .await
            .unwrap();
        let exec = exec.elapsed();
        let stop = Instant::now();
        f.runtime.remove_sandbox(&sandbox).await.unwrap();
        println!(
            "sandbox {made:?}, created {created:?}, running {started:?}; exec {exec:?}; removed {:?}",
            stop.elapsed()
        );
    }
    let begin = Instant::now();
    let pods = (0..50).map(|at| {
        let f = &f;
        async move {
            let sandbox = f.sandbox(&format!("many{at}")).await;
            f.run(&sandbox, &shell("c", "sleep 100")).await;
        }
    });
    futures::future::join_all(pods).await;
    println!("50 pods at once: {:?}", begin.elapsed());
    let mut kilobytes = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if command.contains("--state") && command.contains(&*f.dir.to_string_lossy()) {
            let smaps =
                std::fs::read_to_string(process.path().join("smaps_rollup")).unwrap_or_default();
            let field = |name: &str| -> u64 {
                smaps
                    .lines()
                    .find_map(|l| {
                        l.strip_prefix(name)?
                            .split_whitespace()
                            .next()?
                            .parse()
                            .ok()
                    })
                    .unwrap_or(0)
            };
            kilobytes.push((field("Rss:"), field("Pss:"), field("Private_Dirty:")));
        }
    }
    println!(
        "shims: {} with (Rss, Pss, Private_Dirty) kB such as {:?}",
        kilobytes.len(),
        kilobytes.first()
    );
    let begin = Instant::now();
    f.runtime.destroy_all().await.unwrap();
    println!("all removed: {:?}", begin.elapsed());
}
