//! What a Node object says, computed from what was measured. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
        NodeSpec, NodeStatus, NodeSystemInfo, Taint,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
    jiff::Timestamp,
};
use knarr_runtime::Image;

use super::thresholds::{Signal, Thresholds};
use crate::machine::Capacity;

/// As many images as the status tells of.
const MAX_IMAGES: usize = 50;
/// Names told per image.
const MAX_IMAGE_NAMES: usize = 5;

/// Everything a status is made from.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub name: String,
    pub ips: Vec<IpAddr>,
    pub capacity: Capacity,
    pub hugepages: Vec<(String, i64)>,
    pub max_pods: u32,
    pub port: u16,
    pub info: NodeSystemInfo,
    pub images: Vec<Image>,
    /// Bytes that could be given to processes now.
    pub memory_available: i64,
    /// Bytes free on the pods' file system.
    pub disk_available: i64,
    pub inodes: Option<(u64, u64)>,
    pub pids: Option<(u64, u64)>,
    /// What must be left for the node not to be under pressure.
    pub thresholds: Thresholds,
    /// Why the runtime cannot run pods, when it cannot.
    pub runtime_error: Option<String>,
}

/// Labels every node has.
pub fn labels(name: &str) -> BTreeMap<String, String> {
    let arch = crate::machine::architecture();
    let pairs = [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ];
    pairs
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// The object a node registers with.
pub fn new_node(
    m: &Measured,
    extra: &BTreeMap<String, String>,
    taints: &[Taint],
    pod_cidrs: &[String],
    now: Timestamp,
) -> Node {
    let mut labels = labels(&m.name);
    labels.extend(extra.clone());
    let annotations = [(
        "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
        "true".to_owned(),
    )];
    Node {
        metadata: ObjectMeta {
            name: Some(m.name.clone()),
            labels: Some(labels),
            annotations: Some(annotations.into()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!taints.is_empty()).then(|| taints.to_vec()),
            pod_cidr: pod_cidrs.first().cloned(),
            pod_cidrs: (!pod_cidrs.is_empty()).then(|| pod_cidrs.to_vec()),
            ..NodeSpec::default()
        }),
        status: Some(status(m, &[], now)),
    }
}

/// The status, with conditions that others set kept from `before`.
pub fn status(m: &Measured, before: &[NodeCondition], now: Timestamp) -> NodeStatus {
    NodeStatus {
        addresses: Some(addresses(m)),
        capacity: Some(capacity(m)),
        allocatable: Some(allocatable(m)),
        conditions: Some(conditions(m, before, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(m.port),
            }),
        }),
        images: Some(images(&m.images)),
        node_info: Some(m.info.clone()),
        ..NodeStatus::default()
    }
}

fn addresses(m: &Measured) -> Vec<NodeAddress> {
    let ips = m.ips.iter().map(|ip| NodeAddress {
        type_: "InternalIP".to_owned(),
        address: ip.to_string(),
    });
    ips.chain([NodeAddress {
        type_: "Hostname".to_owned(),
        address: m.name.clone(),
    }])
    .collect()
}

fn kibibytes(bytes: i64) -> Quantity {
    Quantity(format!("{}Ki", bytes / 1024))
}

fn capacity(m: &Measured) -> BTreeMap<String, Quantity> {
    let mut out = BTreeMap::from([
        ("cpu".to_owned(), Quantity(m.capacity.cpus.to_string())),
        ("memory".to_owned(), kibibytes(m.capacity.memory)),
        ("ephemeral-storage".to_owned(), kibibytes(m.capacity.disk)),
        ("pods".to_owned(), Quantity(m.max_pods.to_string())),
    ]);
    out.extend(
        m.hugepages
            .iter()
            .map(|(name, bytes)| (name.clone(), hugepage_amount(*bytes))),
    );
    out
}

fn hugepage_amount(bytes: i64) -> Quantity {
    Quantity(if bytes == 0 {
        "0".to_owned()
    } else {
        format!("{}Mi", bytes >> 20)
    })
}

