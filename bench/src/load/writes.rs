//! Creates and patches, many in flight.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use http::Method;

use super::{
    Options,
    api::{Api, JSON, path},
    objects,
    report::{Latencies, memory},
};

/// Objects of each kind in the memory that the table of aims is about.
const USUAL: usize = 5_000;
const MERGE: &str = "application/merge-patch+json";

/// When a measurement ends.
#[derive(Clone, Copy)]
enum Until {
    Time(Duration),
    Count(usize),
}

struct Request {
    method: Method,
    path: String,
    kind: &'static str,
    body: Bytes,
}

/// Sends what `make` makes for 0, 1, 2, …, and tells how fast. Gives how many.
async fn run(
    api: &Api,
    in_flight: usize,
    label: &str,
    until: Until,
    make: impl Fn(usize) -> Request + Send + Sync + 'static,
) -> Result<usize> {
    let (next, make) = (Arc::new(AtomicUsize::new(0)), Arc::new(make));
    let senders = api.senders(in_flight).await?;
    let started = Instant::now();
    let tasks: Vec<_> = senders
        .into_iter()
        .map(|mut sender| {
            let (next, make) = (next.clone(), make.clone());
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let over = match until {
                        Until::Time(time) => started.elapsed() >= time,
                        Until::Count(count) => n >= count,
                    };
                    if over {
                        return anyhow::Ok(latencies);
                    }
                    let request = make(n);
                    let sent = Instant::now();
                    let body = Some((request.kind, request.body));
                    sender.call(request.method, &request.path, body).await?;
                    latencies.add(sent.elapsed());
                }
            })
        })
        .collect();
    let mut all = Latencies::default();
    for task in tasks {
        all.extend(task.await??);
    }
    let (count, took) = (all.count(), started.elapsed().as_secs_f64());
    println!(
        "{label}: {:.0}/s ({count} in {took:.1} s, {in_flight} in flight; {})",
        count as f64 / took,
        all.tell()
    );
    Ok(count)
}

fn create(kind: &str, body: Bytes) -> Request {
    Request {
        method: Method::POST,
        path: path(kind),
        kind: JSON,
        body,
    }
}

pub async fn config_maps(api: &Api, options: &Options) -> Result<()> {
    let until = Until::Time(options.time());
    run(api, options.in_flight, "ConfigMap creates", until, |n| {
        create("configmaps", objects::config_map(&format!("map-{n}"), 1024))
    })
    .await?;
    api.clear("configmaps").await
}

pub async fn patches(api: &Api, options: &Options) -> Result<()> {
    const MAPS: usize = 1000;
    let until = Until::Count(MAPS);
    run(
        api,
        options.in_flight,
        "(ConfigMaps to patch)",
        until,
        |n| create("configmaps", objects::config_map(&format!("map-{n}"), 1024)),
    )
    .await?;
    let until = Until::Time(options.time());
    run(api, options.in_flight, "merge patches", until, |n| {
        Request {
            method: Method::PATCH,
            path: format!("{}/map-{}", path("configmaps"), n % MAPS),
            kind: MERGE,
            body: format!("{{\"data\":{{\"key\":\"{n}\"}}}}").into(),
        }
    })
    .await?;
    api.clear("configmaps").await
}

/// Pod creates; then 5,000 pods and 5,000 ConfigMaps, and the memory that they take. The pods stay for the lists.
pub async fn pods(api: &Api, options: &Options) -> Result<()> {
    let until = Until::Time(options.time());
    let count = run(api, options.in_flight, "pod creates (4 KB)", until, |n| {
        create("pods", objects::pod(&format!("pod-{n}")))
    })
    .await?;
    if count != USUAL {
        api.clear("pods").await?;
        fill_with(api, options, "pods", USUAL).await?;
    }
    fill_with(api, options, "configmaps", USUAL).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    memory("with 5,000 pods and 5,000 ConfigMaps", &options.pid);
    Ok(())
}

async fn fill_with(api: &Api, options: &Options, kind: &'static str, count: usize) -> Result<()> {
    let label = format!("({kind} to {count})");
    run(
        api,
        options.in_flight,
        &label,
        Until::Count(count),
        move |n| {
            let name = format!("object-{n}");
            let body = match kind {
                "pods" => objects::pod(&name),
                _ => objects::config_map(&name, 1024),
            };
            create(kind, body)
        },
    )
    .await?;
    Ok(())
}

/// Half of all objects as pods, half as ConfigMaps.
pub async fn fill(api: &Api, options: &Options) -> Result<()> {
    for kind in ["pods", "configmaps"] {
        api.clear(kind).await?;
        fill_with(api, options, kind, options.objects / 2).await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    memory(&format!("with {} objects", options.objects), &options.pid);
    Ok(())
}
