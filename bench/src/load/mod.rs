//! Load on any API server, through its front door: `knarr-bench load --kubeconfig FILE`.
//!
//! It works in a namespace of its own, which it removes at the end. What the client costs is part of every number when both run
//! on one machine, so bodies are made by hand and answers are not parsed.

mod api;
mod connection;
mod fanout;
mod objects;
mod reads;
mod report;
mod writes;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;

use self::{api::Api, report::memory};

#[derive(Parser, Clone)]
#[command(
    name = "knarr-bench load",
    about = "Measures an API server by its kubeconfig"
)]
pub struct Options {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// A bearer token, for kubeconfigs without a client certificate.
    #[arg(long)]
    token: Option<String>,
    /// How long each rate is measured, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// HTTP/2 connections that they share; 0 means HTTP/1.1 with a connection each.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Measure only these, in this order.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "configmaps,patches,pods,lists,watch100,watch1000,objects,stall"
    )]
    only: Vec<String>,
    /// Processes whose memory is told, such as an API server's and an etcd's.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Objects at the end, and the size of the list that nothing may stall behind (4 KB each).
    #[arg(long, default_value_t = 50_000)]
    objects: usize,
}

impl Options {
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Runs what the command line asks for.
pub fn main(arguments: impl Iterator<Item = String>) -> Result<()> {
    let options =
        Options::parse_from(std::iter::once("knarr-bench load".to_owned()).chain(arguments));
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let api = Api::new(&options).await?;
        api.begin().await?;
        memory("before", &options.pid);
        let done = measure(&api, &options).await;
        api.end().await?;
        done
    })
}

async fn measure(api: &Api, options: &Options) -> Result<()> {
    for what in &options.only {
        match what.as_str() {
            "configmaps" => writes::config_maps(api, options).await?,
            "patches" => writes::patches(api, options).await?,
            "pods" => writes::pods(api, options).await?,
            "lists" => reads::lists(api, options).await?,
            "watch100" => fanout::watch(api, options, 100).await?,
            "watch1000" => fanout::watch(api, options, 1000).await?,
            "objects" => writes::fill(api, options).await?,
            "stall" => reads::stall(api, options).await?,
            other => anyhow::bail!("nothing is called {other}"),
        }
    }
    Ok(())
}
