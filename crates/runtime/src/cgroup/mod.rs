//! Control groups in all three layouts: version 2, version 1, and both at once with the controllers spread over them.
//!
//! A group is named by one path, e.g. `/knarr/kubepods/podX`, that exists in every hierarchy. Where a controller lives
//! decides how its limits are spelled ([`settings`]).

mod devices;
mod settings;
mod stats;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub use devices::DeviceRule;
pub use stats::Usage;

use crate::types::LinuxResources;

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    pub mount: PathBuf,
    pub version: Version,
    /// Empty for the one that systemd keeps for itself.
    pub controllers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// The hierarchies of this machine.
#[derive(Debug, Clone)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Looks at what is mounted.
    ///
    /// # Errors
    /// When no hierarchy is mounted.
    pub fn detect() -> anyhow::Result<Self> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let mut hierarchies = parse_mountinfo(&mounts);
        for hierarchy in hierarchies.iter_mut().filter(|h| h.version == Version::V2) {
            let available =
                fs::read_to_string(hierarchy.mount.join("cgroup.controllers")).unwrap_or_default();
            hierarchy.controllers = available.split_whitespace().map(str::to_owned).collect();
        }
        if hierarchies.is_empty() {
            bail!("no cgroup file system is mounted below /sys/fs/cgroup");
        }
        Ok(Self { hierarchies })
    }

    /// Is version 2 the only one?
    #[must_use]
    pub fn unified(&self) -> bool {
        self.hierarchies.iter().all(|h| h.version == Version::V2)
    }

    #[must_use]
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|h| h.controllers.iter().any(|c| c == controller))
    }

    /// Directory of a group in the hierarchy of a controller.
    pub(crate) fn dir(&self, controller: &str, path: &str) -> Option<PathBuf> {
        self.with(controller).map(|h| h.at(path))
    }

    /// Creates the group and its ancestors everywhere. Succeeds when they exist.
    ///
    /// # Errors
    /// When the kernel refuses, e.g. for lack of privilege.
    pub fn create(&self, path: &str) -> anyhow::Result<()> {
        for hierarchy in &self.hierarchies {
            hierarchy.create(path).with_context(|| {
                format!("create cgroup {path} in {}", hierarchy.mount.display())
            })?;
        }
        Ok(())
    }

    /// Sets limits. What is `None` stays as it is.
    ///
    /// # Errors
    /// When the kernel refuses a value.
    pub fn apply(&self, path: &str, resources: &LinuxResources) -> anyhow::Result<()> {
        let version = |controller: &str| self.with(controller).map(|h| h.version);
        let mut refused = Vec::new();
        for setting in settings::settings(resources, version) {
            if self.set(path, &setting).is_err() {
                refused.push(setting);
            }
        }
        // The kernel checks some against others (memory against memory with swap, quota against period), and which of
        // two has to come first depends on what is set now.
        refused
            .iter()
            .try_for_each(|setting| self.set(path, setting))
    }

    fn set(&self, path: &str, setting: &settings::Setting) -> anyhow::Result<()> {
        let Some(dir) = self.dir(setting.controller, path) else {
            return Ok(());
        };
        let file = dir.join(&setting.file);
        match fs::write(&file, &setting.value) {
            Err(error) if setting.optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => {
                done.with_context(|| format!("write {:?} to {}", setting.value, file.display()))
            }
        }
    }

    /// Restricts devices to those that a rule allows.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn restrict_devices(&self, path: &str, rules: &[DeviceRule]) -> anyhow::Result<()> {
        match self.dir("devices", path) {
            Some(dir) => devices::restrict_v1(&dir, rules),
            None => match self.hierarchies.iter().find(|h| h.version == Version::V2) {
                Some(unified) => devices::restrict_v2(&unified.at(path), rules),
                None => Ok(()),
            },
        }
    }

    /// The group's directory in the version 2 hierarchy, into which processes can be born.
    #[must_use]
    pub fn birthplace(&self, path: &str) -> Option<PathBuf> {
        let unified = self.hierarchies.iter().find(|h| h.version == Version::V2);
        unified.map(|h| h.at(path))
    }

    /// The files to write a process id to, so that it belongs to the group, apart from its
    /// [`birthplace`](Self::birthplace).
    #[must_use]
    pub fn procs_files(&self, path: &str) -> Vec<PathBuf> {
        let later = self.hierarchies.iter().filter(|h| h.version == Version::V1);
        later.map(|h| h.at(path).join("cgroup.procs")).collect()
    }

    /// Moves a process into the group. 0 means the caller.
    ///
    /// # Errors
    /// When the group does not exist or the kernel refuses.
    pub fn join(&self, path: &str, pid: i32) -> anyhow::Result<()> {
        for hierarchy in &self.hierarchies {
            let file = hierarchy.at(path).join("cgroup.procs");
            fs::write(&file, pid.to_string())
                .with_context(|| format!("join {}", file.display()))?;
        }
        Ok(())
    }

    /// Process ids in the group and below it.
    #[must_use]
    pub fn pids(&self, path: &str) -> Vec<i32> {
        let mut pids = Vec::new();
        for hierarchy in &self.hierarchies {
            walk(&hierarchy.at(path), &mut |dir| {
                let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                pids.extend(
                    text.lines()
                        .filter_map(|l| l.parse::<i32>().ok())
                        .filter(|pid| *pid > 0),
                );
            });
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills everything in the group and below it and waits until it is empty, for at most `patience`.
    ///
    /// # Errors
    /// When something survives.
    pub fn kill(&self, path: &str, patience: Duration) -> anyhow::Result<()> {
        let deadline = std::time::Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        loop {
            let pids = self.pids(path);
            if pids.is_empty() {
                return Ok(());
            }
            for pid in &pids {
                // Gone already is what is wanted.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            if std::time::Instant::now() > deadline {
                bail!(
                    "{} processes in cgroup {path} do not end, among them {}",
                    pids.len(),
                    pids[0]
                );
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Removes the group and those below it. Succeeds when it does not exist.
    ///
    /// # Errors
    /// When a process is still in it.
    pub fn remove(&self, path: &str) -> anyhow::Result<()> {
        for hierarchy in &self.hierarchies {
            let mut dirs = Vec::new();
            walk(&hierarchy.at(path), &mut |dir| dirs.push(dir.to_owned()));
            // `walk` names parents first.
            for dir in dirs.iter().rev() {
                remove_dir(dir).with_context(|| format!("remove cgroup {}", dir.display()))?;
            }
        }
        Ok(())
    }

    /// How many processes of the group the kernel killed for lack of memory.
    #[must_use]
    pub fn oom_kills(&self, path: &str) -> u64 {
        let Some(hierarchy) = self.with("memory") else {
            return 0;
        };
        let file = match hierarchy.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(hierarchy.at(path).join(file)).unwrap_or_default();
        stats::field(&text, "oom_kill").unwrap_or(0)
    }

    /// What the group uses now. Zero where the kernel does not say.
    #[must_use]
    pub fn usage(&self, path: &str) -> Usage {
        stats::read(self, path)
    }
}

impl Hierarchy {
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.mount.join(path.trim_start_matches('/'))
    }

    fn create(&self, path: &str) -> io::Result<()> {
        let mut dir = self.mount.clone();
        for part in path.split('/').filter(|p| !p.is_empty()) {
            if self.version == Version::V2 {
                self.delegate(&dir);
            }
            let parent = dir.clone();
            dir.push(part);
            match fs::create_dir(&dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            if self.version == Version::V1 && self.controllers.iter().any(|c| c == "cpuset") {
                inherit_cpuset(&parent, &dir)?;
            }
        }
        Ok(())
    }

    /// Version 2 gives children only the controllers that their parent hands down.
    fn delegate(&self, dir: &Path) {
        for controller in &self.controllers {
            // One that cannot be handed down (threaded mode, lack of privilege) is missed when a limit is set.
            let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

/// A new version 1 cpuset is empty and refuses processes until it is filled.
fn inherit_cpuset(parent: &Path, dir: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(dir.join(file))?.trim().is_empty() {
            fs::write(dir.join(file), fs::read_to_string(parent.join(file))?)?;
        }
    }
    Ok(())
}

/// Calls `visit` for the directory and those below it, parents first.
fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    visit(dir);
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
}

/// The kernel may need a moment after the last process ended.
fn remove_dir(dir: &Path) -> io::Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY)
                    && pause < Duration::from_millis(300) =>
            {
                std::thread::sleep(pause);
                pause *= 2;
            }
            done => return done,
        }
    }
}

fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(mount) = left.split(' ').nth(4) else {
            continue;
        };
        let mut right = right.split(' ');
        let (Some(kind), Some(options)) = (right.next(), right.nth(1)) else {
            continue;
        };
        if !mount.starts_with("/sys/fs/cgroup") {
            continue;
        }
        let hierarchy = match kind {
            "cgroup2" => Hierarchy {
                mount: mount.into(),
                version: Version::V2,
                controllers: Vec::new(),
            },
            "cgroup" => Hierarchy {
                mount: mount.into(),
                version: Version::V1,
                controllers: v1_controllers(options),
            },
            _ => continue,
        };
        // The same hierarchy may be mounted twice.
        let known = |h: &Hierarchy| {
            h.version == hierarchy.version && h.controllers == hierarchy.controllers
        };
        if !found.iter().any(known) {
            found.push(hierarchy);
        }
    }
    found
}

