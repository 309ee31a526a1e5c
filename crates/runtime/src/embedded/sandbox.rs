//! Sandboxes: one per pod, held by a shim.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use futures::StreamExt;
use jiff::Timestamp;
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use parking_lot::Mutex;

use super::{Embedded, KILL_PATIENCE, Sandbox, blocking, client, new_id, plan, remove_tree};
use crate::{
    disk,
    record::{self, NetworkRecord, SandboxRecord, ShimRecord},
    types::{ContainerState, Error, Result, SandboxConfig, SandboxState, SandboxStatus},
    wire::{Reply, Request},
};

/// Sandboxes that are removed at the same time.
const TEAR_DOWNS: usize = 16;
/// How long a shim may take to kill its containers and end.
const SHUTDOWN: Duration = Duration::from_secs(15);

impl Sandbox {
    pub(super) fn status(&self) -> SandboxStatus {
        SandboxStatus {
            id: self.record.id.clone(),
            config: self.record.config.clone(),
            state: *self.state.lock(),
            created_at: self.record.created_at,
            ips: self.ips.lock().clone(),
            netns: (!self.record.config.host_network).then(|| self.dir.join("netns")),
        }
    }

    pub(super) fn shim(&self) -> Option<ShimRecord> {
        record::read(&self.dir.join("shim.json")).ok()
    }
}

impl Embedded {
    pub(super) async fn make_sandbox(&self, config: &SandboxConfig) -> Result<String> {
        let id = new_id();
        let dir = self.sandbox_dir(&id);
        let record = SandboxRecord {
            id: id.clone(),
            config: config.clone(),
            created_at: Timestamp::now(),
        };
        let sandbox = Arc::new(Sandbox {
            dir,
            record,
            state: Mutex::new(SandboxState::NotReady),
            ips: Mutex::default(),
        });
        match self.bring_up(&sandbox).await {
            Ok(()) => {
                *sandbox.state.lock() = SandboxState::Ready;
                self.inner
                    .sandboxes
                    .lock()
                    .insert(id.clone(), Arc::clone(&sandbox));
                self.watch(&sandbox);
                self.tell(&sandbox, "");
                Ok(id)
            }
            Err(error) => {
                if let Err(left) = self.tear_down(&sandbox).await {
                    tracing::warn!(sandbox = id, error = %left, "a sandbox that failed could not be cleaned up");
                }
                Err(error)
            }
        }
    }

    async fn bring_up(&self, sandbox: &Sandbox) -> Result<()> {
        write_files(sandbox)?;
        client::spawn(&self.inner.config.shim, &sandbox.dir).await?;
        self.move_shim(sandbox);
        if sandbox.record.config.host_network {
            return Ok(());
        }
        let netns = sandbox.dir.join("netns");
        let ips = self
            .inner
            .config
            .network
            .attach(&sandbox.record.id, &netns, &sandbox.record.config)
            .await
            .context("failed to set up pod network")?;
        record::write(
            &sandbox.dir.join("network.json"),
            &NetworkRecord { ips: ips.clone() },
        )?;
        *sandbox.ips.lock() = ips;
        Ok(())
    }

    /// Takes a shim out of Knarr's own cgroup, so that it is neither counted nor ended with it. The kernel takes its time
    /// for that, and nothing waits for it.
    fn move_shim(&self, sandbox: &Sandbox) {
        let Some(shim) = sandbox.shim() else { return };
        let cgroups = self.inner.cgroups.clone();
        let group = format!(
            "{}/shims",
            self.inner.config.cgroup_root.trim_end_matches('/')
        );
        tokio::task::spawn_blocking(move || {
            let moved = cgroups
                .create(&group)
                .and_then(|()| cgroups.join(&group, shim.pid));
            if let Err(error) = moved
                && shim.alive()
            {
                tracing::warn!(
                    pid = shim.pid,
                    "cannot move a shim to its cgroup: {error:#}"
                );
            }
        });
    }

    /// Ends everything of a sandbox; its record stays. Works on what is half made and on what has died.
    pub(super) async fn halt(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        disk::replace(&sandbox.dir.join("stopped"), b"")?;
        *sandbox.state.lock() = SandboxState::NotReady;
        self.end_shim(sandbox).await?;
        self.settle_containers(sandbox);
        if !sandbox.record.config.host_network {
            self.inner
                .config
                .network
                .detach(&sandbox.record.id)
                .await
                .context("failed to take down pod network")?;
        }
        let dir = sandbox.dir.clone();
        blocking(move || {
            unmount(&dir.join("netns"))?;
            unmount(&dir.join("shm"))
        })
        .await?;
        self.tell(sandbox, "");
        Ok(())
    }

