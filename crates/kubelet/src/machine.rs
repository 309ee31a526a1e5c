//! What the machine is: read from the kernel's and the distribution's files.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::NodeSystemInfo;

/// Numbers that decide how many pods fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    pub cpus: u32,
    /// Bytes.
    pub memory: i64,
    /// Bytes of the file system that pods write to.
    pub disk: i64,
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

/// A `Key:   123 kB` line of `/proc/meminfo`, in bytes.
pub fn meminfo(key: &str) -> Option<i64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let value = text
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    value
        .split_whitespace()
        .next()?
        .parse::<i64>()
        .ok()
        .map(|kb| kb * 1024)
}

/// Size and free bytes of the file system that holds `path`.
pub fn disk(path: &Path) -> Option<(i64, i64)> {
    let s = nix::sys::statvfs::statvfs(path).ok()?;
    let unit = s.fragment_size() as i64;
    Some((s.blocks() as i64 * unit, s.blocks_available() as i64 * unit))
}

/// Inodes and free inodes of the file system that holds `path`.
pub fn inodes(path: &Path) -> Option<(u64, u64)> {
    let s = nix::sys::statvfs::statvfs(path).ok()?;
    Some((s.files(), s.files_available()))
}

pub fn capacity(root: &Path) -> Capacity {
    Capacity {
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory: meminfo("MemTotal").unwrap_or(0),
        disk: disk(root).map_or(0, |(size, _)| size),
    }
}

/// Page sizes the kernel offers, as resource names: `hugepages-2Mi`, with the bytes reserved.
pub fn hugepages() -> Vec<(String, i64)> {
    let Ok(dir) = fs::read_dir("/sys/kernel/mm/hugepages") else {
        return Vec::new();
    };
    let size = |name: &str| {
        name.strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse::<i64>()
            .ok()
    };
    let mut out = Vec::new();
    for entry in dir.flatten() {
        let Some(kb) = entry.file_name().to_str().and_then(size) else {
            continue;
        };
        let pages: i64 = fs::read_to_string(entry.path().join("nr_hugepages"))
            .ok()
            .and_then(|s| s.trim().parse().ok())
            .unwrap_or(0);
        let name = if kb % (1 << 20) == 0 {
            format!("{}Gi", kb >> 20)
        } else {
            format!("{}Mi", kb >> 10)
        };
        out.push((format!("hugepages-{name}"), pages * kb * 1024));
    }
    out.sort();
    out
}

/// `amd64`, `arm64`, …: the words container images use.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let name = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |n| n.trim_matches('"').to_owned())
}

/// Reads what `kubectl get node -o wide` shows.
pub fn system_info(runtime_version: String, kubelet_version: &str) -> NodeSystemInfo {
    let machine_id = line("/etc/machine-id");
    let product = line("/sys/class/dmi/id/product_uuid");
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime_version,
        kernel_version: line("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: kubelet_version.to_owned(),
        system_uuid: if product.is_empty() {
            machine_id.clone()
        } else {
            product
        },
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: os_image(),
        swap: None,
    }
}
