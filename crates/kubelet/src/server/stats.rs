//! `/stats/summary` and `/metrics/resource`: what the node, its pods and containers use.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::OnceLock,
    time::{Duration, Instant},
};

use http::Response;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use knarr_runtime::{ContainerState, ContainerStats};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Body, json as json_answer, text};
use crate::{context::Context, machine, pods::Pods};

/// Rates are made from looks at least this far apart.
const MIN_WINDOW: Duration = Duration::from_secs(1);

struct Sample {
    at: Instant,
    nanos: u64,
    rate: u64,
}

/// Cumulative cpu time as a rate, from the look before.
fn rate(id: &str, nanos: u64) -> u64 {
    static LAST: OnceLock<Mutex<HashMap<String, Sample>>> = OnceLock::new();
    let mut last = LAST.get_or_init(Mutex::default).lock();
    if last.len() > 10_000 {
        last.clear();
    }
    let now = Instant::now();
    let sample = last.entry(id.to_owned()).or_insert(Sample {
        at: now,
        nanos,
        rate: 0,
    });
    let window = now - sample.at;
    if window >= MIN_WINDOW {
        let used = u128::from(nanos.saturating_sub(sample.nanos));
        sample.rate = u64::try_from(used * 1_000_000_000 / window.as_nanos().max(1)).unwrap_or(0);
        (sample.at, sample.nanos) = (now, nanos);
    }
    sample.rate
}

/// One pod with the stats of its running containers.
struct Used {
    pod: std::sync::Arc<Pod>,
    containers: Vec<(String, Option<Timestamp>, ContainerStats)>,
}

async fn used(ctx: &Context, pods: &Pods) -> Vec<Used> {
    let stats = ctx.runtime().stats().await.unwrap_or_default();
    let stats: HashMap<String, ContainerStats> = stats
        .into_iter()
        .map(|s| (s.container_id.clone(), s))
        .collect();
    let of = |pod: std::sync::Arc<Pod>| {
        let seen = ctx
            .view
            .observe(pod.metadata.uid.as_deref().unwrap_or_default());
        let running = seen
            .containers
            .iter()
            .filter(|c| c.state == ContainerState::Running);
        let containers = running
            .filter_map(|c| Some((c.name.clone(), c.started_at, stats.get(&c.id)?.clone())))
            .collect();
        Used { pod, containers }
    };
    pods.list().into_iter().map(of).collect()
}

/// Nanoseconds of cpu that the machine used since its start.
fn node_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1);
    // user nice system idle iowait irq softirq steal: all but idle and waiting, in hundredths of seconds.
    let busy = fields
        .take(8)
        .enumerate()
        .filter(|(i, _)| *i != 3 && *i != 4)
        .filter_map(|(_, v)| v.parse::<u64>().ok());
    busy.sum::<u64>() * 10_000_000
}

fn node_memory() -> u64 {
    let of = |key| machine::meminfo(key).unwrap_or(0);
    u64::try_from(of("MemTotal") - of("MemAvailable")).unwrap_or(0)
}

fn cpu(id: &str, nanos: u64, now: &str) -> Value {
    json!({"time": now, "usageNanoCores": rate(id, nanos), "usageCoreNanoSeconds": nanos})
}

/// The summary that metrics servers and `kubectl top`'s backends read.
pub async fn summary(ctx: &Context, pods: &Pods) -> Response<Body> {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let pods: Vec<Value> = used(ctx, pods)
        .await
        .iter()
        .map(|u| pod_summary(u, &now))
        .collect();
    let (size, free) = machine::disk(&ctx.config.root_dir).unwrap_or_default();
    let (inodes, inodes_free) = machine::inodes(&ctx.config.root_dir).unwrap_or_default();
    json_answer(&json!({
        "node": {
            "nodeName": ctx.config.node_name,
            "startTime": now,
            "cpu": cpu("", node_cpu(), &now),
            "memory": {"time": now, "availableBytes": machine::meminfo("MemAvailable"), "usageBytes": node_memory(), "workingSetBytes": node_memory()},
            "fs": {"time": now, "availableBytes": free, "capacityBytes": size, "usedBytes": size - free,
                "inodes": inodes, "inodesFree": inodes_free, "inodesUsed": inodes.saturating_sub(inodes_free)},
        },
        "pods": pods,
    }))
}

