//! What a kubelet is started with.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use k8s_openapi::api::core::v1::Taint;
use knarr_client::Informers;
use knarr_runtime::Runtime;

use crate::Thresholds;

/// What a kubelet is started with.
#[derive(Clone)]
pub struct Config {
    pub node_name: String,
    /// Addresses of the node, primary first; they become `InternalIP`s and pods' `hostIPs`.
    pub node_ips: Vec<IpAddr>,
    /// Where pods' volumes and files live, e.g. `<data>/kubelet`.
    pub root_dir: PathBuf,
    /// Where container logs go, as `/var/log/pods` elsewhere.
    pub log_dir: PathBuf,
    /// Manifests of pods that run without an API server asking for them.
    pub static_pod_dir: Option<PathBuf>,
    /// Name servers of pods with DNS policy `ClusterFirst`. Empty means the host's.
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// The resolver file pods inherit from, normally `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    pub runtime: Arc<dyn Runtime>,
    /// Their client is the one everything is written with.
    pub informers: Informers,
    /// Certificate of the HTTPS server; see [`crate::server::tls`].
    pub tls: Arc<rustls::ServerConfig>,
    /// Usually port 10250 on every address.
    pub listen: SocketAddr,
    pub max_pods: u32,
    /// What must be left of the machine for it not to be under pressure.
    pub eviction_hard: Thresholds,
    /// All pods' cgroups are below `<cgroup_root>/kubepods`.
    pub cgroup_root: String,
    /// Written to `spec.podCIDRs` at registration; empty leaves them to a controller.
    pub pod_cidrs: Vec<String>,
    /// Added to the node at registration.
    pub labels: BTreeMap<String, String>,
    /// Set on the node when it is created.
    pub taints: Vec<Taint>,
    /// When false, somebody else creates the Node object.
    pub register: bool,
    /// As in `nodeInfo.kubeletVersion`, e.g. `v1.36.2`.
    pub version: String,
}

impl Config {
    /// Where everything of one pod lives.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    /// Where the logs of one pod's containers go.
    pub fn pod_log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.log_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}