    async fn end_shim(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        if let Some(shim) = sandbox.shim().filter(ShimRecord::alive) {
            let ended =
                tokio::time::timeout(SHUTDOWN, client::call(&sandbox.dir, &Request::Shutdown))
                    .await;
            if !matches!(ended, Ok(Ok((Reply::Done, _)))) {
                tracing::warn!(
                    sandbox = sandbox.record.id,
                    "the shim does not answer; killing it"
                );
            }
            // It ends right after its answer; if it hangs it is ended.
            for _ in 0..100 {
                if !shim.alive() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if shim.alive() {
                let _ = kill(Pid::from_raw(shim.pid), Signal::SIGKILL);
            }
        }
        self.kill_leftovers(sandbox).await
    }

    /// What a shim that died could not clean up.
    pub(super) async fn kill_leftovers(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let cgroups = self.inner.cgroups.clone();
        let groups: Vec<String> = self
            .containers_of(&sandbox.record.id)
            .iter()
            .map(|c| c.record.lock().spec.cgroup.clone())
            .collect();
        blocking(move || {
            for group in groups {
                cgroups.kill(&group, KILL_PATIENCE)?;
                cgroups.remove(&group)?;
            }
            Ok(())
        })
        .await
    }

    /// After the shim's end: the last word about each container is on disk, or it has none and was killed.
    pub(super) fn settle_containers(&self, sandbox: &Arc<Sandbox>) {
        for container in self.containers_of(&sandbox.record.id) {
            let last = record::read(&container.dir.join("run.json")).ok();
            let mut status = last.unwrap_or_else(|| container.status.borrow().clone());
            if matches!(
                status.state,
                ContainerState::Running | ContainerState::Unknown
            ) {
                status.state = ContainerState::Exited;
                status.pid = None;
                status.exit_code = Some(137);
                status.finished_at = Some(Timestamp::now());
                status.reason = "Error".into();
                status.message = "killed because the process that held its pod ended".into();
                if let Err(error) = record::write(&container.dir.join("run.json"), &status) {
                    tracing::warn!(container = container.id, %error, "cannot note the end of a container");
                }
            }
            container.status.send_replace(status);
            self.tell(sandbox, &container.id);
        }
    }

    /// Removes a sandbox and all that belongs to it.
    pub(super) async fn tear_down(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        if sandbox.dir.join("sandbox.json").exists() {
            self.halt(sandbox).await?;
        }
        for container in self.containers_of(&sandbox.record.id) {
            self.discard(&container).await?;
        }
        self.inner.sandboxes.lock().remove(&sandbox.record.id);
        let parent = sandbox.record.config.cgroup_parent.clone();
        let shared = self
            .inner
            .sandboxes
            .lock()
            .values()
            .any(|other| other.record.config.cgroup_parent == parent);
        let (cgroups, dir) = (self.inner.cgroups.clone(), sandbox.dir.clone());
        blocking(move || {
            if !shared && !parent.trim_matches('/').is_empty() {
                cgroups.remove(&parent)?;
            }
            remove_tree(&dir)
        })
        .await
    }

    pub(super) async fn delete_sandbox(&self, id: &str) -> Result<()> {
        match self.sandbox(id) {
            Ok(sandbox) => {
                self.tear_down(&sandbox).await?;
                self.tell(&sandbox, "");
                Ok(())
            }
            Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends and removes everything that this runtime ever made, images included: afterwards there is no process, mount,
    /// cgroup or file of it.
    ///
    /// # Errors
    /// When something resists; what could be removed is removed.
    pub async fn destroy_all(&self) -> Result<()> {
        let mut first_error = None;
        let sandboxes: Vec<_> = self.inner.sandboxes.lock().values().cloned().collect();
        let ending = sandboxes
            .iter()
            .map(|s| async move { (s, self.tear_down(s).await) });
        let mut ending = futures::stream::iter(ending).buffer_unordered(TEAR_DOWNS);
        while let Some((sandbox, ended)) = ending.next().await {
            if let Err(error) = ended {
                tracing::warn!(sandbox = sandbox.record.id, %error, "cannot remove a sandbox");
                first_error.get_or_insert(error);
            }
        }
        let (cgroups, config) = (self.inner.cgroups.clone(), self.inner.config.clone());
        let rest = blocking(move || {
            let root = config.cgroup_root.clone();
            if !root.trim_matches('/').is_empty() {
                cgroups.kill(&root, KILL_PATIENCE)?;
                cgroups.remove(&root)?;
            }
            for dir in [
                config.state.join("sandboxes"),
                config.root.join("containers"),
                config.root.join("images"),
            ] {
                remove_tree(&dir)?;
            }
            Ok(())
        })
        .await;
        match first_error {
            Some(error) => Err(error),
            None => rest,
        }
    }
}

fn write_files(sandbox: &Sandbox) -> anyhow::Result<()> {
    let dir = &sandbox.dir;
    fs::create_dir_all(dir.join("containers"))
        .with_context(|| format!("create {}", dir.display()))?;
    let config = &sandbox.record.config;
    write_readable(&dir.join("hostname"), &format!("{}\n", config.hostname))?;
    if let Some(dns) = &config.dns {
        write_readable(&dir.join("resolv.conf"), &plan::resolv_conf(dns))?;
    }
    record::write(&dir.join("sandbox.json"), &sandbox.record)
}

/// Users in containers read it, whatever Knarr's umask is.
fn write_readable(path: &Path, content: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let write = || {
        fs::write(path, content)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644))
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Takes off whatever is mounted there.
pub(super) fn unmount(path: &Path) -> anyhow::Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            // Not mounted, or not there at all.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("unmount {}", path.display())),
        }
    }
}
