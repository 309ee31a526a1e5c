//! `knarr up`: one process with everything in it.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    admin, apply,
    cluster::Cluster,
    demo, kubeconfig,
    paths::{Lock, Paths},
    preflight,
    progress::Progress,
    registries,
};

/// How long the node may take to become Ready.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args, Clone)]
pub struct Options {
    /// Return once the node is Ready and let the cluster run in the background.
    #[arg(long)]
    pub detach: bool,
    /// Deploy a small application from an image that the binary carries.
    #[arg(long)]
    pub demo: bool,
    /// Manifests to apply once the cluster is ready: a file or a directory. May be repeated.
    #[arg(short, long, value_name = "FILE|DIR")]
    pub file: Vec<PathBuf>,
    /// Leave the user's own kubeconfig alone.
    #[arg(long)]
    pub no_kubeconfig: bool,
    /// Name of this node; the host name unless given.
    #[arg(long)]
    pub node_name: Option<String>,
    /// Addresses of this node, primary first; found out unless given.
    #[arg(long, value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// Port of the API server.
    #[arg(long, default_value_t = 6443)]
    pub api_port: u16,
    /// Port of the kubelet.
    #[arg(long, default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Port of the Ingress for HTTP.
    #[arg(long, default_value_t = 80)]
    pub http_port: u16,
    /// Port of the Ingress for HTTPS.
    #[arg(long, default_value_t = 443)]
    pub https_port: u16,
    /// Ranges of pod addresses, one per family.
    #[arg(long, value_delimiter = ',', default_value = "10.244.0.0/16")]
    pub pod_cidr: Vec<IpNet>,
    /// Ranges of Service addresses, one per family.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/12")]
    pub service_cidr: Vec<IpNet>,
    #[command(flatten)]
    pub registries: registries::Registries,
    /// Domain of cluster names.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Below what the node is under pressure and takes no more pods, as `signal<amount` pairs; empty for never.
    #[arg(long, default_value = knarr_kubelet::DEFAULT_THRESHOLDS, value_name = "THRESHOLDS", overrides_with = "eviction_hard")]
    pub eviction_hard: knarr_kubelet::Thresholds,
    /// Serve API versions that Kubernetes serves no more (extensions/v1beta1, apps/v1beta1, …), with a warning.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub legacy_api_versions: bool,
}

pub async fn run(paths: Paths, options: Options) -> Result<()> {
    let progress = Progress::new();
    preflight::check()?;
    // Read before anything starts, so that a slip in a manifest costs nothing.
    let manifests = apply::read(&options.file)?;
    let _lock = claim(&paths, &options)?;
    std::fs::create_dir_all(&paths.run)
        .with_context(|| format!("cannot make {}", paths.run.display()))?;
    let _ = std::fs::remove_file(paths.ready());
    progress.say(format!(
        "Knarr {} starts in {}",
        env!("CARGO_PKG_VERSION"),
        paths.data.display()
    ));
    let mut cluster = Cluster::start(&paths, &options, &progress).await?;
    tokio::spawn(admin::serve(paths.admin_socket(), cluster.runtime.clone()));
    let worked = tokio::select! {
        result = bring_up(&paths, &options, &progress, &mut cluster, manifests) => result,
        signal = wait_for_signal() => signal,
    };
    let _ = std::fs::remove_file(paths.ready());
    cluster.stop().await;
    worked
}

/// Takes the directory, and lets go of it again when a port is not to be had: a refused start leaves nothing behind.
pub fn claim(paths: &Paths, options: &Options) -> Result<Lock> {
    let lock = paths.lock()?;
    match preflight::ports_free(options) {
        Ok(()) => Ok(lock),
        Err(taken) => {
            lock.undo();
            Err(taken)
        }
    }
}

/// Brings the node to Ready and the manifests in, then runs until a signal comes.
async fn bring_up(
    paths: &Paths,
    options: &Options,
    progress: &Progress,
    cluster: &mut Cluster,
    manifests: Vec<serde_json::Value>,
) -> Result<()> {
    let step = progress.step("node is Ready");
    cluster.ready(PATIENCE).await?;
    step.done();
    progress.say(format!(
        "cluster is up after {:.2} s",
        progress.elapsed().as_secs_f64()
    ));
    if options.demo {
        let step = progress.step("demo is deployed");
        demo::deploy(cluster).await?;
        step.done();
    }
    if !manifests.is_empty() {
        let step = progress.step(format!("{} manifests are applied", manifests.len()));
        apply::apply(&cluster.client, &manifests).await?;
        step.done();
    }
    tell_how_to_go_on(paths, options, progress, cluster);
    std::fs::write(paths.ready(), std::process::id().to_string()).context("ready file")?;
    Err(cluster.failed().await)
}

fn tell_how_to_go_on(paths: &Paths, options: &Options, progress: &Progress, cluster: &Cluster) {
    if options.no_kubeconfig {
        progress.say(format!(
            "\n  export KUBECONFIG={}",
            paths.admin_kubeconfig().display()
        ));
    } else {
        match kubeconfig::add(&cluster.plane.kubeconfig_entry()) {
            Ok(Some(file)) => {
                progress.say(format!("\ncontext `{}` is in {file}", kubeconfig::NAME))
            }
            Ok(None) => progress.say(format!(
                "\n  export KUBECONFIG={}",
                paths.admin_kubeconfig().display()
            )),
            Err(error) => progress.say(format!(
                "\nthe context was not added ({error:#}); use `export KUBECONFIG={}`",
                paths.admin_kubeconfig().display()
            )),
        }
    }
    progress.say("  kubectl get nodes,pods -A         what runs");
    if options.demo {
        progress.say(demo::how_to_reach(options.http_port));
    }
    progress.say("  Ctrl-C stops Knarr and leaves pods running; `knarr down` stops all; `knarr reset --yes` removes all");
}

/// Returns when the process is asked to end.
pub async fn wait_for_signal() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Without this a closed terminal would take a detached cluster with it.
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => {}
        }
    }
}
