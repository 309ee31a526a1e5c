//! What a machine must have. Everything missing is one line that says what to do.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result, bail};

/// Checks what cannot be repaired later, before anything is written.
pub fn check() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a cluster needs root for namespaces and cgroups; run it with sudo");
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |name: &str| {
        filesystems
            .lines()
            .any(|line| line.split_whitespace().last() == Some(name))
    };
    if !has("overlay") && !load("overlay") {
        bail!("this kernel has no overlay file system (CONFIG_OVERLAY_FS); try `modprobe overlay`");
    }
    if !std::path::Path::new("/proc/self/ns/net").exists() {
        bail!("this kernel has no network namespaces (CONFIG_NET_NS)");
    }
    if !has("cgroup") && !has("cgroup2") {
        bail!("this kernel has no control groups (CONFIG_CGROUPS)");
    }
    for module in ["bridge", "veth", "nf_tables", "nft_chain_nat"] {
        // Built in or loaded on demand mostly; what is really missing is told by its first user.
        load(module);
    }
    Ok(())
}

fn load(module: &str) -> bool {
    std::process::Command::new("modprobe")
        .args(["-q", module])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a TCP port can be had; `option` is how to choose another.
pub fn port_free(address: SocketAddr, what: &str, option: &str) -> Result<()> {
    TcpListener::bind(address).map(drop).with_context(|| {
        format!(
            "port {} for the {what} is taken; free it or choose another with {option}",
            address.port()
        )
    })
}
