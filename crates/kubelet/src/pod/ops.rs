//! The work a pod's task has done beside it. Each ends with a [`Done`].

use std::{path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use knarr_runtime::{ContainerStatus, SandboxConfig, SandboxStatus};

use super::{held::Snapshot, wanted::Wanted};
use crate::{
    container::{
        dns,
        start::{self, Failure, Start},
        stop::{self, Stop},
    },
    context::Context,
    volume::{self, Paths, token::Tokens},
};

/// How a piece of work ended.
pub enum Done {
    Volumes(Result<(Paths, Tokens), String>),
    Sandbox(Result<(), String>),
    SandboxesStopped(Result<(), String>),
    Started {
        name: String,
        result: Result<String, Failure>,
    },
    Stopped {
        name: String,
        ok: bool,
    },
    Removed {
        name: String,
    },
}

/// Makes the pod's directories and volumes, or brings them up to date.
pub async fn volumes(
    ctx: Arc<Context>,
    wanted: Arc<Wanted>,
    held: Snapshot,
    mut tokens: Tokens,
    facts: crate::container::fields::Facts,
) -> Done {
    let work = async {
        let pod = wanted.pod.clone();
        let objects = held.objects(&ctx, &pod).await?;
        tokens.refresh(ctx.client(), &pod).await?;
        let claims = volume::claims(&ctx, &pod).await?;
        let dir = ctx.config.pod_dir(wanted.uid());
        let sources = volume::Sources {
            pod,
            dir,
            objects,
            facts,
            tokens: tokens.clone(),
            claims,
        };
        let paths = tokio::task::spawn_blocking(move || volume::set_up(&sources))
            .await
            .map_err(|e| e.to_string())??;
        Ok((paths, tokens))
    };
    Done::Volumes(work.await)
}

/// Makes a sandbox, after the old one was stopped.
pub async fn sandbox(ctx: Arc<Context>, config: SandboxConfig, old: Option<String>) -> Done {
    let work = async {
        if let Some(id) = old {
            ctx.runtime().stop_sandbox(&id).await?;
            ctx.view.reload_sandboxes(&config.pod_uid).await?;
        }
        tokio::fs::create_dir_all(&config.log_directory)
            .await
            .map_err(anyhow::Error::from)?;
        ctx.runtime().run_sandbox(&config).await?;
        ctx.view.reload_sandboxes(&config.pod_uid).await
    };
    Done::Sandbox(work.await.map_err(|e| format!("{e:#}")))
}

pub async fn stop_sandboxes(ctx: Arc<Context>, uid: String, ids: Vec<String>) -> Done {
    let work = async {
        for id in ids {
            ctx.runtime().stop_sandbox(&id).await?;
        }
        ctx.view.reload_sandboxes(&uid).await
    };
    Done::SandboxesStopped(work.await.map_err(|e| format!("{e:#}")))
}

pub async fn start(ctx: Arc<Context>, start: Start) -> Done {
    let name = start.container.name.clone();
    Done::Started {
        name,
        result: start::run(&ctx, start).await,
    }
}

pub async fn stop(ctx: Arc<Context>, uid: String, stop: Stop) -> Done {
    let (name, id) = (stop.container.name.clone(), stop.id.clone());
    let mut ok = stop::run(&ctx, stop).await;
    ok &= ctx.view.reload_container(&uid, &id).await.is_ok();
    Done::Stopped { name, ok }
}

pub async fn remove(ctx: Arc<Context>, uid: String, name: String, id: String) -> Done {
    let ok = ctx.runtime().remove_container(&id).await.is_ok()
        && ctx.view.reload_container(&uid, &id).await.is_ok();
    if !ok {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Done::Removed { name }
}

/// Writes the pod's hosts file and returns its path.
pub fn write_hosts(
    ctx: &Context,
    wanted: &Wanted,
    sandbox: &SandboxStatus,
) -> std::io::Result<PathBuf> {
    let spec = wanted.spec();
    let aliases = spec.host_aliases.as_deref().unwrap_or(&[]);
    let text = if wanted.host_network() {
        dns::host_network_hosts_file(
            &std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
            aliases,
        )
    } else {
        let (host, full) = dns::hostname(
            spec,
            wanted.name(),
            wanted.namespace(),
            &ctx.config.cluster_domain,
        );
        dns::hosts_file(&sandbox.ips, &host, full.as_deref(), aliases)
    };
    let dir = ctx.config.pod_dir(wanted.uid());
    std::fs::create_dir_all(&dir)?;
    let path = dir.join("etc-hosts");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Where a container's log is on the node.
pub fn log_file(ctx: &Context, pod: &Pod, container: &ContainerStatus) -> PathBuf {
    let of = |s: &Option<String>| s.clone().unwrap_or_default();
    let meta = &pod.metadata;
    // An absolute path of a record replaces the directory.
    ctx.config
        .pod_log_dir(&of(&meta.namespace), &of(&meta.name), &of(&meta.uid))
        .join(&container.log_path)
}
