//! The built-in runtime: OCI containers made by Knarr itself, one shim process per pod.
//!
//! Knarr keeps an index in memory of what the state directory and the shims say. Both outlive it: [`Embedded::open`] finds
//! what runs and adopts it.

mod adopt;
mod client;
mod container;
mod exec;
mod plan;
mod runtime;
mod sandbox;
mod streams;

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use crate::{
    cgroup::Cgroups,
    images::{ImageStore, Puller, RegistryConfig},
    record::{ContainerRecord, SandboxRecord},
    spec::RunStatus,
    types::{Error, Event, Result, SandboxNetwork, SandboxState},
};

/// How long killing a whole tree of processes may take.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Where the runtime keeps things and whom it works with.
#[derive(Clone)]
pub struct Config {
    /// Persistent: images, layers, what containers write. Not on an overlay file system.
    pub root: PathBuf,
    /// Run state; normally below `/run`.
    pub state: PathBuf,
    /// cgroup that everything of the runtime lies in, e.g. `/knarr`.
    pub cgroup_root: String,
    /// The executable to start with the argument `shim`; normally `/proc/self/exe`.
    pub shim: PathBuf,
    pub network: Arc<dyn SandboxNetwork>,
    pub registries: RegistryConfig,
}

/// The built-in runtime. Clones share the same state.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    images: Arc<ImageStore>,
    puller: Puller,
    cgroups: Cgroups,
    sandboxes: Mutex<HashMap<String, Arc<Sandbox>>>,
    containers: Mutex<HashMap<String, Arc<Container>>>,
    events: broadcast::Sender<Event>,
}

struct Sandbox {
    dir: PathBuf,
    record: SandboxRecord,
    state: Mutex<SandboxState>,
    ips: Mutex<Vec<IpAddr>>,
}

struct Container {
    id: String,
    /// `<state>/sandboxes/<sandbox>/containers/<id>`.
    dir: PathBuf,
    record: Mutex<ContainerRecord>,
    status: watch::Sender<RunStatus>,
    /// One start or removal at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Embedded {
    /// Opens the runtime and adopts what runs.
    ///
    /// # Errors
    /// When a directory is not writable, the image store is damaged, or no cgroups are mounted.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        for dir in [
            config.root.join("containers"),
            config.state.join("sandboxes"),
        ] {
            private_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        private_dir(&config.root.join("images")).context("create image directory")?;
        let images = Arc::new(ImageStore::open(&config.root.join("images"))?);
        let inner = Inner {
            images,
            puller: Puller::new(config.registries.clone())?,
            cgroups: Cgroups::detect()?,
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            events: broadcast::channel(1024).0,
            config,
        };
        let runtime = Self {
            inner: Arc::new(inner),
        };
        runtime.adopt().await?;
        say_what_is_lacking();
        Ok(runtime)
    }

    /// The images that containers are made of.
    #[must_use]
    pub fn image_store(&self) -> &Arc<ImageStore> {
        &self.inner.images
    }

    /// The control groups of this machine.
    #[must_use]
    pub fn cgroups(&self) -> &Cgroups {
        &self.inner.cgroups
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        let found = self.inner.sandboxes.lock().get(id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("sandbox \"{id}\"")))
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        let found = self.inner.containers.lock().get(id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("container \"{id}\"")))
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        self.inner
            .containers
            .lock()
            .values()
            .filter(|c| c.record.lock().sandbox == sandbox)
            .cloned()
            .collect()
    }

    fn sandbox_dir(&self, id: &str) -> PathBuf {
        self.inner.config.state.join("sandboxes").join(id)
    }

    /// What a container writes.
    fn writable_dir(&self, id: &str) -> PathBuf {
        self.inner.config.root.join("containers").join(id)
    }

    fn tell(&self, sandbox: &Sandbox, container: &str) {
        // Nobody may be listening.
        let _ = self.inner.events.send(Event {
            sandbox_id: sandbox.record.id.clone(),
            pod_uid: sandbox.record.config.pod_uid.clone(),
            container_id: container.to_owned(),
        });
    }
}

/// Images bring set-user-id programs along, which users of this machine must not reach.
fn private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// Once per start rather than for each container.
fn say_what_is_lacking() {
    const CAP_SYS_RESOURCE: u64 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    if effective.is_some_and(|bits| bits & (1 << CAP_SYS_RESOURCE) == 0) {
        tracing::info!(
            "CAP_SYS_RESOURCE is missing: processes keep their oom_score_adj where it was to be lowered"
        );
    }
}

/// Runs what blocks beside the event loop.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(unwrap_error),
        Err(panic) => Err(Error::Other(anyhow::anyhow!("{panic}"))),
    }
}

/// An error of this crate that went through `anyhow` keeps its kind.
fn unwrap_error(error: anyhow::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(Error::Other)
}

/// 64 hexadecimal digits.
fn new_id() -> String {
    format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    )
}

fn remove_tree(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
