//! What passes between the kubelet and a runtime. Field meanings follow the CRI v1 messages of the same names.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a runtime call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No sandbox, container or image of that id. Removing calls treat this as success.
    #[error("{0} not found")]
    NotFound(String),
    /// The request cannot be satisfied as it stands (bad reference, bad user, missing command).
    #[error("{0}")]
    Invalid(String),
    /// The registry refused or failed; the text is the registry's reason.
    #[error("{0}")]
    Image(String),
    /// The call took longer than it was allowed to.
    #[error("{0}")]
    Timeout(String),
    /// Anything else; the chain of causes is kept.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a sandbox is wanted for. One sandbox per pod incarnation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SandboxConfig {
    pub pod_name: String,
    pub pod_namespace: String,
    pub pod_uid: String,
    /// Counts the sandboxes of this pod: 0 for the first.
    pub attempt: u32,
    /// The pod's host name inside its UTS namespace. Empty with `host_network`.
    pub hostname: String,
    /// Where container logs go: `/var/log/pods/<ns>_<name>_<uid>`; container log paths are relative to it.
    pub log_directory: PathBuf,
    /// The pod's `/etc/resolv.conf`. `None` leaves the host's.
    pub dns: Option<DnsConfig>,
    pub port_mappings: Vec<PortMapping>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// cgroup of the pod, relative to the hierarchy's root, e.g. `/knarr/kubepods/burstable/pod<uid>`.
    pub cgroup_parent: String,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    /// One PID namespace for all containers of the pod (`shareProcessNamespace`).
    pub share_pid: bool,
    pub sysctls: BTreeMap<String, String>,
    /// Pod level limits, applied to `cgroup_parent`.
    pub resources: LinuxResources,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DnsConfig {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// A `hostPort` of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub protocol: Protocol,
    pub container_port: u16,
    pub host_port: u16,
    /// `None` means every address of the node.
    pub host_ip: Option<IpAddr>,
}

