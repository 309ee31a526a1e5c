//! Assembles a container's file tree and makes it the root. Runs in the new process, in its own mount namespace.
//!
//! Every path inside the tree is resolved by the kernel within it, because the image decides what is a symlink there.

use std::{
    ffi::CStr,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt},
        },
    },
    path::Path,
};

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, mkdirat, mknodat},
    unistd::{fchdir, pivot_root, symlinkat},
};

use super::sys::{attach_mount, attr, clone_mount, clone_tree, new_mount, set_mount};
use crate::{
    beneath::{Beneath, parent_and_name},
    cgroup::{Cgroups, Version},
    spec::ContainerSpec,
    types::Propagation,
};

/// Device nodes that every container has: name and number.
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Builds the tree and moves into it.
pub(super) fn enter(spec: &ContainerSpec, cgroups: &Cgroups) -> anyhow::Result<()> {
    // Before the propagation changes, so that mounts which are to be shared with the host still are.
    let binds = clone_sources(spec)?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_SLAVE | MsFlags::MS_REC,
        None::<&str>,
    )
    .context("cut off mount propagation")?;
    mount_overlay(spec)?;
    let root = Root::open(&spec.root)?;
    system_mounts(spec, &root, cgroups)?;
    make_devices(spec, &root)?;
    for (bind, source) in spec.mounts.iter().zip(binds) {
        root.bind(&bind.container_path, &source.0, source.1)
            .with_context(|| {
                format!(
                    "error mounting {:?} to rootfs at {:?}",
                    bind.host_path, bind.container_path
                )
            })?;
    }
    change_root(&root)?;
    protect(spec)
}

fn clone_sources(spec: &ContainerSpec) -> anyhow::Result<Vec<(OwnedFd, bool)>> {
    let clone = |bind: &crate::types::Mount| -> anyhow::Result<(OwnedFd, bool)> {
        let directory = fs::metadata(&bind.host_path)?.is_dir();
        let tree = clone_tree(&bind.host_path)?;
        let propagation = match bind.propagation {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::HostToContainer => libc::MS_SLAVE,
            Propagation::Bidirectional => libc::MS_SHARED,
        };
        set_mount(&tree, 0, propagation, true)?;
        if bind.readonly {
            set_mount(&tree, attr::RDONLY, 0, false)?;
        }
        Ok((tree, directory))
    };
    spec.mounts
        .iter()
        .map(|bind| {
            clone(bind).with_context(|| {
                format!(
                    "error mounting {:?} to rootfs at {:?}",
                    bind.host_path, bind.container_path
                )
            })
        })
        .collect()
}

/// Stacks the image's layers below what the container writes.
fn mount_overlay(spec: &ContainerSpec) -> anyhow::Result<()> {
    // The layers are named relative to here, because all of them have to fit into one page.
    std::env::set_current_dir(&spec.layers_dir).context("open layers")?;
    let lower: Vec<&str> = spec.layers.iter().rev().map(String::as_str).collect();
    if lower.is_empty() {
        bail!("the image has no layers");
    }
    let mut options = format!("lowerdir={}", lower.join(":")).into_bytes();
    for (key, dir) in [("upperdir", "fs"), ("workdir", "work")] {
        options.extend_from_slice(format!(",{key}=").as_bytes());
        options.extend(escape(&spec.writable.join(dir)));
    }
    mount(
        Some("overlay"),
        &spec.root,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_slice()),
    )
    .context("mount overlay of the image's layers")
}