fn allocatable(m: &Measured) -> BTreeMap<String, Quantity> {
    let mut out = capacity(m);
    let kept = |signal| m.thresholds.least(signal, m.capacity.memory);
    let reserved: i64 = m.hugepages.iter().map(|(_, bytes)| bytes).sum();
    out.insert(
        "memory".to_owned(),
        kibibytes((m.capacity.memory - reserved - kept(Signal::MemoryAvailable)).max(0)),
    );
    let disk = m.capacity.disk - m.thresholds.least(Signal::NodefsAvailable, m.capacity.disk);
    out.insert("ephemeral-storage".to_owned(), Quantity(disk.to_string()));
    out
}

fn conditions(m: &Measured, before: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let low = |signals: &[Signal], all, left| m.thresholds.below(signals, all, left);
    let memory = [Signal::MemoryAvailable];
    let disk = [Signal::NodefsAvailable, Signal::ImagefsAvailable];
    let inodes = [Signal::NodefsInodesFree, Signal::ImagefsInodesFree];
    let low_memory = low(&memory, m.capacity.memory, m.memory_available);
    let low_disk = low(&disk, m.capacity.disk, m.disk_available)
        || m.inodes
            .is_some_and(|(all, free)| low(&inodes, count(all), count(free)));
    let low_pids = m.pids.is_some_and(|(max, used)| {
        low(
            &[Signal::PidAvailable],
            count(max),
            count(max.saturating_sub(used)),
        )
    });
    let pressure =
        |low: bool, bad: (&'static str, &'static str), good: (&'static str, &'static str)| {
            let (reason, message) = if low { bad } else { good };
            (
                if low { "True" } else { "False" },
                reason,
                message.to_owned(),
            )
        };
    let mine = [
        (
            "MemoryPressure",
            pressure(
                low_memory,
                (
                    "KubeletHasInsufficientMemory",
                    "kubelet has insufficient memory available",
                ),
                (
                    "KubeletHasSufficientMemory",
                    "kubelet has sufficient memory available",
                ),
            ),
        ),
        (
            "DiskPressure",
            pressure(
                low_disk,
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
        ),
        (
            "PIDPressure",
            pressure(
                low_pids,
                (
                    "KubeletHasInsufficientPID",
                    "kubelet has insufficient PID available",
                ),
                (
                    "KubeletHasSufficientPID",
                    "kubelet has sufficient PID available",
                ),
            ),
        ),
        (
            "Ready",
            match &m.runtime_error {
                None => (
                    "True",
                    "KubeletReady",
                    "kubelet is posting ready status".to_owned(),
                ),
                Some(error) => (
                    "False",
                    "KubeletNotReady",
                    format!("container runtime is down: {error}"),
                ),
            },
        ),
    ];
    let foreign = before
        .iter()
        .filter(|c| !mine.iter().any(|(type_, _)| c.type_ == *type_))
        .cloned();
    let own = mine.iter().map(|(type_, (status, reason, message))| {
        condition(type_, status, reason, message, before, now)
    });
    foreign.chain(own).collect()
}

fn count(of: u64) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// The conditions that are bad now and were not: what is wrong, and what it means.
pub fn new_pressure(before: &[NodeCondition], after: &[NodeCondition]) -> Vec<String> {
    let pressed = |c: &&NodeCondition| c.type_.ends_with("Pressure") && c.status == "True";
    let was = |c: &NodeCondition| before.iter().filter(pressed).any(|b| b.type_ == c.type_);
    let told = after.iter().filter(pressed).filter(|c| !was(c));
    told.map(|c| {
        format!(
            "{} ({}): new pods that do not tolerate it wait",
            c.message.as_deref().unwrap_or_default(),
            c.type_
        )
    })
    .collect()
}

fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    before: &[NodeCondition],
    now: Timestamp,
) -> NodeCondition {
    let old = before
        .iter()
        .find(|c| c.type_ == type_ && c.status == status);
    NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: old
            .and_then(|c| c.last_transition_time.clone())
            .or(Some(Time(now))),
    }
}

