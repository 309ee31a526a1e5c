//! What a container sees and may do.

mod common;

use std::{os::unix::fs::PermissionsExt, time::Duration};

use common::{Fixture, can_run, shell, unique};
use knarr_runtime::{
    ContainerConfig, Device, Mount, Propagation, Runtime, SandboxConfig, Seccomp, SecurityContext,
};

/// Runs a script with a security context and gives its output lines.
async fn secured(
    f: &Fixture,
    sandbox: &str,
    security: SecurityContext,
    script: &str,
) -> Vec<String> {
    with(
        f,
        sandbox,
        ContainerConfig {
            security,
            ..shell(&unique(), script)
        },
    )
    .await
}

async fn with(f: &Fixture, sandbox: &str, config: ContainerConfig) -> Vec<String> {
    let id = f.run(sandbox, &config).await;
    f.wait_exit(&id).await;
    f.log(&id)
        .await
        .into_iter()
        .map(|l| l.splitn(3, ' ').nth(2).unwrap_or("").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_groups() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let s = f.sandbox("users").await;
    let root = secured(&f, &s, SecurityContext::default(), "id; echo $HOME").await;
    assert_eq!(root, ["uid=0(root) gid=0(root) groups=0(root)", "/root"]);
    let by_name = SecurityContext {
        run_as_username: Some("web".into()),
        ..Default::default()
    };
    let web = secured(&f, &s, by_name, "id; echo $HOME; echo ok > /dev/stdout").await;
    assert_eq!(
        web,
        [
            "uid=101(web) gid=102(www) groups=8(mail),102(www)",
            "/var/www",
            "ok"
        ]
    );
    let by_number = SecurityContext {
        run_as_user: Some(4711),
        run_as_group: Some(815),
        supplemental_groups: vec![42],
        strict_groups: true,
        ..Default::default()
    };
    assert_eq!(
        secured(&f, &s, by_number, "id").await,
        ["uid=4711 gid=815 groups=42,815"]
    );
    let nobody = SecurityContext {
        run_as_username: Some("nobody".into()),
        ..Default::default()
    };
    let config = ContainerConfig {
        security: nobody,
        ..shell("x", "id")
    };
    let id = f.runtime.create_container(&s, &config).await.unwrap();
    let error = f
        .runtime
        .start_container(&id)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("unable to find user nobody"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_and_no_new_privileges() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let s = f.sandbox("caps").await;
    let script = "grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'";
    let default = secured(&f, &s, SecurityContext::default(), script).await;
    assert_eq!(
        default,
        [
            "CapEff:00000000a80425fb",
            "CapBnd:00000000a80425fb",
            "NoNewPrivs:0",
            "Seccomp:0"
        ]
    );
    let none = SecurityContext {
        drop_capabilities: vec!["ALL".into()],
        no_new_privs: true,
        run_as_user: Some(1000),
        seccomp: Seccomp::RuntimeDefault,
        ..Default::default()
    };
    let none = secured(&f, &s, none, script).await;
    assert_eq!(
        none,
        [
            "CapEff:0000000000000000",
            "CapBnd:0000000000000000",
            "NoNewPrivs:1",
            "Seccomp:2"
        ]
    );
    let some = SecurityContext {
        add_capabilities: vec!["SYS_TIME".into()],
        ..Default::default()
    };
    assert_eq!(
        secured(&f, &s, some, script).await[0],
        "CapEff:00000000aa0425fb"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_seccomp_profile_forbids_namespaces() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let s = f.sandbox("seccomp").await;
    let script = "unshare -U true 2>/dev/null && echo made || echo refused";
    assert_eq!(
        secured(&f, &s, SecurityContext::default(), script).await,
        ["made"]
    );
    // Without no_new_privs the profile is loaded all the same.
    let default = SecurityContext {
        seccomp: Seccomp::RuntimeDefault,
        ..Default::default()
    };
    assert_eq!(secured(&f, &s, default, script).await, ["refused"]);
    let profile = f.dir.join("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#;
    std::fs::write(&profile, text).unwrap();
    let local = SecurityContext {
        seccomp: Seccomp::Localhost(profile),
        ..Default::default()
    };
    let lines = secured(&f, &s, local, "mkdir /tmp/x 2>&1; echo $?").await;
    assert_eq!(
        lines,
        [
            "mkdir: can't create directory '/tmp/x': No space left on device",
            "1"
        ]
    );
    let missing = SecurityContext {
        seccomp: Seccomp::Localhost("/no/profile".into()),
        ..Default::default()
    };
    let id = f
        .runtime
        .create_container(
            &s,
            &ContainerConfig {
                security: missing,
                ..shell("x", "id")
            },
        )
        .await
        .unwrap();
    let error = f
        .runtime
        .start_container(&id)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("read seccomp profile /no/profile"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn file_systems_are_protected() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let s = f.sandbox("files").await;
    let readonly = SecurityContext {
        readonly_rootfs: true,
        masked_paths: vec!["/proc/keys".into(), "/proc/scsi".into(), "/no/such".into()],
        readonly_paths: vec!["/proc/sys".into()],
        ..Default::default()
    };
    let script = "touch /x 2>&1; touch /dev/shm/ok && echo shm; cat /proc/keys; \
        echo 1 2>&1 > /proc/sys/kernel/panic || echo refused; touch /sys/x 2>/dev/null || echo sysfs; ls -A /proc/scsi";
    let lines = secured(&f, &s, readonly, script).await;
    assert!(lines[0].contains("Read-only file system"), "{lines:?}");
    assert!(
        lines.contains(&"shm".to_owned()) && lines.contains(&"sysfs".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|l| l.contains("Read-only") && l.contains("panic"))
            || lines.contains(&"refused".to_owned()),
        "{lines:?}"
    );
    let writable = secured(
        &f,
        &s,
        SecurityContext::default(),
        "touch /x && ls /x; hostname other 2>&1; ls /dev",
    )
    .await;
    assert_eq!(writable[0], "/x");
    assert!(
        writable[1].contains("denied") || writable[1].contains("not permitted"),
        "{writable:?}"
    );
    let devices = writable[2..].join(" ");
    assert_eq!(
        devices,
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    );
    // Each container has files of its own, /dev/shm is the pod's.
    let other = secured(
        &f,
        &s,
        SecurityContext::default(),
        "ls /x 2>&1; ls /dev/shm",
    )
    .await;
    assert_eq!(other, ["ls: /x: No such file or directory", "ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let s = f.sandbox("mounts").await;
    let host = f.dir.join("host");
    std::fs::create_dir_all(host.join("sub")).unwrap();
    std::fs::write(host.join("file"), "content").unwrap();
    let mount = |inside: &str, outside: &str, readonly| Mount {
        container_path: inside.into(),
        host_path: host.join(outside),
        readonly,
        propagation: Propagation::Private,
    };
    let config = ContainerConfig {
        mounts: vec![
            mount("/data/deep/ro", "", true),
            mount("/data", "sub", false),
            mount("/etc/hosts", "file", true),
            mount("/new/file", "file", false),
        ],
        ..shell(
            "m",
            "cat /etc/hosts /data/deep/ro/file /new/file; echo; touch /data/deep/ro/x 2>&1; echo > /data/written; cat /etc/hostname",
        )
    };
    let lines = with(&f, &s, config).await;
    assert_eq!(lines[0], "contentcontentcontent");
    assert!(lines[1].contains("Read-only file system"), "{lines:?}");
    assert_eq!(lines[2], "mounts");
    assert!(host.join("sub/written").exists());
    // A link in the image does not lead out of it.
    let archive = common::busybox_image("links")
        .symlink("/out", "/var/tmp")
        .build()
        .unwrap();
    f.runtime
        .image_store()
        .import(std::io::Cursor::new(archive), None)
        .unwrap();
    let name = format!("knarr-escape-{}", unique());
    let config = ContainerConfig {
        image_id: "links".into(),
        mounts: vec![mount(&format!("/out/{name}"), "file", true)],
        ..shell("l", &format!("cat /var/tmp/{name}"))
    };
    assert_eq!(with(&f, &s, config).await, ["content"]);
    assert!(!std::path::Path::new("/var/tmp").join(name).exists());
    let gone = ContainerConfig {
        mounts: vec![mount("/x", "gone", false)],
        ..shell("g", "true")
    };
    let id = f.runtime.create_container(&s, &gone).await.unwrap();
    let error = f
        .runtime
        .start_container(&id)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("error mounting") && error.contains("No such file or directory"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_restricted() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let s = f.sandbox("devices").await;
    // Making the node is allowed, opening it is not: 1:11 is the kernel's log.
    let script = "mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg 2>&1; head -c1 /dev/zero | wc -c";
    let lines = secured(&f, &s, SecurityContext::default(), script).await;
    assert!(lines[0].contains("Operation not permitted"), "{lines:?}");
    assert_eq!(lines[1], "1");
    let script = "exec 3<>/dev/mytun && echo opened; stat -c %t:%T /dev/mytun";
    for (permissions, wanted) in [("rw", "opened"), ("r", "not permitted")] {
        let device = Device {
            container_path: "/dev/mytun".into(),
            host_path: "/dev/net/tun".into(),
            permissions: permissions.into(),
        };
        let lines = with(
            &f,
            &s,
            ContainerConfig {
                devices: vec![device],
                ..shell(permissions, script)
            },
        )
        .await;
        assert!(lines[0].contains(wanted), "{lines:?}");
    }
    let privileged = SecurityContext {
        privileged: true,
        ..Default::default()
    };
    let lines = secured(
        &f,
        &s,
        privileged,
        "exec 3<>/dev/net/tun && echo 1; mount -t tmpfs x /tmp && echo mounted",
    )
    .await;
    assert_eq!(lines, ["1", "mounted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_of_the_pod() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let s = f.sandbox("own").await;
    let lines = secured(
        &f,
        &s,
        SecurityContext::default(),
        "hostname; echo $$; ls /sys/class/net; ping -c1 -w2 127.0.0.1 >/dev/null && echo loopback",
    )
    .await;
    assert_eq!(lines, ["own", "1", "lo", "loopback"]);
    let shared = SandboxConfig {
        share_pid: true,
        sysctls: [(
            "net.ipv4.ip_local_port_range".to_owned(),
            "2000\t3000".to_owned(),
        )]
        .into(),
        ..f.sandbox_config("shared")
    };
    let shared = f.runtime.run_sandbox(&shared).await.unwrap();
    let first = f
        .run(
            &shared,
            &shell("first", "trap 'exit 0' TERM; while :; do sleep 0.1; done"),
        )
        .await;
    let lines = secured(&f, &shared, SecurityContext::default(), "cat /proc/1/comm; ps | grep -c 'trap exit\\|trap .exit'; cat /proc/sys/net/ipv4/ip_local_port_range").await;
    assert_eq!(lines[0], "pause");
    assert_eq!(lines[2], "2000\t3000");
    f.runtime
        .stop_container(&first, Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(
        f.runtime.container_status(&first).await.unwrap().exit_code,
        Some(0)
    );
    let host = SandboxConfig {
        host_network: true,
        host_pid: true,
        host_ipc: true,
        hostname: String::new(),
        ..f.sandbox_config("host")
    };
    let host = f.runtime.run_sandbox(&host).await.unwrap();
    let lines = secured(
        &f,
        &host,
        SecurityContext::default(),
        "readlink /proc/1/exe >/dev/null; cat /proc/sys/kernel/hostname; echo $$",
    )
    .await;
    assert_eq!(
        lines[0],
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap()
            .trim()
    );
    assert!(lines[1].parse::<u32>().unwrap() > 1);
    // Nothing outlives the container although it shares the host's processes.
    let marker = unique();
    let id = f
        .run(
            &host,
            &shell(
                "fork",
                &format!("(sleep 987 {marker} || sleep 987) & exit 0"),
            ),
        )
        .await;
    f.wait_exit(&id).await;
    let group = format!("{}/kubepods/podhost/{id}", f.config.cgroup_root);
    assert!(f.runtime.cgroups().pids(&group).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn resolver_and_working_directory() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let dns = knarr_runtime::DnsConfig {
        servers: vec!["10.96.0.10".into()],
        searches: vec!["default.svc.cluster.local".into()],
        options: vec!["ndots:5".into()],
    };
    let s = f
        .runtime
        .run_sandbox(&SandboxConfig {
            dns: Some(dns),
            ..f.sandbox_config("dns")
        })
        .await
        .unwrap();
    let config = ContainerConfig {
        working_dir: "/made/here".into(),
        ..shell("w", "cat /etc/resolv.conf; pwd")
    };
    let lines = with(&f, &s, config).await;
    assert_eq!(
        lines,
        [
            "search default.svc.cluster.local",
            "nameserver 10.96.0.10",
            "options ndots:5",
            "/made/here"
        ]
    );
    let mode = std::fs::metadata(f.dir.join("state"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o022, 0);
}

/// Undone also when the test fails.
struct Shared(std::path::PathBuf);

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0.join("from-host"), nix::mount::MntFlags::MNT_DETACH);
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_propagate_as_asked() {
    use nix::mount::{MsFlags, mount};
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let s = f.sandbox("propagate").await;
    let host = f.dir.join("shared");
    for dir in ["from-host", "from-container"] {
        std::fs::create_dir_all(host.join(dir)).unwrap();
    }
    mount(
        Some(&host),
        &host,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    let guard = Shared(host.clone());
    mount(
        None::<&str>,
        &host,
        None::<&str>,
        MsFlags::MS_SHARED,
        None::<&str>,
    )
    .unwrap();
    let start = async |name: &str, propagation: Propagation, script: &str| {
        let bind = Mount {
            container_path: "/m".into(),
            host_path: host.clone(),
            propagation,
            ..Default::default()
        };
        let security = SecurityContext {
            privileged: true,
            ..Default::default()
        };
        let script = format!("{script}; while :; do sleep 0.1; done");
        f.run(
            &s,
            &ContainerConfig {
                mounts: vec![bind],
                security,
                ..shell(name, &script)
            },
        )
        .await
    };
    let both = start(
        "both",
        Propagation::Bidirectional,
        "mount -t tmpfs none /m/from-container && touch /m/from-container/x; echo done",
    )
    .await;
    f.wait_log(&both, "done").await;
    assert!(host.join("from-container/x").exists());
    let follows = start("follows", Propagation::HostToContainer, "true").await;
    let private = start("private", Propagation::Private, "true").await;
    mount(
        Some("none"),
        &host.join("from-host"),
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    std::fs::write(host.join("from-host/y"), "").unwrap();
    for (id, sees) in [(&both, true), (&follows, true), (&private, false)] {
        let command = Fixture::exec_words(&["test", "-e", "/m/from-host/y"]);
        let code = f
            .runtime
            .exec_sync(id, &command, Duration::from_secs(5))
            .await
            .unwrap()
            .exit_code;
        assert_eq!(code == 0, sees);
    }
    nix::mount::umount2(
        &host.join("from-container"),
        nix::mount::MntFlags::MNT_DETACH,
    )
    .unwrap();
    drop(guard);
}

/// All of the above where only version 2 is mounted: devices are then restricted by a program, and there is a cgroup namespace.
#[test]
fn the_same_with_cgroups_of_version_2_alone() {
    if !can_run() {
        return;
    }
    let script = "mount --make-rprivate / && umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
    let tests = std::env::current_exe().unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(tests)
        .args(["--skip", "the_same_with"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
