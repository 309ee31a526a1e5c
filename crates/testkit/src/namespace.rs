//! A network namespace with an address and a default route, and nothing behind them.

use std::{
    fs::File,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns};

/// The node's address inside.
pub const ADDRESS: &str = "172.30.0.2";

/// Removed when dropped, with every process that still is in it.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// # Panics
    /// When the namespace cannot be made: a test cannot go on then.
    pub fn new() -> Self {
        let namespace = Namespace {
            name: format!("knarr-test-{:08x}", rand::random::<u32>()),
        };
        let name = namespace.name.as_str();
        let address = format!("{ADDRESS}/24");
        ip(&["netns", "add", name]);
        for args in [
            &["link", "set", "lo", "up"][..],
            &[
                "link", "add", "eth0", "type", "veth", "peer", "name", "wire",
            ],
            &["link", "set", "wire", "up"],
            &["addr", "add", address.as_str(), "dev", "eth0"],
            &["link", "set", "eth0", "up"],
            &["route", "add", "default", "dev", "eth0"],
        ] {
            ip(&[&["-n", name], args].concat());
        }
        namespace
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that will run inside. Only the network differs: mounts and processes are seen as outside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs `work` on a thread inside.
    ///
    /// # Panics
    /// When the namespace is gone, and when `work` panics.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(self.path()).expect("namespace is there");
        let thread = thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let pids = Command::new("ip")
            .args(["netns", "pids", &self.name])
            .output();
        for pid in pids.iter().flat_map(|o| o.stdout.split(|b| *b == b'\n')) {
            let pid = std::str::from_utf8(pid)
                .ok()
                .and_then(|p| p.trim().parse().ok());
            if let Some(pid) = pid {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .stderr(Stdio::null())
            .status();
    }
}

fn ip(args: &[&str]) {
    let status = Command::new("ip").args(args).status().expect("ip runs");
    assert!(status.success(), "ip {}", args.join(" "));
}
