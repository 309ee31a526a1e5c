//! Containers in sandboxes.

use std::{fs, sync::Arc, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Container, Embedded, Sandbox, blocking, client, new_id, plan, remove_tree};
use crate::{
    record::{self, ContainerRecord},
    spec::RunStatus,
    types::{
        ContainerConfig, ContainerState, ContainerStats, ContainerStatus, Error, LinuxResources,
        Result, SandboxState,
    },
    wire::Request,
};

/// How long a process may take to vanish after SIGKILL: longer only while the kernel waits for a disk.
const KILLED: Duration = Duration::from_secs(30);

impl Container {
    pub(super) fn new(
        id: String,
        dir: std::path::PathBuf,
        record: ContainerRecord,
        status: RunStatus,
    ) -> Arc<Self> {
        let status = watch::Sender::new(status);
        Arc::new(Self {
            id,
            dir,
            record: Mutex::new(record),
            status,
            turn: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn state(&self) -> ContainerState {
        self.status.borrow().state
    }

    pub(super) fn status(&self) -> ContainerStatus {
        let record = self.record.lock();
        let run = self.status.borrow().clone();
        let config = &record.config;
        ContainerStatus {
            id: self.id.clone(),
            sandbox_id: record.sandbox.clone(),
            name: config.name.clone(),
            attempt: config.attempt,
            state: run.state,
            created_at: record.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            exit_code: run.exit_code,
            reason: run.reason,
            message: run.message,
            image_ref: config.image_ref.clone(),
            image_id: record.image_id.clone(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            log_path: record.spec.log.clone().unwrap_or_default(),
            pid: run.pid,
        }
    }

    /// Waits until it has ended; `false` when it takes too long.
    async fn ends_within(&self, patience: Duration) -> bool {
        let mut status = self.status.subscribe();
        let ended = status.wait_for(|s| matches!(s.state, ContainerState::Exited));
        tokio::time::timeout(patience, ended)
            .await
            .is_ok_and(|ended| ended.is_ok())
    }
}

/// A container that was made and not started.
pub(super) fn created(id: &str) -> RunStatus {
    RunStatus {
        container: id.to_owned(),
        state: ContainerState::Created,
        pid: None,
        started_at: None,
        finished_at: None,
        exit_code: None,
        reason: String::new(),
        message: String::new(),
    }
}

impl Embedded {
    pub(super) async fn make_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
    ) -> Result<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        if *sandbox.state.lock() != SandboxState::Ready {
            return Err(Error::Invalid(format!(
                "sandbox container \"{sandbox_id}\" is not running"
            )));
        }
        let id = new_id();
        let image = self.inner.images.prepare(&config.image_id, &id)?;
        let made = self.record_container(&id, &sandbox, config, &image);
        match made {
            Ok(container) => {
                self.inner.containers.lock().insert(id.clone(), container);
                self.tell(&sandbox, &id);
                Ok(id)
            }
            Err(error) => {
                self.inner.images.release(&id);
                let _ = remove_tree(&self.writable_dir(&id));
                Err(error)
            }
        }
    }

    fn record_container(
        &self,
        id: &str,
        sandbox: &Sandbox,
        config: &ContainerConfig,
        image: &crate::images::Prepared,
    ) -> Result<Arc<Container>> {
        let places = plan::Places {
            layers_dir: self.inner.images.layers_dir(),
            writable: self.writable_dir(id),
            sandbox_dir: sandbox.dir.clone(),
        };
        let spec = plan::container_spec(id, &sandbox.record.config, config, image, &places)?;
        let wanted = [
            config.stop_signal.as_deref(),
            Some(image.config.stop_signal.as_str()),
        ];
        let stop_signal = wanted
            .into_iter()
            .flatten()
            .find_map(plan::signal_number)
            .unwrap_or(libc::SIGTERM);
        let dir = sandbox.dir.join("containers").join(id);
        for dir in [
            &spec.root,
            &places.writable.join("fs"),
            &places.writable.join("work"),
        ] {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        like_topmost_layer(&spec).context("prepare the container's root directory")?;
        let record = ContainerRecord {
            sandbox: sandbox.record.id.clone(),
            config: config.clone(),
            spec,
            created_at: Timestamp::now(),
            image_id: image.id.clone(),
            stop_signal,
        };
        record::write(&dir.join("container.json"), &record)?;
        Ok(Container::new(id.to_owned(), dir, record, created(id)))
    }

    pub(super) async fn launch(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let _turn = container.turn.lock().await;
        if container.state() != ContainerState::Created {
            let state = container.state();
            return Err(Error::Invalid(format!(
                "container \"{id}\" is in {state:?} state"
            )));
        }
        let (sandbox, spec) = {
            let record = container.record.lock();
            (self.sandbox(&record.sandbox)?, record.spec.clone())
        };
        match client::call(&sandbox.dir, &Request::Start(Box::new(spec))).await {
            Ok(_) => {
                // The watch tells the details; they are on disk already.
                self.take_status(&sandbox, record::read(&container.dir.join("run.json"))?);
                Ok(())
            }
            Err(error) => {
                let reason = format!("unable to start container process: {error:#}");
                let status = RunStatus {
                    state: ContainerState::Exited,
                    finished_at: Some(Timestamp::now()),
                    exit_code: Some(128),
                    reason: "StartError".into(),
                    message: reason.clone(),
                    ..created(id)
                };
                record::write(&container.dir.join("run.json"), &status)?;
                self.take_status(&sandbox, status);
                Err(Error::Invalid(format!(
                    "failed to start container \"{id}\": {reason}"
                )))
            }
        }
    }

    /// Takes over what a shim says about a container. The same may be said twice, or late.
    pub(super) fn take_status(&self, sandbox: &Sandbox, status: RunStatus) {
        let Ok(container) = self.container(&status.container) else {
            return;
        };
        let news = container.status.send_if_modified(|known| {
            let later = rank(status.state) > rank(known.state);
            if later {
                known.clone_from(&status);
            }
            later
        });
        if news {
            self.tell(sandbox, &container.id);
        }
    }

    pub(super) async fn halt_container(&self, id: &str, patience: Duration) -> Result<()> {
        let container = match self.container(id) {
            Err(Error::NotFound(_)) => return Ok(()),
            found => found?,
        };
        if container.state() != ContainerState::Running {
            return Ok(());
        }
        let (sandbox_id, stop_signal) = {
            let record = container.record.lock();
            (record.sandbox.clone(), record.stop_signal)
        };
        let sandbox = self.sandbox(&sandbox_id)?;
        let send = |signal| {
            let request = Request::Kill {
                container: id.to_owned(),
                signal,
            };
            let dir = sandbox.dir.clone();
            async move { client::call(&dir, &request).await }
        };
        if !patience.is_zero() {
            send(stop_signal).await?;
            if container.ends_within(patience).await {
                return Ok(());
            }
        }
        send(libc::SIGKILL).await?;
        if container.ends_within(KILLED).await {
            return Ok(());
        }
        Err(Error::Timeout(format!(
            "container \"{id}\" does not end after SIGKILL"
        )))
    }

    pub(super) async fn delete_container(&self, id: &str) -> Result<()> {
        let container = match self.container(id) {
            Err(Error::NotFound(_)) => return Ok(()),
            found => found?,
        };
        self.halt_container(id, Duration::ZERO).await?;
        let sandbox = self.sandbox(&container.record.lock().sandbox);
        if let (Ok(sandbox), ContainerState::Exited) = (sandbox, container.state()) {
            // A shim that has ended has nothing to forget.
            let _ = client::call(
                &sandbox.dir,
                &Request::Forget {
                    container: id.to_owned(),
                },
            )
            .await;
        }
        self.discard(&container).await?;
        if let Ok(sandbox) = self.sandbox(&container.record.lock().sandbox) {
            self.tell(&sandbox, id);
        }
        Ok(())
    }

    /// Removes what is on disk of a container that has ended.
    pub(super) async fn discard(&self, container: &Arc<Container>) -> Result<()> {
        let _turn = container.turn.lock().await;
        let (writable, dir) = (self.writable_dir(&container.id), container.dir.clone());
        blocking(move || {
            remove_tree(&writable)?;
            remove_tree(&dir)
        })
        .await?;
        self.inner.images.release(&container.id);
        self.inner.containers.lock().remove(&container.id);
        Ok(())
    }

    pub(super) async fn set_resources(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        let container = self.container(id)?;
        let group = {
            let mut record = container.record.lock();
            record.config.resources.clone_from(resources);
            record.spec.resources.clone_from(resources);
            record::write(&container.dir.join("container.json"), &*record)?;
            record.spec.cgroup.clone()
        };
        if container.state() != ContainerState::Running {
            return Ok(());
        }
        let (cgroups, resources) = (self.inner.cgroups.clone(), resources.clone());
        blocking(move || cgroups.apply(&group, &resources)).await
    }

    pub(super) async fn usage(&self) -> Result<Vec<ContainerStats>> {
        let running: Vec<_> = self
            .inner
            .containers
            .lock()
            .values()
            .filter(|c| c.state() == ContainerState::Running)
            .map(|c| {
                (
                    c.id.clone(),
                    c.record.lock().spec.cgroup.clone(),
                    self.writable_dir(&c.id).join("fs"),
                )
            })
            .collect();
        let cgroups = self.inner.cgroups.clone();
        blocking(move || {
            let stats = running.into_iter().map(|(container_id, group, written)| {
                let usage = cgroups.usage(&group);
                ContainerStats {
                    container_id,
                    cpu_usage_nanos: usage.cpu_nanos,
                    memory_working_set: usage.working_set,
                    memory_usage: usage.memory,
                    memory_rss: usage.rss,
                    writable_layer_bytes: size_of_tree(&written),
                }
            });
            Ok(stats.collect())
        })
        .await
    }
}

/// Overlayfs shows the upper directory as the root: it is to look as the image's, whatever Knarr's umask is.
fn like_topmost_layer(spec: &crate::spec::ContainerSpec) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let Some(topmost) = spec.layers.last() else {
        return Ok(());
    };
    let like = fs::metadata(spec.layers_dir.join(topmost))?;
    let upper = spec.writable.join("fs");
    chown(&upper, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(&upper, like.permissions())
}

/// A state is never followed by one of a lower rank.
fn rank(state: ContainerState) -> u8 {
    match state {
        ContainerState::Unknown => 0,
        ContainerState::Created => 1,
        ContainerState::Running => 2,
        ContainerState::Exited => 3,
    }
}

/// Bytes that files take on disk.
fn size_of_tree(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size_of_tree(&entry.path()) + data.blocks() * 512,
            Ok(data) => data.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
