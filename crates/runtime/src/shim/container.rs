//! A container in its shim: starts, feeds its streams, notes how it ends.

use std::{
    cell::{Cell, RefCell},
    os::fd::OwnedFd,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use anyhow::Context;
use jiff::Timestamp;
use nix::{
    fcntl::OFlag,
    sys::signal::{Signal, kill},
    unistd::{Pid, pipe2},
};
use tokio::{
    net::UnixStream,
    sync::{oneshot, watch},
    task::{JoinHandle, spawn_local},
};

use super::{
    Shim,
    birth::{ChildStreams, Newborn},
    log::{Log, Stream},
    pipe::AsyncPipe,
    seccomp,
};
use crate::{
    disk,
    spec::{ContainerSpec, PidNamespace, RunStatus},
    types::ContainerState,
    wire::{Birth, Connection},
};

/// How long output may still come after the first process ended.
const DRAIN: Duration = Duration::from_secs(2);
/// What a container that never ran has for an exit code.
const START_FAILED: i32 = 128;

pub(super) struct Container {
    pub(super) spec: ContainerSpec,
    pub(super) status: watch::Sender<RunStatus>,
    status_file: PathBuf,
    pub(super) log: RefCell<Log>,
    listeners: RefCell<Vec<Listener>>,
    pub(super) stdin: RefCell<Option<Rc<AsyncPipe>>>,
    /// The controlling end of the terminal.
    pub(super) terminal: RefCell<Option<Rc<AsyncPipe>>>,
    next_listener: Cell<u64>,
}

/// Somebody attached to the container's output.
#[derive(Clone)]
struct Listener {
    id: u64,
    stdout: Option<Rc<AsyncPipe>>,
    stderr: Option<Rc<AsyncPipe>>,
}

/// Our ends of a container's pipes.
struct Pipes {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

fn make_pipes(spec: &ContainerSpec) -> anyhow::Result<(ChildStreams, Pipes)> {
    let mut theirs = ChildStreams::default();
    let mut ours = Pipes {
        stdin: None,
        stdout: None,
        stderr: None,
    };
    if spec.process.terminal {
        return Ok((theirs, ours));
    }
    let new = || pipe2(OFlag::O_CLOEXEC).context("pipe");
    if spec.stdin {
        let (read, write) = new()?;
        (theirs.stdin, ours.stdin) = (Some(read), Some(write));
    }
    let (read, write) = new()?;
    (ours.stdout, theirs.stdout) = (Some(read), Some(write));
    let (read, write) = new()?;
    (ours.stderr, theirs.stderr) = (Some(read), Some(write));
    Ok((theirs, ours))
}

impl Shim {
    /// Starts a container and returns once its program runs.
    pub(super) async fn start(self: &Rc<Self>, spec: ContainerSpec) -> anyhow::Result<i32> {
        let id = spec.id.clone();
        let status = RunStatus {
            container: id.clone(),
            state: ContainerState::Created,
            pid: None,
            started_at: None,
            finished_at: None,
            exit_code: None,
            reason: String::new(),
            message: String::new(),
        };
        let container = Rc::new(Container {
            log: RefCell::new(Log::open(spec.log.clone()).context("open the container's log")?),
            status: watch::Sender::new(status),
            status_file: self.dir.join("containers").join(&id).join("run.json"),
            listeners: RefCell::default(),
            stdin: RefCell::default(),
            terminal: RefCell::default(),
            next_listener: Cell::new(0),
            spec,
        });
        self.containers
            .borrow_mut()
            .insert(id, Rc::clone(&container));
        match self.launch(&container).await {
            Ok(pid) => Ok(pid),
            Err(error) => {
                let _ = self.home.cgroups.remove(&container.spec.cgroup);
                let message = format!("{error:#}");
                self.note(&container, |status| {
                    status.state = ContainerState::Exited;
                    status.finished_at = Some(Timestamp::now());
                    status.exit_code = Some(START_FAILED);
                    status.reason = "StartError".into();
                    status.message = message;
                });
                Err(error)
            }
        }
    }

    async fn launch(self: &Rc<Self>, container: &Rc<Container>) -> anyhow::Result<i32> {
        let spec = &container.spec;
        let cgroups = &self.home.cgroups;
        cgroups.create(&spec.cgroup)?;
        cgroups.apply(&spec.cgroup, &spec.resources)?;
        cgroups.restrict_devices(&spec.cgroup, &super::devices::rules(spec))?;
        let filters = seccomp::compile(&spec.process.seccomp, spec.process.capabilities)?;
        let (theirs, ours) = make_pipes(spec)?;
        let newborn = self.home.start(spec, theirs, &filters)?;
        let pid = newborn.pid;
        let ended = self.expect_exit(pid);
        let terminal = match await_birth(newborn).await {
            Ok(terminal) => terminal,
            Err(error) => {
                let _ = ended.await;
                return Err(error);
            }
        };
        let readers = container.connect(ours, terminal)?;
        self.note(container, |status| {
            status.state = ContainerState::Running;
            status.pid = Some(pid.as_raw());
            status.started_at = Some(Timestamp::now());
        });
        let (shim, container) = (Rc::clone(self), Rc::clone(container));
        spawn_local(async move { shim.supervise(&container, ended, readers).await });
        Ok(pid.as_raw())
    }

    /// Waits for the end and cleans up.
    async fn supervise(
        &self,
        container: &Container,
        ended: oneshot::Receiver<i32>,
        readers: Vec<JoinHandle<()>>,
    ) {
        let code = ended.await.unwrap_or(137);
        if container.spec.pid_namespace != PidNamespace::Container {
            self.kill_rest(&container.spec.cgroup).await;
        }
        let aborts: Vec<_> = readers.iter().map(JoinHandle::abort_handle).collect();
        // A process outside of the group may still hold the pipe.
        if tokio::time::timeout(DRAIN, futures::future::join_all(readers))
            .await
            .is_err()
        {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
        let out_of_memory = code != 0 && self.home.cgroups.oom_kills(&container.spec.cgroup) > 0;
        if let Err(error) = self.home.cgroups.remove(&container.spec.cgroup) {
            eprintln!("{}: {error:#}", container.spec.id);
        }
        container.listeners.borrow_mut().clear();
        container.stdin.take();
        container.terminal.take();
        self.note(container, |status| {
            status.state = ContainerState::Exited;
            status.pid = None;
            status.finished_at = Some(Timestamp::now());
            status.exit_code = Some(code);
            status.reason = match (out_of_memory, code) {
                (true, _) => "OOMKilled",
                (false, 0) => "Completed",
                (false, _) => "Error",
            }
            .into();
        });
    }

    /// With a process namespace of its own nothing outlives a container's first process; otherwise it may.
    pub(super) async fn kill_rest(&self, cgroup: &str) {
        let mut pause = Duration::from_millis(1);
        loop {
            let pids = self.home.cgroups.pids(cgroup);
            if pids.is_empty() || pause > Duration::from_secs(2) {
                return;
            }
            for pid in pids {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    fn note(&self, container: &Container, change: impl FnOnce(&mut RunStatus)) {
        container.status.send_modify(change);
        let status = container.status.borrow().clone();
        let written = serde_json::to_vec(&status)
            .map_err(anyhow::Error::from)
            .and_then(|json| disk::replace(&container.status_file, &json));
        if let Err(error) = written {
            eprintln!("{}: cannot note the status: {error:#}", status.container);
        }
        // Without a watcher the file says it all.
        let _ = self.changes.send(status);
    }
}

/// Waits until a new process is its program; gives its terminal if it has one.
pub(super) async fn await_birth(newborn: Newborn) -> anyhow::Result<Option<OwnedFd>> {
    let socket = std::os::unix::net::UnixStream::from(newborn.socket);
    socket.set_nonblocking(true)?;
    let mut connection = Connection::new(UnixStream::from_std(socket)?);
    let mut terminal = None;
    while let Some((message, fds)) = connection.receive::<Birth>().await? {
        match message {
            Birth::Terminal => terminal = fds.into_iter().next(),
            Birth::Failed(reason) => anyhow::bail!("{reason}"),
        }
    }
    Ok(terminal)
}

impl Container {
    fn connect(
        self: &Rc<Self>,
        ours: Pipes,
        terminal: Option<OwnedFd>,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let mut readers = Vec::new();
        let mut read = |stream, pipe| readers.push(spawn_local(Rc::clone(self).copy(stream, pipe)));
        if let Some(terminal) = terminal {
            let terminal = Rc::new(AsyncPipe::new(terminal)?);
            *self.terminal.borrow_mut() = Some(Rc::clone(&terminal));
            *self.stdin.borrow_mut() = self.spec.stdin.then(|| Rc::clone(&terminal));
            read(Stream::Stdout, terminal);
        }
        if let Some(stdin) = ours.stdin {
            *self.stdin.borrow_mut() = Some(Rc::new(AsyncPipe::new(stdin)?));
        }
        for (stream, pipe) in [(Stream::Stdout, ours.stdout), (Stream::Stderr, ours.stderr)] {
            if let Some(pipe) = pipe {
                read(stream, Rc::new(AsyncPipe::new(pipe)?));
            }
        }
        Ok(readers)
    }

    /// Carries one output stream to the log and to those who listen.
    async fn copy(self: Rc<Self>, stream: Stream, pipe: Rc<AsyncPipe>) {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let Ok(read @ 1..) = pipe.read(&mut buffer).await else {
                break;
            };
            self.log.borrow_mut().write(stream, &buffer[..read]);
            let listeners = self.listeners.borrow().clone();
            for listener in listeners {
                let out = match stream {
                    Stream::Stdout => &listener.stdout,
                    Stream::Stderr => &listener.stderr,
                };
                let Some(out) = out else { continue };
                // Waiting here holds the container back when the listener does not keep up, as a pipe to it would.
                if out.write_all(&buffer[..read]).await.is_err() {
                    self.stop_listening(listener.id);
                }
            }
        }
        self.log.borrow_mut().finish(stream);
    }

    pub(super) fn listen(
        &self,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    ) -> std::io::Result<u64> {
        let pipe = |fd: Option<OwnedFd>| fd.map(|fd| AsyncPipe::new(fd).map(Rc::new)).transpose();
        let id = self.next_listener.get();
        self.next_listener.set(id + 1);
        self.listeners.borrow_mut().push(Listener {
            id,
            stdout: pipe(stdout)?,
            stderr: pipe(stderr)?,
        });
        Ok(id)
    }

    pub(super) fn stop_listening(&self, id: u64) {
        self.listeners.borrow_mut().retain(|l| l.id != id);
    }

    /// Carries input to the container until it ends.
    pub(super) async fn feed(self: Rc<Self>, input: OwnedFd) {
        let Ok(input) = AsyncPipe::new(input) else {
            return;
        };
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = input.read(&mut buffer).await {
            let Some(stdin) = self.stdin.borrow().clone() else {
                return;
            };
            if stdin.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
        if self.spec.stdin_once && !self.spec.process.terminal {
            self.stdin.take();
        }
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.status.borrow().pid.map(Pid::from_raw)
    }

    /// Resolves with the exit code once the container has ended.
    pub(super) async fn ended(&self) -> i32 {
        let mut status = self.status.subscribe();
        match status.wait_for(|s| s.state == ContainerState::Exited).await {
            Ok(status) => status.exit_code.unwrap_or(START_FAILED),
            Err(_) => START_FAILED,
        }
    }
}
