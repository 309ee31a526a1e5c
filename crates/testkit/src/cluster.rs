//! A cluster started by the real binary, as a user would.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Namespace;

/// How long a cluster may take to be ready on a busy machine.
const START: Duration = Duration::from_secs(60);

/// What a command said.
#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// A running cluster. Dropping it leaves nothing behind.
pub struct Cluster {
    pub namespace: Namespace,
    dir: tempfile::TempDir,
    binary: PathBuf,
    process: Option<Child>,
}

impl Cluster {
    /// Starts `binary up` and waits until the node is Ready. The image of the demo program is imported.
    ///
    /// # Panics
    /// When the cluster does not start.
    pub fn start(binary: impl Into<PathBuf>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("knarr-test-")
            .tempdir()
            .expect("temporary directory");
        let mut cluster = Cluster {
            namespace: Namespace::new(),
            dir,
            binary: binary.into(),
            process: None,
        };
        cluster.up(&[]);
        cluster.import(&crate::images::demo());
        cluster
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A scratch directory of this cluster.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Starts Knarr (again) with more arguments to `up` and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn up(&mut self, args: &[&str]) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("log file");
        let mut command = self.command(&self.binary);
        command
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["up", "--no-kubeconfig"])
            // Tests say nothing of the disk of the machine they run on, however full.
            .arg("--eviction-hard=memory.available<50Mi")
            .args(args);
        command.env(
            "KNARR_LOG",
            std::env::var("KNARR_LOG").unwrap_or_else(|_| "info".into()),
        );
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log file"))
            .stderr(log);
        let mut process = command.spawn().expect("knarr starts");
        let started = Instant::now();
        while !self.is_ready(&process) {
            let ended = process.try_wait().expect("wait for knarr");
            assert!(ended.is_none(), "knarr ended: {}", self.log_text());
            assert!(
                started.elapsed() < START,
                "knarr is not ready: {}",
                self.log_text()
            );
            sleep(Duration::from_millis(10));
        }
        self.process = Some(process);
    }

    fn is_ready(&self, process: &Child) -> bool {
        // nsenter replaces itself with knarr, so that the process id stays.
        let wanted = process.id().to_string();
        let output = self.knarr_command(&["status"]).output();
        let status = output
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
            .unwrap_or_default();
        status.contains(&format!("process {wanted} "))
            && status
                .lines()
                .any(|l| l.starts_with("node:") && l.ends_with(" Ready"))
    }

    /// What Knarr logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The process of Knarr, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Ends Knarr as if the power of its process were cut.
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Ends Knarr as Ctrl-C does.
    pub fn interrupt(&mut self) {
        self.end(Signal::SIGINT);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            let pid = i32::try_from(process.id()).unwrap_or_default();
            let _ = kill(Pid::from_raw(pid), signal);
            let _ = process.wait();
        }
    }

    /// The admin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    /// A command in the node's network.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.namespace.command(program);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.dir.path());
        command
    }

    fn knarr_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(&self.binary);
        command.arg("--data-dir").arg(self.data_dir()).args(args);
        command
    }

    /// Runs `knarr` with this cluster's data directory.
    pub fn knarr(&self, args: &[&str]) -> Output {
        output(self.knarr_command(args), None)
    }

    /// Runs kubectl; what it prints.
    ///
    /// # Panics
    /// When kubectl fails.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let output = self.try_kubectl(args);
        assert!(
            output.success,
            "kubectl {}: {}{}",
            args.join(" "),
            output.stdout,
            output.stderr
        );
        output.stdout
    }

    pub fn try_kubectl(&self, args: &[&str]) -> Output {
        let mut command = self.command("kubectl");
        command.args(args);
        output(command, None)
    }

    /// Runs kubectl with something on its standard input.
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.command("kubectl");
        command.args(args);
        output(command, Some(input.as_bytes()))
    }

    /// Applies manifests.
    ///
    /// # Panics
    /// When kubectl fails.
    pub fn apply(&self, manifests: &str) {
        let output = self.kubectl_with_input(&["apply", "-f", "-"], manifests);
        assert!(
            output.success,
            "kubectl apply: {}{}",
            output.stdout, output.stderr
        );
    }

    /// Imports an image archive.
    ///
    /// # Panics
    /// When it is refused.
    pub fn import(&self, archive: &[u8]) {
        let mut command = self.knarr_command(&["image", "import", "-"]);
        command.stdin(Stdio::piped());
        let output = output(command, Some(archive));
        assert!(output.success, "image import: {}", output.stderr);
    }

    /// Status code and body of a GET from the node.
    pub fn get(&self, address: &str, host: &str, path: &str) -> std::io::Result<(u16, String)> {
        let (address, host, path) = (address.to_owned(), host.to_owned(), path.to_owned());
        self.namespace.run(move || http_get(&address, &host, &path))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the cluster\n{}", self.log_text());
            let pods = self.try_kubectl(&["get", "pods,events", "-A", "-o", "wide"]);
            eprintln!("--- pods and events\n{}{}", pods.stdout, pods.stderr);
        }
        self.kill();
        let reset = self.knarr(&["reset", "--yes"]);
        if !reset.success {
            eprintln!("knarr reset: {}", reset.stderr);
        }
    }
}

fn output(mut command: Command, input: Option<&[u8]>) -> Output {
    command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("program starts");
    let writer = child
        .stdin
        .take()
        .zip(input.map(<[u8]>::to_vec))
        .map(|(mut stdin, bytes)| {
            // On a thread of its own: the program may write before it has read all.
            std::thread::spawn(move || drop(stdin.write_all(&bytes)))
        });
    let output = child.wait_with_output().expect("program ends");
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn http_get(address: &str, host: &str, path: &str) -> std::io::Result<(u16, String)> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let code = text.split_whitespace().nth(1).and_then(|c| c.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    code.zip(body)
        .ok_or_else(|| std::io::Error::other(format!("no HTTP answer: {text:?}")))
}

/// Waits until `check` is true.
///
/// # Panics
/// When it is not after `patience`.
pub fn eventually(what: &str, patience: Duration, mut check: impl FnMut() -> bool) {
    let started = Instant::now();
    while !check() {
        assert!(
            started.elapsed() < patience,
            "{what}: not after {patience:?}"
        );
        sleep(Duration::from_millis(50));
    }
}
