//! The Node object and its Lease: registers, tells what changes, and that the node lives.

mod lease;
pub mod status;
pub mod thresholds;

use std::{path::Path, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Node, jiff::Timestamp};
use knarr_client::Informer;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::{Config, machine};
use status::Measured;

/// How often the machine is measured.
const LOOK: Duration = Duration::from_secs(10);
/// How often the status is written though nothing changed.
const REPORT: Duration = Duration::from_secs(300);
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Registers the node and keeps its status and lease fresh, for ever. `reported` is told once the status is written.
pub async fn run(config: Arc<Config>, informer: Informer<Node>, reported: watch::Sender<bool>) {
    let api: Api<Node> = Api::all(config.informers.client().clone());
    let mut known = retry("node registration", || register(&config, &api)).await;
    tell_pressure(&Node::default(), &known);
    reported.send_replace(true);
    let mut beside = JoinSet::new();
    beside.spawn(lease::run(config.informers.client().clone(), known.clone()));
    let mut written = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        if let Some(node) = informer.get("", &config.node_name) {
            known = (*node).clone();
        }
        let due = written.elapsed() >= REPORT;
        match report(&config, &api, &known, due).await {
            Ok(None) => {}
            Ok(Some(node)) => {
                tell_pressure(&known, &node);
                (known, written) = (node, Instant::now());
            }
            Err(error) if is_not_found(&error) && config.register => {
                known = retry("node registration", || register(&config, &api)).await;
                written = Instant::now();
            }
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "node status not written; trying again"
            ),
        }
    }
}

/// Pods that wait for room show a taint only; the log says what is short and what can be done.
fn tell_pressure(before: &Node, after: &Node) {
    let of = |node: &Node| node.status.clone().and_then(|s| s.conditions);
    let (before, after) = (
        of(before).unwrap_or_default(),
        of(after).unwrap_or_default(),
    );
    for what in status::new_pressure(&before, &after) {
        tracing::warn!("{what}; free some, or start with other thresholds (--eviction-hard)");
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(s)) if s.code == 404)
}

async fn retry<T, F, Fut>(what: &'static str, mut call: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    let mut delay = FIRST_RETRY;
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => tracing::debug!(what, error = format!("{error:#}"), "trying again"),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LAST_RETRY);
    }
}

/// Creates the node, or brings what an earlier run registered up to date.
async fn register(config: &Config, api: &Api<Node>) -> anyhow::Result<Node> {
    let measured = measure(config).await;
    if !config.register {
        let node = api.get(&config.node_name).await?;
        return write_status(api, &node, &measured).await;
    }
    let new = status::new_node(
        &measured,
        &config.labels,
        &config.taints,
        &config.pod_cidrs,
        Timestamp::now(),
    );
    match api.create(&PostParams::default(), &new).await {
        Ok(node) if is_ready(&node) => Ok(node),
        Ok(node) => write_status(api, &node, &measured).await,
        Err(kube::Error::Api(s)) if s.code == 409 => {
            let node = api.get(&config.node_name).await?;
            let node = relabel(api, node, &new).await?;
            write_status(api, &node, &measured).await
        }
        Err(error) => Err(error.into()),
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or(&[]);
    conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Adds the labels and the pod CIDRs that a node which exists already lacks.
async fn relabel(api: &Api<Node>, node: Node, wanted: &Node) -> anyhow::Result<Node> {
    let has = node.metadata.labels.clone().unwrap_or_default();
    let missing: std::collections::BTreeMap<_, _> = wanted
        .metadata
        .labels
        .iter()
        .flatten()
        .filter(|(k, v)| has.get(*k) != Some(v))
        .collect();
    let no_cidr = node.spec.as_ref().is_none_or(|s| s.pod_cidr.is_none());
    let cidrs = wanted
        .spec
        .as_ref()
        .and_then(|s| s.pod_cidrs.as_ref())
        .filter(|_| no_cidr);
    if missing.is_empty() && cidrs.is_none() {
        return Ok(node);
    }
    let mut patch = json!({"metadata": {"labels": missing}});
    if let Some(cidrs) = cidrs {
        patch["spec"] = json!({"podCIDR": cidrs.first(), "podCIDRs": cidrs});
    }
    let name = node.metadata.name.as_deref().unwrap_or_default();
    Ok(api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?)
}

async fn report(
    config: &Config,
    api: &Api<Node>,
    known: &Node,
    due: bool,
) -> anyhow::Result<Option<Node>> {
    let measured = measure(config).await;
    let old = known.status.clone().unwrap_or_default();
    let new = status::status(
        &measured,
        old.conditions.as_deref().unwrap_or(&[]),
        Timestamp::now(),
    );
    if !due && !status::changed(&old, &new) {
        return Ok(None);
    }
    write_status(api, known, &measured).await.map(Some)
}

async fn write_status(api: &Api<Node>, known: &Node, measured: &Measured) -> anyhow::Result<Node> {
    let before = known
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or(&[]);
    let status = status::status(measured, before, Timestamp::now());
    let patch = Patch::Merge(json!({"status": status}));
    Ok(api
        .patch_status(&measured.name, &PatchParams::default(), &patch)
        .await?)
}

async fn measure(config: &Config) -> Measured {
    let images = config.runtime.images().await;
    let runtime_error = images.as_ref().err().map(|e| e.to_string());
    Measured {
        name: config.node_name.clone(),
        ips: config.node_ips.clone(),
        capacity: machine::capacity(&config.root_dir),
        hugepages: machine::hugepages(),
        max_pods: config.max_pods,
        port: config.listen.port(),
        info: machine::system_info(config.runtime.version(), &config.version),
        images: images.unwrap_or_default(),
        memory_available: machine::meminfo("MemAvailable").unwrap_or(i64::MAX),
        disk_available: machine::disk(&config.root_dir).map_or(i64::MAX, |(_, free)| free),
        inodes: machine::inodes(&config.root_dir),
        pids: pids(),
        thresholds: config.eviction_hard.clone(),
        runtime_error,
    }
}

/// The most tasks the kernel allows, and how many there are.
fn pids() -> Option<(u64, u64)> {
    let max = std::fs::read_to_string(Path::new("/proc/sys/kernel/pid_max"))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let used = load
        .split_whitespace()
        .nth(3)?
        .split_once('/')?
        .1
        .parse()
        .ok()?;
    Some((max, used))
}