fn v1_controllers(options: &str) -> Vec<String> {
    const KNOWN: [&str; 13] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "hugetlb",
        "net_cls",
        "net_prio",
        "perf_event",
        "rdma",
    ];
    let known = |option: &&str| KNOWN.contains(option) || option.starts_with("name=");
    options
        .split(',')
        .filter(known)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 20 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
34 20 0:27 / /mnt/again rw,relatime - cgroup cgroup rw,cpu,cpuacct";

    #[test]
    fn reads_each_layout() {
        let hybrid = parse_mountinfo(HYBRID);
        let seen: Vec<_> = hybrid
            .iter()
            .map(|h| {
                (
                    h.mount.to_str().unwrap(),
                    h.version,
                    h.controllers.join("+"),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (
                    "/sys/fs/cgroup/cpu,cpuacct",
                    Version::V1,
                    "cpu+cpuacct".to_owned()
                ),
                (
                    "/sys/fs/cgroup/systemd",
                    Version::V1,
                    "name=systemd".to_owned()
                ),
                ("/sys/fs/cgroup/unified", Version::V2, String::new()),
            ]
        );
        let unified = parse_mountinfo(
            "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
        );
        assert_eq!(unified.len(), 1);
        assert_eq!(unified[0].version, Version::V2);
    }
}
