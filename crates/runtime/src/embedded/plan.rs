//! From what a container is wanted for to what its shim is told: a pure function.

use std::path::{Path, PathBuf};

use crate::{
    images::{Prepared, RunConfig},
    spec::{ContainerSpec, PidNamespace, ProcessSpec, UserSpec},
    types::{ContainerConfig, Error, Mount, Propagation, Result, SandboxConfig, Seccomp},
};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// By number, as the kernel counts them.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Where things of one container are.
pub(super) struct Places {
    pub layers_dir: PathBuf,
    pub writable: PathBuf,
    /// `<state>/sandboxes/<sandbox>`.
    pub sandbox_dir: PathBuf,
}

/// Decides everything about a container.
///
/// # Errors
/// [`Error::Invalid`] when it cannot be run as it is written.
pub(super) fn container_spec(
    id: &str,
    sandbox: &SandboxConfig,
    want: &ContainerConfig,
    image: &Prepared,
    places: &Places,
) -> Result<ContainerSpec> {
    let security = &want.security;
    let process = ProcessSpec {
        args: args(want, &image.config)?,
        env: env(sandbox, want, &image.config),
        cwd: first(&[&want.working_dir, &image.config.working_dir, "/"]),
        user: user(want, &image.config)?,
        capabilities: capabilities(
            security.privileged,
            &security.add_capabilities,
            &security.drop_capabilities,
        )?,
        no_new_privs: security.no_new_privs,
        seccomp: if security.privileged {
            Seccomp::Unconfined
        } else {
            security.seccomp.clone()
        },
        terminal: want.tty,
        oom_score_adj: want.resources.oom_score_adj,
    };
    let pid_namespace = match (sandbox.host_pid, sandbox.share_pid) {
        (true, _) => PidNamespace::Host,
        (false, true) => PidNamespace::Pod,
        (false, false) => PidNamespace::Container,
    };
    let shm = if sandbox.host_ipc {
        "/dev/shm".into()
    } else {
        places.sandbox_dir.join("shm")
    };
    Ok(ContainerSpec {
        id: id.to_owned(),
        layers_dir: places.layers_dir.clone(),
        layers: image.layers.clone(),
        writable: places.writable.clone(),
        root: places.sandbox_dir.join("containers").join(id).join("root"),
        readonly_rootfs: security.readonly_rootfs,
        process,
        pid_namespace,
        mounts: mounts(sandbox, want, &places.sandbox_dir),
        shm,
        devices: want.devices.clone(),
        masked_paths: if security.privileged {
            Vec::new()
        } else {
            security.masked_paths.clone()
        },
        readonly_paths: if security.privileged {
            Vec::new()
        } else {
            security.readonly_paths.clone()
        },
        privileged: security.privileged,
        cgroup: format!("{}/{id}", sandbox.cgroup_parent.trim_end_matches('/')),
        resources: want.resources.clone(),
        log: log_path(sandbox, want),
        stdin: want.stdin,
        stdin_once: want.stdin_once,
    })
}

/// Full path of a container's log; `None` when it is to have none.
pub(super) fn log_path(sandbox: &SandboxConfig, want: &ContainerConfig) -> Option<PathBuf> {
    let empty =
        want.log_path.as_os_str().is_empty() || sandbox.log_directory.as_os_str().is_empty();
    (!empty).then(|| sandbox.log_directory.join(&want.log_path))
}

fn first(candidates: &[&str]) -> String {
    candidates
        .iter()
        .find(|c| !c.is_empty())
        .copied()
        .unwrap_or_default()
        .to_owned()
}

/// A command replaces the image's entrypoint and makes its arguments void.
fn args(want: &ContainerConfig, image: &RunConfig) -> Result<Vec<String>> {
    let (command, defaults) = if want.command.is_empty() {
        (&image.entrypoint, &image.cmd)
    } else {
        (&want.command, &Vec::new())
    };
    let args = if want.args.is_empty() {
        defaults
    } else {
        &want.args
    };
    let all: Vec<String> = command.iter().chain(args).cloned().collect();
    if all.is_empty() {
        return Err(Error::Invalid("no command specified".into()));
    }
    Ok(all)
}