/// The largest images, with as many names as the API takes.
fn images(all: &[Image]) -> Vec<ContainerImage> {
    let mut sorted: Vec<&Image> = all.iter().collect();
    sorted.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let of = |image: &Image| ContainerImage {
        names: Some(
            image
                .repo_digests
                .iter()
                .chain(&image.repo_tags)
                .take(MAX_IMAGE_NAMES)
                .cloned()
                .collect(),
        ),
        size_bytes: i64::try_from(image.size).ok(),
    };
    sorted.into_iter().take(MAX_IMAGES).map(of).collect()
}

/// Whether a status differs in more than heartbeats.
pub fn changed(old: &NodeStatus, new: &NodeStatus) -> bool {
    let bare = |s: &NodeStatus| {
        let mut s = s.clone();
        s.conditions
            .iter_mut()
            .flatten()
            .for_each(|c| c.last_heartbeat_time = None);
        (
            s.addresses,
            s.capacity,
            s.allocatable,
            s.conditions,
            s.daemon_endpoints,
            s.images,
            s.node_info,
        )
    };
    bare(old) != bare(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            name: "n".into(),
            capacity: Capacity {
                cpus: 2,
                memory: 4 << 30,
                disk: 100 << 30,
            },
            max_pods: 110,
            memory_available: 1 << 30,
            disk_available: 50 << 30,
            ..Measured::default()
        }
    }

    fn of<'a>(s: &'a NodeStatus, type_: &str) -> &'a NodeCondition {
        s.conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == type_)
            .expect("condition")
    }

    #[test]
    fn conditions_say_what_was_measured() {
        let now = Timestamp::UNIX_EPOCH;
        let good = status(&measured(), &[], now);
        assert_eq!(
            (
                of(&good, "Ready").status.as_str(),
                of(&good, "DiskPressure").status.as_str()
            ),
            ("True", "False")
        );
        let m = Measured {
            disk_available: 1 << 30,
            memory_available: 1,
            runtime_error: Some("gone".into()),
            ..measured()
        };
        let bad = status(&m, &[], now);
        assert_eq!(of(&bad, "Ready").reason.as_deref(), Some("KubeletNotReady"));
        assert_eq!(
            (
                of(&bad, "DiskPressure").status.as_str(),
                of(&bad, "MemoryPressure").status.as_str()
            ),
            ("True", "True")
        );
    }

    #[test]
    fn heartbeats_alone_are_no_change_and_foreign_conditions_stay() {
        let later = Timestamp::from_second(60).expect("time");
        let foreign = NodeCondition {
            type_: "NetworkUnavailable".into(),
            status: "False".into(),
            ..NodeCondition::default()
        };
        let first = status(&measured(), &[foreign], Timestamp::UNIX_EPOCH);
        let second = status(
            &measured(),
            first.conditions.as_deref().unwrap_or(&[]),
            later,
        );
        assert!(!changed(&first, &second));
        assert_eq!(second.conditions.as_ref().map(Vec::len), Some(5));
        assert_eq!(
            of(&second, "Ready").last_transition_time,
            Some(Time(Timestamp::UNIX_EPOCH))
        );
        let third = status(
            &Measured {
                max_pods: 5,
                ..measured()
            },
            &[],
            later,
        );
        assert!(changed(&first, &third));
    }

    #[test]
    fn pressure_is_told_once() {
        let now = Timestamp::UNIX_EPOCH;
        let good = conditions(&measured(), &[], now);
        let full = Measured {
            disk_available: 1 << 30,
            ..measured()
        };
        let bad = conditions(&full, &good, now);
        let told = new_pressure(&good, &bad);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("kubelet has disk pressure (DiskPressure)"));
        assert!(new_pressure(&bad, &bad).is_empty());
        let lenient = Measured {
            thresholds: "nodefs.available<1%".parse().expect("thresholds"),
            ..full
        };
        assert!(new_pressure(&good, &conditions(&lenient, &bad, now)).is_empty());
    }

    #[test]
    fn allocatable_keeps_a_reserve() {
        let s = status(&measured(), &[], Timestamp::UNIX_EPOCH);
        let a = s.allocatable.unwrap_or_default();
        assert_eq!(a["memory"].0, "4091904Ki");
        assert_eq!(a["cpu"].0, "2");
    }
}
