//! What a machine must have. Everything missing is one line that says what to do.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, bail};

use crate::up::Options;

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

/// Checks that the ports this cluster listens on can be had.
pub fn ports_free(options: &Options) -> Result<()> {
    port_free(options.http_port, "Ingress", "--http-port")?;
    port_free(options.https_port, "Ingress", "--https-port")?;
    port_free(options.api_port, "API server", "--api-port")?;
    port_free(options.kubelet_port, "kubelet", "--kubelet-port")
}

/// Whether a TCP port can be had; `option` is how to choose another.
fn port_free(port: u16, what: &str, option: &str) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    TcpListener::bind(address).map(drop).with_context(|| {
        format!("port {port} for the {what} is taken; free it or choose another with {option}")
    })
}
