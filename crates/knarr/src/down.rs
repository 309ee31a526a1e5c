//! `knarr down` and `knarr reset`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use knarr_network::BridgeNetwork;
use knarr_runtime::{Embedded, Runtime, SandboxNetwork};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{cluster, kubeconfig, paths::Paths};

/// How long a running Knarr may take to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long containers may take to end by themselves.
const GRACE: Duration = Duration::from_secs(10);

/// Stops Knarr, the pods and the network; data stays.
pub async fn down(paths: &Paths) -> Result<()> {
    require_root()?;
    if !paths.data.exists() {
        eprintln!("nothing to stop: {} does not exist", paths.data.display());
        return Ok(());
    }
    stop_process(paths).await?;
    let _lock = paths.lock()?;
    let runtime = open(paths).await?;
    let sandboxes = runtime.sandboxes().await?;
    stop_pods(&runtime).await?;
    clear_network(paths).await?;
    eprintln!(
        "stopped; {} pods ended, data stays in {}",
        sandboxes.len(),
        paths.data.display()
    );
    Ok(())
}

/// Stops everything and removes every trace.
pub async fn reset(paths: &Paths, yes: bool) -> Result<()> {
    require_root()?;
    if !yes {
        bail!(
            "this removes the cluster and all data in {}; say `knarr reset --yes` if you mean it",
            paths.data.display()
        );
    }
    if paths.data.exists() {
        stop_process(paths).await?;
        let lock = paths.lock()?;
        let runtime = open(paths).await?;
        stop_pods(&runtime).await?;
        runtime.destroy_all().await?;
        unmount_below(&paths.data)?;
        drop(lock);
    }
    clear_network(paths).await?;
    for dir in [&paths.data, &paths.run] {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
            }
            _ => {}
        }
    }
    kubeconfig::remove()?;
    eprintln!("removed; nothing of the cluster is left");
    Ok(())
}

fn require_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this needs root; run it with sudo");
    }
    Ok(())
}

/// Asks the process that holds the directory to end, and waits until it has.
async fn stop_process(paths: &Paths) -> Result<()> {
    let Some(pid) = paths.running() else {
        return Ok(());
    };
    kill(Pid::from_raw(pid), Signal::SIGTERM)
        .with_context(|| format!("cannot stop process {pid}"))?;
    let gone = async {
        while paths.running().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .with_context(|| format!("process {pid} does not end; try `kill -9 {pid}`"))
}

async fn open(paths: &Paths) -> Result<Embedded> {
    let network = BridgeNetwork::open(knarr_network::Config {
        bridge: cluster::BRIDGE.to_owned(),
        pod_cidrs: Vec::new(),
        cluster_cidrs: Vec::new(),
        service_cidrs: Vec::new(),
        mtu: None,
        state_dir: paths.network(),
        hairpin: false,
    });
    let network: Arc<dyn SandboxNetwork> = Arc::new(network.await.context("pod network")?);
    Embedded::open(cluster::runtime_config(paths, network, Default::default()))
        .await
        .context("container runtime")
}

async fn stop_pods(runtime: &Embedded) -> Result<()> {
    let mut stopping = tokio::task::JoinSet::new();
    for container in runtime.containers().await? {
        let runtime = runtime.clone();
        stopping.spawn(async move { runtime.stop_container(&container.id, GRACE).await });
    }
    while let Some(stopped) = stopping.join_next().await {
        stopped??;
    }
    for sandbox in runtime.sandboxes().await? {
        runtime.stop_sandbox(&sandbox.id).await?;
        runtime.remove_sandbox(&sandbox.id).await?;
    }
    Ok(())
}

/// Takes off what is mounted below a directory (volumes in memory, mostly), the innermost first.
fn unmount_below(dir: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("list of mounts")?;
    let below: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        // The kernel writes spaces in octal.
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .filter(|path| path.starts_with(dir))
        .collect();
    for path in below.iter().rev() {
        umount2(path, MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {}", path.display()))?;
    }
    Ok(())
}

async fn clear_network(paths: &Paths) -> Result<()> {
    knarr_proxy::teardown().context("service rules")?;
    knarr_network::teardown(cluster::BRIDGE, &paths.network())
        .await
        .context("pod network")
}
