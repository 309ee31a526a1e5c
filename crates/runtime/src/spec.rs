//! What a shim is told to run: everything is decided, nothing is looked up but names in the image's own files.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::types::{ContainerState, Device, LinuxResources, Mount, Seccomp};

/// One container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerSpec {
    pub id: String,
    pub layers_dir: PathBuf,
    /// Relative to `layers_dir`, the lowest first.
    pub layers: Vec<String>,
    /// Holds what the container writes; made and removed by Knarr.
    pub writable: PathBuf,
    /// An empty directory to assemble the root file system on.
    pub root: PathBuf,
    pub readonly_rootfs: bool,
    pub process: ProcessSpec,
    pub pid_namespace: PidNamespace,
    pub mounts: Vec<Mount>,
    /// What `/dev/shm` shows.
    pub shm: PathBuf,
    pub devices: Vec<Device>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub privileged: bool,
    pub cgroup: String,
    pub resources: LinuxResources,
    /// `None` drops the output.
    pub log: Option<PathBuf>,
    pub stdin: bool,
    pub stdin_once: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PidNamespace {
    Container,
    Pod,
    Host,
}

/// A process in a container: its first, or one that is added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: UserSpec,
    /// Bit n is capability n.
    pub capabilities: u64,
    pub no_new_privs: bool,
    pub seccomp: Seccomp,
    pub terminal: bool,
    pub oom_score_adj: Option<i32>,
}

/// Names are looked up in the container's own `/etc/passwd` and `/etc/group`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserSpec {
    /// Name or number; empty means 0.
    pub user: String,
    /// Name or number; empty means the user's.
    pub group: String,
    pub supplemental: Vec<u32>,
    /// Leave out the groups that `/etc/group` gives the user.
    pub strict: bool,
}

/// How far a container has come. Written by its shim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunStatus {
    pub container: String,
    pub state: ContainerState,
    pub pid: Option<i32>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub exit_code: Option<i32>,
    pub reason: String,
    pub message: String,
}
