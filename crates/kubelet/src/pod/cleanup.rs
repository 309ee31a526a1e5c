//! What is left of a pod after its end: records, directories, logs. Also pods that went while nobody looked.

use std::{path::Path, time::Duration};

use futures::future::join_all;
use knarr_runtime::{ContainerState, ContainerStatus};

use crate::{
    container::config::{GRACE, TERMINATION_FILE},
    context::Context,
    volume::mounts::remove_tree,
};

const DEFAULT_GRACE: u64 = 30;

/// Removes everything of a pod whose containers have ended.
///
/// # Errors
/// What could not be removed; worth another try.
pub async fn remove_pod(ctx: &Context, uid: &str, log_dir: Option<&Path>) -> anyhow::Result<()> {
    let seen = ctx.view.observe(uid);
    for container in &seen.containers {
        ctx.runtime().remove_container(&container.id).await?;
        ctx.view.reload_container(uid, &container.id).await?;
    }
    for sandbox in &seen.sandboxes {
        ctx.runtime().remove_sandbox(&sandbox.id).await?;
    }
    if !seen.sandboxes.is_empty() {
        ctx.view.reload_sandboxes(uid).await?;
    }
    let (dir, logs) = (ctx.config.pod_dir(uid), log_dir.map(Path::to_owned));
    tokio::task::spawn_blocking(move || {
        remove_tree(&dir)?;
        match logs.map(std::fs::remove_dir_all) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
    .await??;
    Ok(())
}

/// Takes the volumes of a pod that will not run again.
pub async fn remove_volumes(ctx: &Context, uid: &str) -> anyhow::Result<()> {
    let dir = ctx.config.pod_dir(uid);
    tokio::task::spawn_blocking(move || {
        remove_tree(&dir.join("volume-subpaths"))?;
        remove_tree(&dir.join("volumes"))
    })
    .await??;
    Ok(())
}

/// Removes one ended container with its log and last words.
pub async fn remove_container(
    ctx: &Context,
    uid: &str,
    container: &ContainerStatus,
    log: &Path,
) -> anyhow::Result<()> {
    ctx.runtime().remove_container(&container.id).await?;
    ctx.view.reload_container(uid, &container.id).await?;
    let _ = tokio::fs::remove_file(log).await;
    for rotated in crate::logs::rotate::rotated(log) {
        let _ = tokio::fs::remove_file(rotated).await;
    }
    if let Some(file) = container.annotations.get(TERMINATION_FILE) {
        let _ = tokio::fs::remove_file(file).await;
    }
    Ok(())
}

/// Ends and removes a pod of which only the runtime knows.
pub async fn end_orphan(ctx: &Context, uid: &str) -> anyhow::Result<()> {
    let seen = ctx.view.observe(uid);
    let grace = |c: &ContainerStatus| {
        c.annotations
            .get(GRACE)
            .and_then(|g| g.parse().ok())
            .unwrap_or(DEFAULT_GRACE)
    };
    let running = seen
        .containers
        .iter()
        .filter(|c| c.state == ContainerState::Running);
    let ends = running.map(|c| {
        ctx.runtime()
            .stop_container(&c.id, Duration::from_secs(grace(c)))
    });
    for ended in join_all(ends).await {
        ended?;
    }
    for sandbox in &seen.sandboxes {
        ctx.runtime().stop_sandbox(&sandbox.id).await?;
    }
    let logs = seen
        .sandboxes
        .first()
        .map(|s| s.config.log_directory.clone());
    remove_pod(ctx, uid, logs.as_deref()).await?;
    ctx.view.forget(uid);
    Ok(())
}