/// Overlayfs splits its options at commas.
fn escape(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b',' | b':' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

fn system_mounts(spec: &ContainerSpec, root: &Root, cgroups: &Cgroups) -> anyhow::Result<()> {
    let hardened = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let sys = if spec.privileged {
        hardened
    } else {
        hardened | attr::RDONLY
    };
    root.mount("/proc", c"proc", &[], hardened)?;
    root.mount(
        "/dev",
        c"tmpfs",
        &[(c"mode", Some(c"755")), (c"size", Some(c"65536k"))],
        attr::NOSUID,
    )?;
    let pts = [
        (c"newinstance", None),
        (c"ptmxmode", Some(c"0666")),
        (c"mode", Some(c"0620")),
        (c"gid", Some(c"5")),
    ];
    root.mount("/dev/pts", c"devpts", &pts, attr::NOSUID | attr::NOEXEC)?;
    root.mount("/dev/mqueue", c"mqueue", &[], hardened)?;
    root.mount("/sys", c"sysfs", &[], sys)?;
    let shm = clone_tree(&spec.shm).context("open /dev/shm of the pod")?;
    root.bind(Path::new("/dev/shm"), &shm, true)
        .context("mount /dev/shm")?;
    cgroup_mounts(spec, root, cgroups, sys)
}

/// Shows a container its own group.
fn cgroup_mounts(
    spec: &ContainerSpec,
    root: &Root,
    cgroups: &Cgroups,
    attributes: u64,
) -> anyhow::Result<()> {
    if cgroups.unified() {
        // The cgroup namespace makes the container's own group the root of it.
        return root.mount("/sys/fs/cgroup", c"cgroup2", &[], attributes);
    }
    root.mount(
        "/sys/fs/cgroup",
        c"tmpfs",
        &[(c"mode", Some(c"755"))],
        attributes & !attr::RDONLY,
    )?;
    for hierarchy in cgroups
        .hierarchies()
        .iter()
        .filter(|h| h.version == Version::V1)
    {
        let tree = clone_tree(&hierarchy.at(&spec.cgroup)).context("open own cgroup")?;
        set_mount(&tree, attributes, libc::MS_PRIVATE, false)?;
        root.bind(&hierarchy.mount, &tree, true)
            .context("mount own cgroup")?;
    }
    let all = root.0.dir(Path::new("/sys/fs/cgroup"))?;
    Ok(set_mount(&all, attributes, 0, false)?)
}

fn make_devices(spec: &ContainerSpec, root: &Root) -> anyhow::Result<()> {
    let dev = root.0.dir(Path::new("/dev"))?;
    let mode = |bits: u32| Mode::from_bits_truncate(bits);
    for (name, major, minor) in DEVICES {
        mknodat(
            &dev,
            name,
            SFlag::S_IFCHR,
            mode(0o666),
            nix::sys::stat::makedev(major, minor),
        )
        .with_context(|| format!("create /dev/{name}"))?;
        fchmodat(&dev, name, mode(0o666), FchmodatFlags::FollowSymlink)?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name).with_context(|| format!("create /dev/{name}"))?;
    }
    if spec.privileged {
        host_devices(&dev, Path::new("/dev"))?;
    }
    for device in &spec.devices {
        copy_device(root, &device.host_path, &device.container_path)
            .with_context(|| format!("create device {}", device.container_path.display()))?;
    }
    Ok(())
}

/// A privileged container sees the host's devices, but has terminals and shared memory of its own.
fn host_devices(dev: &OwnedFd, from: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)?.flatten() {
        let name = entry.file_name();
        // A device that vanishes meanwhile is none of ours.
        let Ok(data) = entry.metadata() else { continue };
        let kind = data.file_type();
        let own = matches!(
            name.to_str(),
            Some("pts" | "shm" | "mqueue" | "console" | "ptmx")
        );
        if kind.is_dir() && !own {
            let done = mkdirat(dev, name.as_os_str(), Mode::from_bits_truncate(0o755));
            if done.is_ok() {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                host_devices(
                    &openat(dev, name.as_os_str(), flags, Mode::empty())?,
                    &entry.path(),
                )?;
            }
        } else if (kind.is_char_device() || kind.is_block_device()) && !own {
            make_node(dev, &name, &data)?;
        }
    }
    Ok(())
}

