//! A runtime of its own for each test, cleaned up however the test ends.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::{
    ffi::{CStr, c_char, c_int},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use knarr_runtime::{
    Config, ContainerConfig, ContainerState, ContainerStatus, Embedded, Runtime, SandboxConfig,
    SandboxNetwork, SandboxStatus, images::ImageBuilder,
};

/// The test executable is its own shim: before the test harness looks at the arguments, this does.
extern "C" fn become_shim(count: c_int, arguments: *const *const c_char) {
    // SAFETY: the C library hands over `count` strings.
    let words: Vec<String> = (0..usize::try_from(count).unwrap_or(0))
        .map(|at| {
            unsafe { CStr::from_ptr(*arguments.add(at)) }
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    if words.get(1).is_some_and(|w| w == "shim") {
        let code = knarr_runtime::shim_main(words.into_iter().skip(2));
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static BECOME_SHIM: extern "C" fn(c_int, *const *const c_char) = become_shim;

/// Says why a test does nothing.
pub fn can_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let busybox = Path::new("/bin/busybox").exists();
    if !root {
        eprintln!("skipped: needs root");
    } else if !busybox {
        eprintln!("skipped: needs /bin/busybox (package busybox-static)");
    }
    root && busybox
}

/// Gives addresses and no connection.
struct NoNetwork;

#[async_trait]
impl SandboxNetwork for NoNetwork {
    async fn attach(
        &self,
        _: &str,
        netns: &Path,
        _: &SandboxConfig,
    ) -> anyhow::Result<Vec<IpAddr>> {
        anyhow::ensure!(netns.exists(), "no network namespace");
        Ok(vec!["192.0.2.1".parse()?])
    }

    async fn detach(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }

    async fn restore(&self, _: &[SandboxStatus]) -> anyhow::Result<()> {
        Ok(())
    }
}

pub struct Fixture {
    pub runtime: Embedded,
    pub config: Config,
    pub dir: PathBuf,
}

pub fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

pub fn config_in(dir: &Path) -> Config {
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    Config {
        root: dir.join("root"),
        state: dir.join("state"),
        cgroup_root: format!("/{name}"),
        shim: std::env::current_exe().unwrap(),
        network: Arc::new(NoNetwork),
        registries: Default::default(),
    }
}

/// Busybox with its usual names.
pub fn busybox_image(name: &str) -> ImageBuilder {
    let content = std::fs::read("/bin/busybox").unwrap();
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/var/www:/bin/sh\n";
    let group = "root:x:0:\nwww:x:102:\nmail:x:8:web\n";
    let mut image = ImageBuilder::new(name)
        .directory("/bin", 0o755)
        .directory("/tmp", 0o1777)
        .file("/bin/busybox", 0o755, content)
        .file("/etc/passwd", 0o644, passwd)
        .file("/etc/group", 0o644, group)
        .env("FROM_IMAGE", "yes");
    for applet in [
        "sh", "ls", "cat", "echo", "sleep", "id", "env", "hostname", "dd", "mount", "ps", "kill",
        "true", "false", "touch", "stat", "tr", "head", "yes", "seq", "grep", "stty", "nc", "pwd",
        "mknod", "ping", "test", "rm", "tail", "mkdir", "tty", "unshare", "wc", "readlink",
        "sysctl",
    ] {
        image = image.symlink(&format!("/bin/{applet}"), "busybox");
    }
    image
}

impl Fixture {
    pub async fn new() -> Self {
        let dir = PathBuf::from(format!("/var/tmp/knarr-test-{}", unique()));
        let config = config_in(&dir);
        let runtime = Embedded::open(config.clone()).await.unwrap();
        let archive = busybox_image("busybox").build().unwrap();
        runtime
            .image_store()
            .import(std::io::Cursor::new(archive), None)
            .unwrap();
        Self {
            runtime,
            config,
            dir,
        }
    }

    /// Opens what an earlier process left.
    pub async fn adopt(dir: &Path) -> Self {
        let config = config_in(dir);
        let runtime = Embedded::open(config.clone()).await.unwrap();
        Self {
            runtime,
            config,
            dir: dir.to_owned(),
        }
    }

    pub fn kill_shim(&self, sandbox: &str) {
        let path = self
            .config
            .state
            .join("sandboxes")
            .join(sandbox)
            .join("shim.json");
        let record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let pid = i32::try_from(record["pid"].as_i64().unwrap()).unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
    }

    /// A second runtime on the same state, after a shim died unseen.
    pub async fn reopen_without(&self, sandbox: &str) -> Embedded {
        self.kill_shim(sandbox);
        Embedded::open(self.config.clone()).await.unwrap()
    }

    pub fn sandbox_config(&self, name: &str) -> SandboxConfig {
        SandboxConfig {
            pod_name: name.into(),
            pod_namespace: "default".into(),
            pod_uid: format!("uid-{name}"),
            hostname: name.into(),
            log_directory: self.dir.join("logs").join(name),
            cgroup_parent: format!("{}/kubepods/pod{name}", self.config.cgroup_root),
            ..SandboxConfig::default()
        }
    }

    /// A sandbox like `name`.
    pub async fn sandbox(&self, name: &str) -> String {
        self.runtime
            .run_sandbox(&self.sandbox_config(name))
            .await
            .unwrap()
    }

    /// Creates and starts a container.
    pub async fn run(&self, sandbox: &str, config: &ContainerConfig) -> String {
        let id = self
            .runtime
            .create_container(sandbox, config)
            .await
            .unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    pub async fn wait_exit(&self, id: &str) -> ContainerStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.runtime.container_status(id).await.unwrap();
            if status.state == ContainerState::Exited {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "container does not end: {status:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The lines of a log without their times.
    pub async fn log(&self, id: &str) -> Vec<String> {
        let path = self.runtime.container_status(id).await.unwrap().log_path;
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|l| l.split_once(' ').unwrap().1.to_owned())
            .collect()
    }

    /// Waits until a container has said something: only then its signal handlers are known to be there.
    pub async fn wait_log(&self, id: &str, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.log(id).await.iter().any(|l| l.contains(wanted)) {
            assert!(
                Instant::now() < deadline,
                "{wanted} does not show up in the log"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs a shell script to its end.
    pub async fn script(&self, sandbox: &str, script: &str) -> (ContainerStatus, Vec<String>) {
        let id = self.run(sandbox, &shell(&unique(), script)).await;
        let status = self.wait_exit(&id).await;
        let log = self.log(&id).await;
        (status, log)
    }

    pub fn exec_words(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }
}

pub fn shell(name: &str, script: &str) -> ContainerConfig {
    ContainerConfig {
        name: name.into(),
        image_id: "busybox".into(),
        image_ref: "busybox".into(),
        command: vec!["/bin/sh".into(), "-c".into()],
        args: vec![script.into()],
        log_path: format!("{name}/0.log").into(),
        ..ContainerConfig::default()
    }
}

/// Nothing of a test may be left on the machine.
pub fn assert_nothing_left(dir: &Path) {
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&name), "mounts left: {mounts}");
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(
            !hierarchy.path().join(&name).exists(),
            "cgroup left in {:?}",
            hierarchy.path()
        );
    }
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        assert!(
            !(command.contains(&name) && command.contains("shim")),
            "shim left: {command}"
        );
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let runtime = self.runtime.clone();
        let done = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(runtime.destroy_all())
        });
        if std::thread::panicking() {
            eprintln!("cleanup: {done:?}");
            for entry in std::fs::read_dir(self.dir.join("state/sandboxes"))
                .into_iter()
                .flatten()
                .flatten()
            {
                eprintln!(
                    "{}",
                    std::fs::read_to_string(entry.path().join("shim.log")).unwrap_or_default()
                );
            }
        }
        let _ = std::fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            done.unwrap();
            assert_nothing_left(&self.dir);
        }
    }
}
