//! `knarr status`: whether the cluster runs, and what is on it.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, Config, ResourceExt,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::paths::Paths;

pub async fn run(paths: &Paths) -> Result<()> {
    let Some(pid) = paths.running() else {
        bail!(
            "no cluster runs with {}; `knarr up` starts one",
            paths.data.display()
        );
    };
    println!(
        "Knarr {} runs as process {pid} with {}",
        env!("CARGO_PKG_VERSION"),
        paths.data.display()
    );
    if let Some(kib) = resident(pid) {
        println!("memory:  {} MB resident", kib / 1024);
    }
    let client = client(paths).await?;
    for node in Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await?
        .items
    {
        println!("node:    {} {}", node.name_any(), readiness(&node));
    }
    let pods = Api::<Pod>::all(client)
        .list(&ListParams::default())
        .await?
        .items;
    let running = pods
        .iter()
        .filter(|p| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"));
    println!("pods:    {} of {} running", running.count(), pods.len());
    Ok(())
}

fn readiness(node: &Node) -> &'static str {
    let mut conditions = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    match conditions
        .find(|c| c.type_ == "Ready")
        .map(|c| c.status.as_str())
    {
        Some("True") => "Ready",
        Some("False") => "NotReady",
        _ => "Unknown",
    }
}

/// Resident memory of a process in KiB.
fn resident(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// A client with the admin kubeconfig.
async fn client(paths: &Paths) -> Result<Client> {
    let path = paths.admin_kubeconfig();
    let kubeconfig =
        Kubeconfig::read_from(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