fn pod_summary(u: &Used, now: &str) -> Value {
    let meta = &u.pod.metadata;
    let uid = meta.uid.as_deref().unwrap_or_default();
    let containers: Vec<Value> = u.containers.iter().map(|(name, started, s)| {
        json!({
            "name": name,
            "startTime": started,
            "cpu": cpu(&s.container_id, s.cpu_usage_nanos, now),
            "memory": {"time": now, "workingSetBytes": s.memory_working_set, "usageBytes": s.memory_usage, "rssBytes": s.memory_rss},
            "rootfs": {"time": now, "usedBytes": s.writable_layer_bytes},
        })
    }).collect();
    let sum =
        |f: fn(&ContainerStats) -> u64| u.containers.iter().map(|(_, _, s)| f(s)).sum::<u64>();
    json!({
        "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": uid},
        "startTime": u.pod.status.as_ref().and_then(|s| s.start_time.clone()),
        "containers": containers,
        "cpu": cpu(uid, sum(|s| s.cpu_usage_nanos), now),
        "memory": {"time": now, "workingSetBytes": sum(|s| s.memory_working_set), "usageBytes": sum(|s| s.memory_usage), "rssBytes": sum(|s| s.memory_rss)},
    })
}

/// The same numbers in Prometheus' text format, as metrics-server reads them.
pub async fn metrics(ctx: &Context, pods: &Pods) -> Response<Body> {
    let mut out = String::new();
    let ms = Timestamp::now().as_millisecond();
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    let all = used(ctx, pods).await;
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    head(
        &mut out,
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    each(
        &mut out,
        &all,
        "container_cpu_usage_seconds_total",
        ms,
        |s| seconds(s.cpu_usage_nanos),
    );
    head(
        &mut out,
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
    );
    each(
        &mut out,
        &all,
        "container_memory_working_set_bytes",
        ms,
        |s| s.memory_working_set as f64,
    );
    head(
        &mut out,
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
    );
    for (u, (name, started, _)) in all
        .iter()
        .flat_map(|u| u.containers.iter().map(move |c| (u, c)))
    {
        let started = started.map_or(0.0, |t| t.as_millisecond() as f64 / 1e3);
        let _ = writeln!(
            out,
            "container_start_time_seconds{{{}}} {started}",
            labels(&u.pod, Some(name))
        );
    }
    head(
        &mut out,
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    let _ = writeln!(
        out,
        "node_cpu_usage_seconds_total {} {ms}",
        seconds(node_cpu())
    );
    head(
        &mut out,
        "node_memory_working_set_bytes",
        "gauge",
        "Current working set of the node in bytes",
    );
    let _ = writeln!(out, "node_memory_working_set_bytes {} {ms}", node_memory());
    head(
        &mut out,
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    for u in &all {
        let nanos: u64 = u.containers.iter().map(|(_, _, s)| s.cpu_usage_nanos).sum();
        let _ = writeln!(
            out,
            "pod_cpu_usage_seconds_total{{{}}} {} {ms}",
            labels(&u.pod, None),
            seconds(nanos)
        );
    }
    head(
        &mut out,
        "pod_memory_working_set_bytes",
        "gauge",
        "Current working set of the pod in bytes",
    );
    for u in &all {
        let bytes: u64 = u
            .containers
            .iter()
            .map(|(_, _, s)| s.memory_working_set)
            .sum();
        let _ = writeln!(
            out,
            "pod_memory_working_set_bytes{{{}}} {bytes} {ms}",
            labels(&u.pod, None)
        );
    }
    head(
        &mut out,
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    out.push_str("resource_scrape_error 0\n");
    text(http::StatusCode::OK, out)
}

fn each(
    out: &mut String,
    all: &[Used],
    name: &str,
    ms: i64,
    value: impl Fn(&ContainerStats) -> f64,
) {
    for (u, (container, _, stats)) in all
        .iter()
        .flat_map(|u| u.containers.iter().map(move |c| (u, c)))
    {
        let _ = writeln!(
            out,
            "{name}{{{}}} {} {ms}",
            labels(&u.pod, Some(container)),
            value(stats)
        );
    }
}

fn labels(pod: &Pod, container: Option<&str>) -> String {
    let of = |s: &Option<String>| s.clone().unwrap_or_default();
    let own = container
        .map(|c| format!("container=\"{c}\","))
        .unwrap_or_default();
    format!(
        "{own}namespace=\"{}\",pod=\"{}\"",
        of(&pod.metadata.namespace),
        of(&pod.metadata.name)
    )
}
