//! `knarr-bench load --kubeconfig FILE` puts load on any API server, see [`load`]. `knarr-bench KNARR` measures a whole cluster: start to Ready, resident memory and cpu while idle, time from a pod's create to Ready for one
//! pod and for fifty at once. Needs root.
//!
//! `cargo build --release && cargo run --release -p knarr-bench -- target/release/knarr`

mod load;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, future::try_join_all};
use k8s_openapi::api::core::v1::Pod;
use knarr_testkit::{Cluster, images};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

const STARTS: usize = 7;
const SINGLE_PODS: usize = 10;
/// How long pods may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|word| word == "load") {
        return load::main(args.into_iter().skip(2));
    }
    // The part that talks to the API runs inside the cluster's network namespace, as a process of its own.
    if let [_, inside, kubeconfig] = args.as_slice()
        && inside == "--inside"
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(pods(Path::new(kubeconfig)));
    }
    let binary = PathBuf::from(
        args.get(1)
            .context("usage: knarr-bench PATH-OF-KNARR, or knarr-bench load --kubeconfig FILE")?,
    )
    .canonicalize()?;
    starts(&binary)?;
    let cluster = Cluster::start(&binary);
    idle(&cluster)?;
    let kubeconfig = cluster.data_dir().join("admin.kubeconfig");
    let status = cluster
        .command(std::env::current_exe()?)
        .arg("--inside")
        .arg(kubeconfig)
        .status()?;
    anyhow::ensure!(status.success(), "measuring pods failed");
    Ok(())
}

/// From the start of the process to its own word that the node is Ready, each in an empty directory.
fn starts(binary: &Path) -> Result<()> {
    use std::io::{BufRead, BufReader};
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let namespace = knarr_testkit::Namespace::new();
        let dir = std::env::temp_dir().join(format!("knarr-bench-{}", std::process::id()));
        let mut command = namespace.command(binary);
        command
            .arg("--data-dir")
            .arg(&dir)
            .args(["up", "--no-kubeconfig"])
            .stderr(std::process::Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stderr.take().context("stderr")?).lines();
        let ready = lines
            .map_while(Result::ok)
            .any(|line| line.starts_with("cluster is up"));
        anyhow::ensure!(ready, "the cluster did not start");
        took.push(started.elapsed());
        child.kill()?;
        child.wait()?;
        let reset = namespace
            .command(binary)
            .arg("--data-dir")
            .arg(&dir)
            .args(["reset", "--yes"])
            .output()?;
        anyhow::ensure!(
            reset.status.success(),
            "reset: {}",
            String::from_utf8_lossy(&reset.stderr)
        );
    }
    tell("start to Ready", &mut took);
    Ok(())
}

/// Memory and cpu of the whole process while nothing happens.
fn idle(cluster: &Cluster) -> Result<()> {
    let pid = cluster.pid().context("knarr runs")?;
    std::thread::sleep(Duration::from_secs(5));
    let before = cpu_ticks(pid)?;
    std::thread::sleep(IDLE);
    let ticks = cpu_ticks(pid)? - before;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap_or_default();
        line.split_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1024.0
    };
    println!(
        "resident memory idle: {:.1} MiB ({:.1} MiB of it not backed by files)",
        field("VmRSS:"),
        field("RssAnon:")
    );
    // The kernel counts in hundredths of a second.
    println!(
        "idle cpu: {:.2} % of a core",
        ticks as f64 / IDLE.as_secs_f64()
    );
    Ok(())
}

fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let number = |i: usize| {
        fields
            .get(i)
            .and_then(|f| f.parse::<u64>().ok())
            .context("stat")
    };
    Ok(number(11)? + number(12)?)
}

async fn pods(kubeconfig: &Path) -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::from_custom_kubeconfig(
        Kubeconfig::read_from(kubeconfig)?,
        &KubeConfigOptions::default(),
    )
    .await?;
    let api: Api<Pod> = Api::default_namespaced(Client::try_from(config)?);
    let mut took = Vec::new();
    for i in 0..SINGLE_PODS {
        took.push(until_ready(&api, &[format!("one-{i}")]).await?);
    }
    tell("pod create to Ready, one pod", &mut took);
    let names: Vec<String> = (0..50).map(|i| format!("fifty-{i}")).collect();
    println!(
        "50 pods at once, to all Ready: {:.2} s",
        until_ready(&api, &names).await?.as_secs_f64()
    );
    let options = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    api.delete_collection(&options, &ListParams::default())
        .await?;
    Ok(())
}

/// Creates pods all at once; how long until the last is Ready.
async fn until_ready(api: &Api<Pod>, names: &[String]) -> Result<Duration> {
    let mut events = watcher(api.clone(), watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    let started = Instant::now();
    let params = PostParams::default();
    let manifests: Vec<Pod> = names.iter().map(|name| pod(name)).collect::<Result<_>>()?;
    let create = try_join_all(manifests.iter().map(|pod| api.create(&params, pod)));
    let wait = async {
        let mut missing: std::collections::HashSet<&String> = names.iter().collect();
        while !missing.is_empty() {
            let pod = events.try_next().await?.context("the watch ended")?;
            if is_ready(&pod) {
                missing.remove(&pod.name_any());
            }
        }
        anyhow::Ok(())
    };
    let create = async { create.await.context("creating pods") };
    let both = futures::future::try_join(create, wait);
    tokio::time::timeout(PATIENCE, both)
        .await
        .context("pods are not Ready")??;
    Ok(started.elapsed())
}

fn pod(name: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": images::DEMO, "imagePullPolicy": "IfNotPresent"}],
        },
    }))?)
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Median and range.
fn tell(what: &str, took: &mut [Duration]) {
    took.sort();
    let at = |i: usize| took.get(i).copied().unwrap_or_default().as_secs_f64();
    let last = took.len().saturating_sub(1);
    println!(
        "{what}: {:.3} s (median of {}, {:.3} to {:.3})",
        at(last / 2),
        took.len(),
        at(0),
        at(last)
    );
}