fn make_node(dir: &OwnedFd, name: &std::ffi::OsStr, like: &fs::Metadata) -> nix::Result<()> {
    let kind = if like.file_type().is_block_device() {
        SFlag::S_IFBLK
    } else {
        SFlag::S_IFCHR
    };
    let mode = Mode::from_bits_truncate(like.mode() & 0o7777);
    match mknodat(dir, name, kind, mode, like.rdev()) {
        Ok(()) => fchmodat(dir, name, mode, FchmodatFlags::FollowSymlink),
        Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

fn copy_device(root: &Root, host: &Path, inside: &Path) -> anyhow::Result<()> {
    let like = fs::metadata(host).with_context(|| format!("{}", host.display()))?;
    if !like.file_type().is_char_device() && !like.file_type().is_block_device() {
        bail!("{} is not a device node", host.display());
    }
    let (dir, name) = parent_and_name(inside)?;
    Ok(make_node(&root.0.make_dir(dir)?, name, &like)?)
}

/// Makes the tree the root and lets go of the old one.
fn change_root(root: &Root) -> anyhow::Result<()> {
    fchdir(root.0.root())?;
    pivot_root(".", ".").context("pivot_root")?;
    // The old root now lies on top of the new one. It receives from the host and sends nothing back since `enter` cut it
    // off, so that letting go of it is not noticed there.
    umount2(".", MntFlags::MNT_DETACH).context("let go of the host's root")?;
    std::env::set_current_dir("/")?;
    Ok(())
}

fn protect(spec: &ContainerSpec) -> anyhow::Result<()> {
    let root = Root::open(Path::new("/"))?;
    for path in &spec.readonly_paths {
        make_readonly(&root, Path::new(path)).with_context(|| format!("make {path} read-only"))?;
    }
    for path in &spec.masked_paths {
        mask(&root, Path::new(path)).with_context(|| format!("mask {path}"))?;
    }
    if spec.readonly_rootfs {
        set_mount(root.0.root(), attr::RDONLY, 0, false)
            .context("make the root file system read-only")?;
    }
    Ok(())
}

fn make_readonly(root: &Root, path: &Path) -> anyhow::Result<()> {
    let Some(target) = root.0.find(path)? else {
        return Ok(());
    };
    let tree = clone_mount(&target)?;
    set_mount(&tree, attr::RDONLY, 0, false)?;
    Ok(attach_mount(&tree, &target)?)
}

fn mask(root: &Root, path: &Path) -> anyhow::Result<()> {
    let Some(target) = root.0.find(path)? else {
        return Ok(());
    };
    let stat = fstatat(&target, "", AtFlags::AT_EMPTY_PATH)?;
    let directory = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
    let cover = if directory {
        new_mount(
            c"tmpfs",
            &[(c"size", Some(c"0k")), (c"nr_inodes", Some(c"2"))],
            attr::RDONLY,
        )?
    } else {
        clone_tree(Path::new("/dev/null"))?
    };
    Ok(attach_mount(&cover, &target)?)
}

/// The tree under construction.
struct Root(Beneath);

impl Root {
    fn open(path: &Path) -> anyhow::Result<Self> {
        Beneath::open(path)
            .map(Self)
            .with_context(|| format!("open {}", path.display()))
    }

    fn bind(&self, path: &Path, tree: impl AsFd, directory: bool) -> nix::Result<()> {
        let target = if directory {
            self.0.make_dir(path)?
        } else {
            self.0.make_file(path)?
        };
        attach_mount(tree, &target)
    }

    fn mount(
        &self,
        path: &str,
        kind: &CStr,
        options: &[(&CStr, Option<&CStr>)],
        attributes: u64,
    ) -> anyhow::Result<()> {
        let attach = || {
            attach_mount(
                new_mount(kind, options, attributes)?,
                self.0.make_dir(Path::new(path))?,
            )
        };
        attach().with_context(|| format!("mount {path}"))
    }
}

/// Shows a terminal as `/dev/console`. Call it inside the new root.
pub(super) fn bind_console(slave_number: i32) -> anyhow::Result<()> {
    let root = Root::open(Path::new("/"))?;
    let source = clone_tree(Path::new(&format!("/dev/pts/{slave_number}")))?;
    root.bind(Path::new("/dev/console"), &source, false)
        .context("mount /dev/console")
}
