//! The runtime's configuration of sandboxes and containers.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::Container;
use knarr_runtime::{ContainerConfig, Image, Mount, PortMapping, Protocol, SandboxConfig};

use super::{dns, expand::expand, security};
use crate::{
    context::Context,
    pod::{status::IMAGE_ID, wanted::Wanted},
    resources::{cgroup_parent, container_resources, pod_resources, qos},
    view::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID},
};

/// Annotations on records, for a kubelet that finds them without the pod.
pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const TERMINATION_FILE: &str = "knarr.io/termination-message-file";
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";

fn pod_labels(wanted: &Wanted) -> BTreeMap<String, String> {
    let mut labels = wanted.pod.metadata.labels.clone().unwrap_or_default();
    labels.insert(POD_NAME.to_owned(), wanted.name().to_owned());
    labels.insert(POD_NAMESPACE.to_owned(), wanted.namespace().to_owned());
    labels.insert(POD_UID.to_owned(), wanted.uid().to_owned());
    labels
}

/// What the sandbox of a pod is made from.
pub fn sandbox(ctx: &Context, wanted: &Wanted, attempt: u32) -> SandboxConfig {
    let spec = wanted.spec();
    let config = &ctx.config;
    let host_network = wanted.host_network();
    let (hostname, _) = dns::hostname(
        spec,
        wanted.name(),
        wanted.namespace(),
        &config.cluster_domain,
    );
    let security = spec.security_context.clone().unwrap_or_default();
    let sysctls = security
        .sysctls
        .unwrap_or_default()
        .into_iter()
        .map(|s| (s.name, s.value));
    let mut annotations = wanted.pod.metadata.annotations.clone().unwrap_or_default();
    annotations.insert(GRACE.to_owned(), wanted.grace().to_string());
    SandboxConfig {
        pod_name: wanted.name().to_owned(),
        pod_namespace: wanted.namespace().to_owned(),
        pod_uid: wanted.uid().to_owned(),
        attempt,
        hostname: if host_network {
            String::new()
        } else {
            hostname
        },
        log_directory: config.pod_log_dir(wanted.namespace(), wanted.name(), wanted.uid()),
        dns: Some(dns::config(
            spec,
            wanted.namespace(),
            &config.cluster_dns,
            &config.cluster_domain,
            &ctx.host_dns,
        )),
        port_mappings: if host_network {
            Vec::new()
        } else {
            port_mappings(wanted)
        },
        labels: pod_labels(wanted),
        annotations,
        cgroup_parent: cgroup_parent(&config.cgroup_root, qos(&wanted.pod), wanted.uid()),
        host_network,
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        share_pid: spec.share_process_namespace == Some(true),
        sysctls: sysctls.collect(),
        resources: pod_resources(&wanted.pod),
    }
}

/// `hostPort`s of all containers.
pub fn port_mappings(wanted: &Wanted) -> Vec<PortMapping> {
    let ports = wanted
        .containers
        .iter()
        .flat_map(|(_, c)| c.ports.iter().flatten());
    let mapping = |p: &k8s_openapi::api::core::v1::ContainerPort| {
        Some(PortMapping {
            protocol: match p.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            container_port: u16::try_from(p.container_port).ok()?,
            host_port: u16::try_from(p.host_port?).ok().filter(|p| *p > 0)?,
            host_ip: p
                .host_ip
                .as_deref()
                .and_then(|ip| ip.parse::<IpAddr>().ok())
                .filter(|ip| !ip.is_unspecified()),
        })
    };
    ports.filter_map(mapping).collect()
}

/// What surrounds a container.
pub struct Surroundings<'a> {
    pub attempt: u32,
    pub image: &'a Image,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub termination_file: PathBuf,
}

/// What a container is made from.
pub fn container(
    ctx: &Context,
    wanted: &Wanted,
    container: &Container,
    s: Surroundings<'_>,
) -> ContainerConfig {
    let lookup = |name: &str| {
        s.env
            .iter()
            .rev()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    };
    let expanded = |words: &Option<Vec<String>>| {
        words
            .iter()
            .flatten()
            .map(|w| expand(w, lookup))
            .collect::<Vec<_>>()
    };
    let mut labels = pod_labels(wanted);
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    let image_id = s.image.repo_digests.first().unwrap_or(&s.image.id).clone();
    let annotations = BTreeMap::from([
        (RESTART_COUNT.to_owned(), s.attempt.to_string()),
        (
            TERMINATION_PATH.to_owned(),
            container
                .termination_message_path
                .clone()
                .unwrap_or_default(),
        ),
        (
            TERMINATION_POLICY.to_owned(),
            container
                .termination_message_policy
                .clone()
                .unwrap_or_default(),
        ),
        (
            TERMINATION_FILE.to_owned(),
            s.termination_file.to_string_lossy().into_owned(),
        ),
        (GRACE.to_owned(), wanted.grace().to_string()),
        (IMAGE_ID.to_owned(), image_id),
    ]);
    ContainerConfig {
        name: container.name.clone(),
        attempt: s.attempt,
        image_id: s.image.id.clone(),
        image_ref: container.image.clone().unwrap_or_default(),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: s.mounts,
        devices: Vec::new(),
        labels,
        annotations,
        log_path: Path::new(&container.name).join(format!("{}.log", s.attempt)),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        resources: container_resources(&wanted.pod, container, ctx.capacity.memory),
        security: security::context(&wanted.pod, container, &ctx.config.root_dir.join("seccomp")),
        termination_message: Some(s.termination_file),
        stop_signal: container
            .lifecycle
            .as_ref()
            .and_then(|l| l.stop_signal.clone()),
        env: s.env,
    }
}