fn env(sandbox: &SandboxConfig, want: &ContainerConfig, image: &RunConfig) -> Vec<String> {
    let mut all: Vec<(String, String)> = vec![("PATH".into(), DEFAULT_PATH.into())];
    let mut set = |name: &str, value: &str| match all.iter_mut().find(|(n, _)| n == name) {
        Some(known) => value.clone_into(&mut known.1),
        None => all.push((name.to_owned(), value.to_owned())),
    };
    if !sandbox.hostname.is_empty() {
        set("HOSTNAME", &sandbox.hostname);
    }
    if want.tty {
        set("TERM", "xterm");
    }
    for entry in &image.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        set(name, value);
    }
    for (name, value) in &want.env {
        set(name, value);
    }
    all.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn user(want: &ContainerConfig, image: &RunConfig) -> Result<UserSpec> {
    let security = &want.security;
    let (user, image_group) = match (security.run_as_user, &security.run_as_username) {
        (Some(uid), _) => (uid.to_string(), String::new()),
        (None, Some(name)) => (name.clone(), String::new()),
        (None, None) => {
            let (user, group) = image.user.split_once(':').unwrap_or((&image.user, ""));
            (user.to_owned(), group.to_owned())
        }
    };
    let group = security
        .run_as_group
        .map_or(image_group, |gid| gid.to_string());
    let supplemental = security
        .supplemental_groups
        .iter()
        .map(|gid| {
            u32::try_from(*gid).map_err(|_| Error::Invalid(format!("group {gid} is out of range")))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(UserSpec {
        user,
        group,
        supplemental,
        strict: security.strict_groups,
    })
}

fn capability(name: &str) -> Result<u64> {
    let short = name.to_ascii_uppercase();
    let short = short.strip_prefix("CAP_").unwrap_or(&short);
    CAPABILITIES
        .iter()
        .position(|c| *c == short)
        .map(|bit| 1 << bit)
        .ok_or_else(|| Error::Invalid(format!("unknown capability \"{name}\"")))
}

fn capabilities(privileged: bool, add: &[String], drop: &[String]) -> Result<u64> {
    const ALL: u64 = (1 << CAPABILITIES.len()) - 1;
    if privileged {
        return Ok(ALL);
    }
    let all = |names: &[String]| names.iter().any(|n| n.eq_ignore_ascii_case("all"));
    let bits = |names: &[String]| {
        names
            .iter()
            .filter(|n| !n.eq_ignore_ascii_case("all"))
            .try_fold(0, |bits, n| Ok::<u64, Error>(bits | capability(n)?))
    };
    let mut set = DEFAULT_CAPABILITIES
        .iter()
        .try_fold(0, |bits, n| Ok::<u64, Error>(bits | capability(n)?))?;
    // `ALL` first, so that single names on the other side still count.
    if all(add) {
        set = ALL;
    }
    if all(drop) {
        set = 0;
    }
    Ok((set | bits(add)?) & !bits(drop)?)
}

/// The pod's own files first, then by depth, so that no mount hides one that lies in it.
fn mounts(sandbox: &SandboxConfig, want: &ContainerConfig, sandbox_dir: &Path) -> Vec<Mount> {
    let mut all = want.mounts.clone();
    let taken = |path: &str| {
        want.mounts
            .iter()
            .any(|m| m.container_path == Path::new(path))
    };
    let resolv_conf = if sandbox.dns.is_some() {
        sandbox_dir.join("resolv.conf")
    } else {
        "/etc/resolv.conf".into()
    };
    let hostname = if sandbox.host_network {
        "/etc/hostname".into()
    } else {
        sandbox_dir.join("hostname")
    };
    for (path, host_path) in [
        ("/etc/hostname", hostname),
        ("/etc/resolv.conf", resolv_conf),
    ] {
        // A host may lack either.
        if !taken(path) && (host_path.starts_with(sandbox_dir) || host_path.exists()) {
            all.push(Mount {
                container_path: path.into(),
                host_path,
                readonly: want.security.readonly_rootfs,
                propagation: Propagation::Private,
            });
        }
    }
    all.sort_by_key(|m| m.container_path.components().count());
    all
}

/// Signal by name (`SIGTERM`, `TERM`) or number. `None` for what is none.
pub(super) fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = short.strip_prefix("RTMIN") {
        let offset: i32 = if offset.is_empty() {
            0
        } else {
            offset.strip_prefix('+')?.parse().ok()?
        };
        return (34 + offset <= 64).then_some(34 + offset);
    }
    format!("SIG{short}")
        .parse::<nix::sys::signal::Signal>()
        .ok()
        .map(|s| s as i32)
}

/// The pod's `/etc/resolv.conf`.
pub(super) fn resolv_conf(dns: &crate::types::DnsConfig) -> String {
    let mut text = String::new();
    let mut line = |key: &str, words: &[String]| {
        if !words.is_empty() {
            text.push_str(&format!("{key} {}\n", words.join(" ")));
        }
    };
    line("search", &dns.searches);
    for server in &dns.servers {
        line("nameserver", std::slice::from_ref(server));
    }
    line("options", &dns.options);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DnsConfig, SecurityContext};

    fn image() -> RunConfig {
        RunConfig {
            entrypoint: vec!["/entry".into()],
            cmd: vec!["default".into()],
            env: vec!["A=image".into(), "PATH=/bin".into()],
            user: "web:www".into(),
            ..RunConfig::default()
        }
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn command_and_arguments() {
        for (command, arguments, wanted) in [
            ("", "", "/entry default"),
            ("", "x", "/entry x"),
            ("/c", "", "/c"),
            ("/c", "x y", "/c x y"),
        ] {
            let want = ContainerConfig {
                command: words(command),
                args: words(arguments),
                ..ContainerConfig::default()
            };
            assert_eq!(args(&want, &image()).unwrap().join(" "), wanted);
        }
        assert!(args(&ContainerConfig::default(), &RunConfig::default()).is_err());
    }

    #[test]
    fn environment_later_wins() {
        let sandbox = SandboxConfig {
            hostname: "pod".into(),
            ..SandboxConfig::default()
        };
        let want = ContainerConfig {
            env: vec![("A".into(), "1".into()), ("A".into(), "2".into())],
            ..ContainerConfig::default()
        };
        assert_eq!(
            env(&sandbox, &want, &image()),
            ["PATH=/bin", "HOSTNAME=pod", "A=2"]
        );
    }

    #[test]
    fn users() {
        let with = |security: SecurityContext| {
            let spec = user(
                &ContainerConfig {
                    security,
                    ..ContainerConfig::default()
                },
                &image(),
            )
            .unwrap();
            (spec.user, spec.group)
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(with(SecurityContext::default()), pair("web", "www"));
        assert_eq!(
            with(SecurityContext {
                run_as_user: Some(7),
                ..Default::default()
            }),
            pair("7", "")
        );
        assert_eq!(
            with(SecurityContext {
                run_as_group: Some(8),
                ..Default::default()
            }),
            pair("web", "8")
        );
        assert_eq!(
            with(SecurityContext {
                run_as_username: Some("u".into()),
                ..Default::default()
            }),
            pair("u", "")
        );
    }

    #[test]
    fn capability_sets() {
        let set = |add: &str, drop: &str| capabilities(false, &words(add), &words(drop)).unwrap();
        let bit = |name: &str| capability(name).unwrap();
        assert_eq!(set("", "").count_ones(), 14);
        assert_eq!(set("", "ALL"), 0);
        assert_eq!(set("NET_BIND_SERVICE", "ALL"), bit("CAP_NET_BIND_SERVICE"));
        assert_eq!(set("ALL", "sys_admin") & bit("SYS_ADMIN"), 0);
        assert_eq!(
            set("sys_time", "CHOWN") & (bit("SYS_TIME") | bit("CHOWN")),
            bit("SYS_TIME")
        );
        assert!(capabilities(false, &words("FLY"), &[]).is_err());
    }

    #[test]
    fn signals() {
        for (name, number) in [("SIGTERM", 15), ("quit", 3), ("9", 9), ("SIGRTMIN+3", 37)] {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
        assert_eq!([signal_number("SIGNOT"), signal_number("99")], [None, None]);
    }

    #[test]
    fn mounts_by_depth_and_pod_files() {
        let sandbox = SandboxConfig {
            dns: Some(DnsConfig::default()),
            ..SandboxConfig::default()
        };
        let mount = |path: &str| Mount {
            container_path: path.into(),
            host_path: "/x".into(),
            ..Mount::default()
        };
        let want = ContainerConfig {
            mounts: vec![mount("/a/b/c"), mount("/a"), mount("/etc/hostname")],
            ..Default::default()
        };
        let all = mounts(&sandbox, &want, Path::new("/run/s"));
        let seen: Vec<_> = all
            .iter()
            .map(|m| format!("{} {}", m.container_path.display(), m.host_path.display()))
            .collect();
        assert_eq!(
            seen,
            [
                "/a /x",
                "/etc/hostname /x",
                "/etc/resolv.conf /run/s/resolv.conf",
                "/a/b/c /x"
            ]
        );
    }

    #[test]
    fn resolv_conf_lines() {
        let dns = DnsConfig {
            servers: words("10.0.0.10 10.0.0.11"),
            searches: words("a.b b"),
            options: words("ndots:5"),
        };
        assert_eq!(
            resolv_conf(&dns),
            "search a.b b\nnameserver 10.0.0.10\nnameserver 10.0.0.11\noptions ndots:5\n"
        );
    }
}
