//! Talks to a shim.

use std::{
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, anyhow, bail};
use tokio::{net::UnixStream, process::Command};

use crate::wire::{Connection, Reply, Request};

/// Starts a shim for the sandbox in `dir`. Returns once it serves.
pub(super) async fn spawn(shim: &Path, dir: &Path) -> anyhow::Result<()> {
    let output = Command::new(shim)
        .arg0("knarr")
        .arg("shim")
        .arg("--state")
        .arg(dir)
        // What Knarr was started with is no business of pods.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .await
        .with_context(|| format!("start shim {}", shim.display()))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("failed to create sandbox: {}", reason.trim());
    }
    Ok(())
}

pub(super) async fn connect(dir: &Path) -> anyhow::Result<Connection> {
    // Through the directory's descriptor: the path may be longer than socket names go.
    let open = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(dir);
    let open = open.with_context(|| format!("open {}", dir.display()))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/shim.sock", open.as_raw_fd()));
    let stream = UnixStream::connect(&path)
        .await
        .with_context(|| format!("connect to the shim in {}", dir.display()))?;
    Ok(Connection::new(stream))
}

/// A call with one answer.
pub(super) async fn call(dir: &Path, request: &Request) -> anyhow::Result<(Reply, Vec<OwnedFd>)> {
    let mut connection = connect(dir).await?;
    connection.send(request, &[]).await?;
    answer(&mut connection).await
}

/// A call that goes on after its first answer, with descriptors for the shim.
pub(super) async fn begin(
    dir: &Path,
    request: &Request,
    fds: Vec<OwnedFd>,
) -> anyhow::Result<(Connection, Reply, Vec<OwnedFd>)> {
    let mut connection = connect(dir).await?;
    let pass: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    connection.send(request, &pass).await?;
    drop(pass);
    // Only the shim is to hold them now, so that their end is noticed.
    drop(fds);
    let (reply, fds) = answer(&mut connection).await?;
    Ok((connection, reply, fds))
}

async fn answer(connection: &mut Connection) -> anyhow::Result<(Reply, Vec<OwnedFd>)> {
    match connection.receive::<Reply>().await? {
        Some((Reply::Failed { message }, _)) => Err(anyhow!("{message}")),
        Some(answer) => Ok(answer),
        None => bail!("the shim hung up"),
    }
}
