//! What a pod has before any container: namespaces, loopback, shared memory.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd, unix::net::UnixListener as StdListener},
    path::Path,
};

use anyhow::Context;
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
    unistd::sethostname,
};
use tokio::net::UnixListener;

use super::birth::Home;
use crate::{cgroup::Cgroups, record::SandboxRecord, types::SandboxConfig};

/// The kernel's limit for a host name.
const HOSTNAME_MAX: usize = 64;

/// Puts this process into the pod's namespaces. Its children are born there.
pub(super) fn set_up(dir: &Path, record: &SandboxRecord) -> anyhow::Result<Home> {
    let _ = nix::sys::prctl::set_name(c"knarr-shim");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Before it becomes the container's program a child could else be looked into from there.
    nix::sys::prctl::set_dumpable(false).context("become undumpable")?;
    // Orphans of a container in the host's process namespace come here.
    nix::sys::prctl::set_child_subreaper(true).context("become subreaper")?;
    let cgroups = Cgroups::detect()?;
    cgroups.create(&record.config.cgroup_parent)?;
    cgroups.apply(&record.config.cgroup_parent, &record.config.resources)?;
    let config = &record.config;
    let mut namespaces = CloneFlags::empty();
    if !config.host_network {
        namespaces |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
    }
    if !config.host_ipc {
        namespaces |= CloneFlags::CLONE_NEWIPC;
    }
    unshare(namespaces).context("create namespaces")?;
    if !config.host_network {
        let name = &config.hostname[..config.hostname.floor_char_boundary(HOSTNAME_MAX)];
        sethostname(name).context("set host name")?;
        loopback_up().context("bring loopback up")?;
        pin_network(&dir.join("netns"))?;
    }
    apply_sysctls(config)?;
    if !config.host_ipc {
        mount_shm(&dir.join("shm"))?;
    }
    let mut home = Home {
        cgroups,
        pid_namespace: File::open("/proc/self/ns/pid").context("open own namespace")?,
        shared_pids: None,
    };
    if config.share_pid && !config.host_pid {
        let reaper = home.start_reaper()?;
        home.shared_pids =
            Some(File::open(format!("/proc/{reaper}/ns/pid")).context("open shared namespace")?);
    }
    Ok(home)
}

fn loopback_up() -> nix::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: an interface request of zeros is valid; name and flags are set before use.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        Errno::result(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS as _,
            &raw mut request,
        ))?;
        request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        Errno::result(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        ))?;
    }
    Ok(())
}

/// Gives the network namespace a name in the file system, by which others enter it.
fn pin_network(path: &Path) -> anyhow::Result<()> {
    File::create(path).with_context(|| format!("create {}", path.display()))?;
    mount(
        Some("/proc/self/ns/net"),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| format!("pin the network namespace to {}", path.display()))
}

fn mount_shm(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("shm"),
        path,
        Some("tmpfs"),
        flags,
        Some("mode=1777,size=65536k"),
    )
    .context("mount /dev/shm")
}

fn apply_sysctls(config: &SandboxConfig) -> anyhow::Result<()> {
    if !config.host_network {
        // A pod has its ports for itself: any user may listen on low ones and ping.
        let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
        let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    }
    for (name, value) in &config.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value).with_context(|| format!("set sysctl {name}={value}"))?;
    }
    Ok(())
}

/// Binds the shim's socket. The path is relative, because the state directory may be deeper than socket names go.
pub(super) fn bind_socket(dir: &Path) -> anyhow::Result<UnixListener> {
    std::env::set_current_dir(dir).with_context(|| format!("enter {}", dir.display()))?;
    let listener = StdListener::bind("shim.sock").context("bind shim.sock")?;
    std::env::set_current_dir("/")?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}
