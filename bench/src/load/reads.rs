//! Large lists, and what they do to others.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Method;
use http_body_util::BodyExt;

use super::{
    Options,
    api::{Api, path},
    connection::{Sender, Target},
    report::Latencies,
};

/// Reads a list and gives its length in bytes.
async fn list(sender: &mut Sender, from: &str) -> Result<u64> {
    let response = sender.send(Method::GET, from, None).await?;
    ensure!(
        response.status().is_success(),
        "{from}: {}",
        response.status()
    );
    let (mut body, mut bytes) = (response.into_body(), 0);
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

pub async fn lists(api: &Api, options: &Options) -> Result<()> {
    let pods = path("pods");
    for http2 in [false, true] {
        let mut sender = api.target.connect(http2).await?;
        let (started, mut bytes, mut latencies) = (Instant::now(), 0, Latencies::default());
        while started.elapsed() < options.time() {
            let sent = Instant::now();
            bytes += list(&mut sender, &pods).await?;
            latencies.add(sent.elapsed());
        }
        let took = started.elapsed().as_secs_f64();
        println!(
            "LIST of all pods ({:.0} MB) over HTTP/{}: {:.0} MB/s ({})",
            bytes as f64 / 1e6 / latencies.count() as f64,
            if http2 { "2" } else { "1.1" },
            bytes as f64 / 1e6 / took,
            latencies.tell()
        );
    }
    Ok(())
}

/// Small reads while a large list is served: none may wait for it.
pub async fn stall(api: &Api, options: &Options) -> Result<()> {
    let pods = path("pods");
    let one = format!("{}/object-0", path("configmaps"));
    let mut quiet = probe(&api.target, &one, options.time()).await?;
    println!(
        "small reads, nothing else: {}",
        std::mem::take(&mut quiet).tell()
    );
    let mut sender = api.target.connect(false).await?;
    let time = options.time();
    // On a thread of its own: what is measured is how long the server keeps it waiting, not this program.
    let small = alone(api, &one, time);
    let lists = async {
        let (started, mut bytes, mut count) = (Instant::now(), 0, 0);
        while started.elapsed() < time {
            bytes += list(&mut sender, &pods).await?;
            count += 1;
        }
        anyhow::Ok((bytes, count))
    };
    let ((bytes, count), latencies) = tokio::try_join!(lists, small)?;
    println!(
        "small reads while lists of {:.0} MB are served ({count} of them): {}",
        bytes as f64 / 1e6 / f64::from(count),
        latencies.tell()
    );
    Ok(())
}

/// [`probe`] on a thread that does nothing else.
async fn alone(api: &Api, one: &str, time: Duration) -> Result<Latencies> {
    let (target, one) = (api.target.clone(), one.to_owned());
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(probe(&target, &one, time))
    });
    thread.await?
}

async fn probe(target: &Target, one: &str, time: Duration) -> Result<Latencies> {
    let mut sender = target.connect(false).await?;
    let (started, mut latencies) = (Instant::now(), Latencies::default());
    while started.elapsed() < time {
        let sent = Instant::now();
        sender.call(Method::GET, one, None).await?;
        latencies.add(sent.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(latencies)
}
