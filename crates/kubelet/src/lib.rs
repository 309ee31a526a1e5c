//! The node agent: registers the node and runs one task per pod that brings what runs to what is wanted.
//!
//! Start with [`Kubelet`]. What runs is made by a [`knarr_runtime::Runtime`]; what is wanted comes from informers and,
//! for static pods, from files. Deciding code (`plan`, `status`, `resources`, …) is pure; I/O sits around it.

mod admission;
mod config;
mod container;
mod context;
mod images;
mod logs;
mod machine;
mod node;
mod pod;
mod pods;
mod probe;
mod quantity;
mod refs;
mod resources;
pub mod server;
mod static_pods;
mod streams;
mod view;
mod volume;

use std::sync::Arc;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use knarr_client::events::Recorder;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

pub use config::Config;
pub use node::thresholds::{DEFAULT as DEFAULT_THRESHOLDS, Thresholds};

/// A node agent.
pub struct Kubelet {
    config: Arc<Config>,
    reported: watch::Sender<bool>,
}

impl Kubelet {
    pub fn new(config: Config) -> Self {
        Kubelet {
            config: Arc::new(config),
            reported: watch::Sender::new(false),
        }
    }

    /// Turns true once this run has written the node's status: what the API said before came from an earlier run.
    pub fn reported(&self) -> watch::Receiver<bool> {
        self.reported.subscribe()
    }

    /// Runs until the task is dropped. Pods live on when it ends; the next run adopts them.
    ///
    /// # Errors
    /// When directories cannot be made, the runtime does not answer or the listener's address is taken.
    pub async fn run(self) -> anyhow::Result<()> {
        let Kubelet { config, reported } = self;
        prepare(&config).await?;
        let informers = &config.informers;
        let nodes = informers.selected::<Node>(&format!("metadata.name={}", config.node_name));
        let assigned = informers.selected::<Pod>(&format!("spec.nodeName={}", config.node_name));
        let ctx = Arc::new(shared(&config, nodes.clone()));
        // Ends everything in it when this future is dropped.
        let mut parts = JoinSet::new();
        parts.spawn(node::run(config.clone(), nodes, reported));
        // Events are followed from before the first look, so that nothing falls between.
        parts.spawn(ctx.view.clone().run());
        ctx.view
            .relist()
            .await
            .context("reading what runs on this node")?;
        let pods = pods::Pods::new(ctx.clone());
        if let Some(dir) = config.static_pod_dir.clone() {
            let (ctx, pods) = (ctx.clone(), pods.clone());
            parts.spawn(static_pods::run(ctx, pods, dir, assigned.clone()));
        }
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("listening on {}", config.listen))?;
        parts.spawn(server::Server::new(ctx.clone(), pods.clone()).run(listener));
        parts.spawn(logs::rotate::run(config.clone(), ctx.view.clone()));
        parts.spawn(images::run(config.clone()));
        parts.spawn(pods.run(assigned));
        match parts.join_next().await {
            Some(Err(panic)) => Err(anyhow::Error::new(panic).context("a part of the kubelet")),
            _ => Err(anyhow::anyhow!("a part of the kubelet ended")),
        }
    }
}

async fn prepare(config: &Config) -> anyhow::Result<()> {
    let own = [config.root_dir.join("pods"), config.log_dir.clone()];
    for dir in own.iter().chain(&config.static_pod_dir) {
        tokio::fs::create_dir_all(dir)
            .await
            .with_context(|| format!("creating {}", dir.display()))?;
    }
    Ok(())
}

fn shared(config: &Arc<Config>, node: knarr_client::Informer<Node>) -> context::Context {
    let client = config.informers.client().clone();
    let host_dns = std::fs::read_to_string(&config.resolv_conf).unwrap_or_default();
    context::Context {
        view: view::View::new(config.runtime.clone()),
        recorder: Recorder::new(client.clone(), "kubelet", Some(&config.node_name)),
        config_maps: refs::Refs::new(client.clone()),
        secrets: refs::Refs::new(client),
        services: config.informers.of::<Service>(),
        node,
        puller: container::image::Puller::new(config.runtime.clone()),
        capacity: machine::capacity(&config.root_dir),
        host_dns: container::dns::parse_resolv_conf(&host_dns),
        config: config.clone(),
    }
}
