//! One change, many watchers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinSet;

use super::{
    Options,
    api::{Api, path},
    objects,
    report::Latencies,
};

const MAPS: usize = 100;
const WRITERS: usize = 16;
/// Changes per second when latency is measured.
const CALM: u32 = 50;

/// What all watchers of a measurement share.
struct Shared {
    started: Instant,
    events: AtomicU64,
}

pub async fn watch(api: &Api, options: &Options, watchers: usize) -> Result<()> {
    api.clear("configmaps").await?;
    for n in 0..MAPS {
        let body = objects::config_map(&format!("map-{n}"), 600);
        api.call(Method::POST, &path("configmaps"), Some(body))
            .await?;
    }
    let shared = Arc::new(Shared {
        started: Instant::now(),
        events: AtomicU64::new(0),
    });
    let mut tasks = JoinSet::new();
    for body in open(api, watchers).await? {
        tasks.spawn(follow(body, shared.clone()));
    }
    let writes = patch_for(api, &shared, options.time(), None).await?.len();
    let sent = shared.started.elapsed();
    let want = (writes * watchers) as u64;
    while shared.events.load(Ordering::Relaxed) < want {
        ensure!(
            shared.started.elapsed() < options.time() * 12,
            "watchers got fewer events than there were"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = shared.started.elapsed().as_secs_f64();
    println!(
        "watch fan-out to {watchers}: {:.0} events/s ({writes} changes in {:.1} s, all delivered after {took:.1} s)",
        want as f64 / took,
        sent.as_secs_f64()
    );
    tasks.shutdown().await;
    calm(api, options, watchers).await
}

/// How late a change is seen when there are not too many.
async fn calm(api: &Api, options: &Options, watchers: usize) -> Result<()> {
    let shared = Arc::new(Shared {
        started: Instant::now(),
        events: AtomicU64::new(0),
    });
    let mut tasks = JoinSet::new();
    for body in open(api, watchers).await? {
        tasks.spawn(follow(body, shared.clone()));
    }
    let pause = Duration::from_secs(1) / CALM;
    let writes = patch_for(api, &shared, options.time(), Some(pause)).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let want = (writes.len() * watchers) as u64;
    ensure!(
        shared.events.load(Ordering::Relaxed) >= want,
        "watchers are behind"
    );
    // The streams end when their connections are dropped with the tasks, so results are taken by aborting them.
    let seen = collect(tasks).await;
    let answered: HashMap<Duration, Duration> = writes.into_iter().collect();
    let (mut from_request, mut from_answer) = (Latencies::default(), Latencies::default());
    for (sent, seen) in seen {
        from_request.add(seen.saturating_sub(sent));
        if let Some(answered) = answered.get(&sent) {
            from_answer.add(seen.saturating_sub(*answered));
        }
    }
    println!(
        "watch latency, {watchers} watchers, {CALM} changes/s: {} (from before the request to the event)",
        from_request.tell()
    );
    println!(
        "watch latency, {watchers} watchers, {CALM} changes/s: {} (from the answer to the event; 0 where the event is first)",
        from_answer.tell()
    );
    Ok(())
}

/// When a change was sent and when a watcher saw it, since the start.
type Seen = Vec<(Duration, Duration)>;

async fn collect(mut tasks: JoinSet<Seen>) -> Seen {
    STOP.store(1, Ordering::Relaxed);
    let mut all = Seen::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done.unwrap_or_default());
    }
    STOP.store(0, Ordering::Relaxed);
    all
}

/// Set when watchers shall give what they have.
static STOP: AtomicU64 = AtomicU64::new(0);

async fn open(api: &Api, watchers: usize) -> Result<Vec<Incoming>> {
    let listed = api
        .call(
            Method::GET,
            &format!("{}?limit=1", path("configmaps")),
            None,
        )
        .await?;
    let revision = text_behind(&listed, b"\"resourceVersion\":\"").unwrap_or_default();
    let from = format!("{}?watch=1&resourceVersion={revision}", path("configmaps"));
    let mut bodies = Vec::with_capacity(watchers);
    for mut sender in api.senders(watchers).await? {
        let response = sender.send(Method::GET, &from, None).await?;
        ensure!(
            response.status().is_success(),
            "watch: {}",
            response.status()
        );
        bodies.push(response.into_body());
    }
    Ok(bodies)
}

/// Counts events; looks at the first of each piece for when it was sent.
async fn follow(mut body: Incoming, shared: Arc<Shared>) -> Seen {
    let mut seen = Seen::new();
    while STOP.load(Ordering::Relaxed) == 0 {
        let next = tokio::time::timeout(Duration::from_millis(500), body.frame()).await;
        let frame = match next {
            Ok(Some(Ok(frame))) => frame,
            Ok(_) => break,
            Err(_) => continue,
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let lines = memchr::memchr_iter(b'\n', data).count();
        shared.events.fetch_add(lines as u64, Ordering::Relaxed);
        let sent = text_behind(data, b"\"key\":\"").and_then(|text| text.parse().ok());
        if let Some(sent) = sent.map(Duration::from_nanos) {
            seen.push((sent, shared.started.elapsed()));
        }
    }
    seen
}

/// Changes ConfigMaps, each time with the time in it. Gives when each change was sent and answered, since the start.
async fn patch_for(
    api: &Api,
    shared: &Arc<Shared>,
    time: Duration,
    pause: Option<Duration>,
) -> Result<Vec<(Duration, Duration)>> {
    let writers = if pause.is_some() { 1 } else { WRITERS };
    let mut tasks = JoinSet::new();
    for (n, mut sender) in api.senders(writers).await?.into_iter().enumerate() {
        let shared = shared.clone();
        tasks.spawn(async move {
            let started = Instant::now();
            let mut done = Vec::new();
            while started.elapsed() < time {
                let map = (done.len() * writers + n) % MAPS;
                let target = format!("{}/map-{map}", path("configmaps"));
                let sent = shared.started.elapsed();
                let now = sent.as_nanos();
                let body: Bytes = format!("{{\"data\":{{\"key\":\"{now}\"}}}}").into();
                let patch = Some(("application/merge-patch+json", body));
                sender.call(Method::PATCH, &target, patch).await?;
                done.push((sent, shared.started.elapsed()));
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
            anyhow::Ok(done)
        });
    }
    let mut writes = Vec::new();
    while let Some(done) = tasks.join_next().await {
        writes.extend(done??);
    }
    Ok(writes)
}

/// What is between `mark` and the next quote.
fn text_behind<'d>(data: &'d [u8], mark: &[u8]) -> Option<&'d str> {
    let start = memchr::memmem::find(data, mark)? + mark.len();
    let rest = data.get(start..)?;
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(&rest[..end]).ok()
}
