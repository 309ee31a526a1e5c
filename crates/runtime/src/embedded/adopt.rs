//! Finds what runs, and follows what shims say.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use parking_lot::Mutex;

use super::{
    Container, Embedded, Sandbox, client, container::created, remove_tree, sandbox::unmount,
};
use crate::{
    record::{self, ContainerRecord, NetworkRecord, SandboxRecord, ShimRecord},
    types::{Result, SandboxState},
    wire::{Reply, Request},
};

impl Embedded {
    /// Takes over what an earlier Knarr left running, and cleans up what did not outlive it.
    pub(super) async fn adopt(&self) -> anyhow::Result<()> {
        let dir = self.inner.config.state.join("sandboxes");
        for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
            let path = entry?.path();
            match record::read::<SandboxRecord>(&path.join("sandbox.json")) {
                Ok(record) => self.adopt_sandbox(&path, record).await?,
                Err(error) => {
                    tracing::warn!(%error, "removing what is left of a sandbox");
                    discard_remains(&path)?;
                }
            }
        }
        self.drop_orphans()?;
        let live: Vec<_> = self
            .inner
            .sandboxes
            .lock()
            .values()
            .map(|s| s.status())
            .collect();
        let live: Vec<_> = live
            .into_iter()
            .filter(|s| s.state == SandboxState::Ready)
            .collect();
        self.inner
            .config
            .network
            .restore(&live)
            .await
            .context("restore the pod network")
    }

    async fn adopt_sandbox(&self, dir: &Path, record: SandboxRecord) -> anyhow::Result<()> {
        let id = record.id.clone();
        let network: Option<NetworkRecord> = record::read(&dir.join("network.json")).ok();
        let complete = record.config.host_network || network.is_some();
        let sandbox = Arc::new(Sandbox {
            dir: dir.to_owned(),
            record,
            state: Mutex::new(SandboxState::NotReady),
            ips: Mutex::new(network.unwrap_or_default().ips),
        });
        self.inner
            .sandboxes
            .lock()
            .insert(id.clone(), Arc::clone(&sandbox));
        self.adopt_containers(&sandbox)?;
        let alive = sandbox.shim().is_some_and(|shim| shim.alive());
        let stopped = dir.join("stopped").exists();
        if !complete {
            tracing::info!(sandbox = id, "removing a sandbox that was never finished");
            self.tear_down(&sandbox).await?;
        } else if alive && !stopped {
            *sandbox.state.lock() = SandboxState::Ready;
            self.watch(&sandbox);
        } else {
            self.halt(&sandbox).await?;
        }
        Ok(())
    }

    fn adopt_containers(&self, sandbox: &Sandbox) -> anyhow::Result<()> {
        let dir = sandbox.dir.join("containers");
        let Ok(entries) = fs::read_dir(&dir) else {
            return Ok(());
        };
        for entry in entries {
            let path = entry?.path();
            let record: ContainerRecord = match record::read(&path.join("container.json")) {
                Ok(record) => record,
                Err(error) => {
                    tracing::warn!(%error, "removing what is left of a container");
                    remove_tree(&path)?;
                    continue;
                }
            };
            let id = record.spec.id.clone();
            let status = record::read(&path.join("run.json")).unwrap_or_else(|_| created(&id));
            self.inner.images.hold(&id, record.spec.layers.clone());
            let container = Container::new(id.clone(), path, record, status);
            self.inner.containers.lock().insert(id, container);
        }
        Ok(())
    }

    /// What containers wrote whose records are gone, e.g. after a reboot emptied `/run`.
    fn drop_orphans(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(self.inner.config.root.join("containers"))? {
            let entry = entry?;
            let known = self
                .inner
                .containers
                .lock()
                .contains_key(&*entry.file_name().to_string_lossy());
            if !known {
                remove_tree(&entry.path())?;
            }
        }
        self.inner.images.collect_layers().map(drop)
    }

    /// Follows a sandbox's shim until it ends.
    pub(super) fn watch(&self, sandbox: &Arc<Sandbox>) {
        let (runtime, sandbox) = (self.clone(), Arc::clone(sandbox));
        tokio::spawn(async move {
            while let Err(error) = runtime.follow(&sandbox).await {
                if *sandbox.state.lock() == SandboxState::NotReady {
                    return;
                }
                if !sandbox.shim().is_some_and(|shim| shim.alive()) {
                    runtime.bury(&sandbox).await;
                    return;
                }
                tracing::debug!(sandbox = sandbox.record.id, %error, "lost the shim; asking again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }

    /// Ends only with an error: a shim says nothing more when it has ended.
    async fn follow(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let mut connection = client::connect(&sandbox.dir).await?;
        connection
            .send(&Request::Watch, &[])
            .await
            .context("watch")?;
        loop {
            match connection.receive::<Reply>().await.context("watch")? {
                Some((Reply::Status(status), _)) => self.take_status(sandbox, status),
                Some(_) => {}
                None => return Err(anyhow::anyhow!("the shim hung up").into()),
            }
        }
    }

    /// The shim died: its containers die with it.
    async fn bury(&self, sandbox: &Arc<Sandbox>) {
        tracing::warn!(
            sandbox = sandbox.record.id,
            "the process that held this pod died"
        );
        *sandbox.state.lock() = SandboxState::NotReady;
        if let Err(error) = self.kill_leftovers(sandbox).await {
            tracing::warn!(sandbox = sandbox.record.id, %error, "cannot end what it left");
        }
        self.settle_containers(sandbox);
        self.tell(sandbox, "");
    }
}

fn discard_remains(dir: &Path) -> anyhow::Result<()> {
    if let Ok(shim) = record::read::<ShimRecord>(&dir.join("shim.json"))
        && shim.alive()
    {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(shim.pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
    unmount(&dir.join("netns"))?;
    unmount(&dir.join("shm"))?;
    remove_tree(dir)
}