/// cgroup settings. `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinuxResources {
    /// cgroup v1 scale (2..=262144); v2 weight is derived from it.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; -1 means no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Bytes.
    pub memory_limit: Option<i64>,
    pub oom_score_adj: Option<i32>,
    pub pids_limit: Option<i64>,
    pub cpuset_cpus: Option<String>,
    /// Page size (`2MB`) to limit in bytes.
    pub hugepage_limits: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Container name inside the pod.
    pub name: String,
    pub attempt: u32,
    /// Id of an image in the store, as [`Runtime::pull_image`] or [`Runtime::image_status`] gave it.
    pub image_id: String,
    /// The reference the user wrote; only for status.
    pub image_ref: String,
    /// Replaces the image's ENTRYPOINT when not empty.
    pub command: Vec<String>,
    /// Replaces the image's CMD when not empty.
    pub args: Vec<String>,
    /// Empty means the image's.
    pub working_dir: String,
    /// Later entries win; the image's environment comes before all of them.
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Relative to the sandbox's `log_directory`, e.g. `web/0.log`.
    pub log_path: PathBuf,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    pub resources: LinuxResources,
    pub security: SecurityContext,
    /// Host file that is bind-mounted at `terminationMessagePath`, already among `mounts`; only for status.
    pub termination_message: Option<PathBuf>,
    /// `STOPSIGNAL` override, e.g. `SIGQUIT`. `None` means the image's, then SIGTERM.
    pub stop_signal: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    pub container_path: PathBuf,
    pub host_path: PathBuf,
    pub readonly: bool,
    pub propagation: Propagation,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub container_path: PathBuf,
    pub host_path: PathBuf,
    /// cgroup permissions out of `rwm`.
    pub permissions: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SecurityContext {
    pub privileged: bool,
    pub add_capabilities: Vec<String>,
    pub drop_capabilities: Vec<String>,
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    /// Looked up in the image's /etc/passwd when `run_as_user` is none and this is some.
    pub run_as_username: Option<String>,
    pub supplemental_groups: Vec<i64>,
    /// When true, groups of the image's /etc/group are not added (`supplementalGroupsPolicy: Strict`).
    pub strict_groups: bool,
    pub readonly_rootfs: bool,
    pub no_new_privs: bool,
    pub seccomp: Seccomp,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Seccomp {
    #[default]
    Unconfined,
    RuntimeDefault,
    Localhost(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxState {
    Ready,
    NotReady,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxStatus {
    pub id: String,
    pub config: SandboxConfig,
    pub state: SandboxState,
    pub created_at: Timestamp,
    /// Addresses of the pod, primary first. Empty with `host_network`.
    pub ips: Vec<IpAddr>,
    /// Path to a file that opens the pod's network namespace; `None` with `host_network`.
    pub netns: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    Unknown,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub id: String,
    pub sandbox_id: String,
    pub name: String,
    pub attempt: u32,
    pub state: ContainerState,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// 128 + signal for a process that a signal ended.
    pub exit_code: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerCannotRun`.
    pub reason: String,
    pub message: String,
    pub image_ref: String,
    /// `sha256:…` id of the image's config.
    pub image_id: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub log_path: PathBuf,
    pub pid: Option<i32>,
}

/// A change the kubelet should look at. Delivered at least once; the kubelet re-reads the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub sandbox_id: String,
    pub pod_uid: String,
    /// Empty when the sandbox itself changed.
    pub container_id: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:…` of the config blob.
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    /// Bytes on disk, unpacked.
    pub size: u64,
    /// `USER` of the image, as written.
    pub user: String,
    /// `VOLUME`s of the image.
    pub volumes: Vec<String>,
    pub pinned: bool,
}

/// Credentials for one registry.
#[derive(Debug, Clone, Default)]
pub struct RegistryAuth {
    pub username: String,
    pub password: String,
    pub identity_token: String,
}

/// What a container command is wanted with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExecConfig {
    pub command: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// The three streams of a process, with a way to resize its terminal and to learn how it ended.
pub struct Streams {
    pub stdin: Option<BoxWrite>,
    pub stdout: Option<BoxRead>,
    pub stderr: Option<BoxRead>,
    /// Columns, rows. Dropping it changes nothing.
    pub resize: tokio::sync::mpsc::Sender<(u16, u16)>,
    /// Resolves with the exit code; for an attach, when the container ends.
    pub exit: tokio::sync::oneshot::Receiver<Result<i32>>,
}

/// What an exec without streams gave.
#[derive(Debug, Clone, Default)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ContainerStats {
    pub container_id: String,
    /// Cumulative cpu time in nanoseconds.
    pub cpu_usage_nanos: u64,
    /// Bytes that cannot be reclaimed at once.
    pub memory_working_set: u64,
    pub memory_usage: u64,
    pub memory_rss: u64,
    pub writable_layer_bytes: u64,
}

/// Reports bytes as they arrive: (done, total) over all layers. Total is 0 while unknown.
pub type Progress = std::sync::Arc<dyn Fn(u64, u64) + Send + Sync>;

/// What the kubelet needs of a container runtime. The shape is CRI v1's, so that `cri` is a thin client.
///
/// Calls are idempotent where CRI's are: stopping what is stopped and removing what is gone succeed.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Name and version for `Node.status.nodeInfo.containerRuntimeVersion`, e.g. `knarr://0.1.0`.
    fn version(&self) -> String;

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String>;
    /// Kills what still runs in it, then detaches its network. The record stays until removed.
    async fn stop_sandbox(&self, id: &str) -> Result<()>;
    async fn remove_sandbox(&self, id: &str) -> Result<()>;
    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>>;

    async fn create_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String>;
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Stop signal, then SIGKILL after `timeout`. Returns when the container has ended.
    async fn stop_container(&self, id: &str, timeout: std::time::Duration) -> Result<()>;
    async fn remove_container(&self, id: &str) -> Result<()>;
    async fn containers(&self) -> Result<Vec<ContainerStatus>>;
    async fn container_status(&self, id: &str) -> Result<ContainerStatus>;
    async fn update_resources(&self, id: &str, resources: &LinuxResources) -> Result<()>;
    /// Makes the writer of the container's log open its file anew, after a rotation.
    async fn reopen_log(&self, id: &str) -> Result<()>;
    async fn stats(&self) -> Result<Vec<ContainerStats>>;

    async fn exec(&self, id: &str, config: &ExecConfig) -> Result<Streams>;
    async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: std::time::Duration,
    ) -> Result<ExecOutput>;
    async fn attach(&self, id: &str, config: &ExecConfig) -> Result<Streams>;
    /// A TCP connection to a port on loopback inside the pod's network namespace.
    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<tokio::net::TcpStream>;

    /// Changes of containers and sandboxes from now on.
    fn events(&self) -> tokio::sync::broadcast::Receiver<Event>;

    /// `None` when the image is not in the store.
    async fn image_status(&self, reference: &str) -> Result<Option<Image>>;
    async fn images(&self) -> Result<Vec<Image>>;
    /// Returns the image's id. A pull of what is already complete in the store costs one manifest request.
    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: Option<Progress>,
    ) -> Result<Image>;
    async fn remove_image(&self, reference: &str) -> Result<()>;
}

/// What connects a sandbox to the pod network. The embedded runtime calls it as a CRI runtime calls CNI.
#[async_trait]
pub trait SandboxNetwork: Send + Sync {
    /// Gives the namespace at `netns` its interface and addresses, primary first. Idempotent for the same id.
    async fn attach(
        &self,
        sandbox_id: &str,
        netns: &std::path::Path,
        config: &SandboxConfig,
    ) -> anyhow::Result<Vec<IpAddr>>;
    /// Takes interface, addresses and host ports back. Succeeds when there are none.
    async fn detach(&self, sandbox_id: &str) -> anyhow::Result<()>;
    /// After a restart: the sandboxes that live, with their addresses, so that nothing is given twice and leftovers go.
    async fn restore(&self, live: &[SandboxStatus]) -> anyhow::Result<()>;
}
