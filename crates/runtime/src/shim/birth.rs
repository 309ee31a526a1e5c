//! How processes come to be: the first of a container, further ones, and the one that reaps a shared process namespace.
//!
//! The shim has one thread, so that a forked child may go on running ordinary code.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use anyhow::Context;
use nix::{
    sched::{CloneFlags, setns},
    sys::{
        signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
    },
    unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid},
};
use seccompiler::BpfProgram;

use super::{
    process::become_program,
    rootfs,
    sys::{close_others, fork_into},
    terminal::Terminal,
};
use crate::{
    cgroup::Cgroups,
    spec::{ContainerSpec, PidNamespace, ProcessSpec},
    wire::{Birth, send_blocking},
};

/// The process's ends of its streams; `None` is `/dev/null`.
#[derive(Default)]
pub(super) struct ChildStreams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// A process that is still becoming its program, and the socket on which it says how that goes.
pub(super) struct Newborn {
    pub pid: Pid,
    pub socket: OwnedFd,
}

/// Namespaces of the shim that its children are born into.
pub(super) struct Home {
    pub cgroups: Cgroups,
    /// The shim's own process namespace, to come back to.
    pub pid_namespace: File,
    /// Process namespace that the pod's containers share.
    pub shared_pids: Option<File>,
}

impl Home {
    /// Starts a container's first process.
    pub(super) fn start(
        &self,
        spec: &ContainerSpec,
        streams: ChildStreams,
        seccomp: &[BpfProgram],
    ) -> anyhow::Result<Newborn> {
        let mut namespaces = CloneFlags::CLONE_NEWNS;
        let join = match spec.pid_namespace {
            PidNamespace::Container => {
                namespaces |= CloneFlags::CLONE_NEWPID;
                None
            }
            PidNamespace::Pod => Some(
                self.shared_pids
                    .as_ref()
                    .context("the pod has no shared process namespace")?,
            ),
            PidNamespace::Host => None,
        };
        let joins = self.cgroups.procs_files(&spec.cgroup);
        let unified = self.cgroups.unified();
        self.fork(namespaces, join, &spec.cgroup, |socket| {
            prepare(&spec.process, &joins)?;
            if unified {
                nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP)
                    .context("create cgroup namespace")?;
            }
            rootfs::enter(spec, &self.cgroups)?;
            connect_streams(&spec.process, streams, socket, true)?;
            become_program(&spec.process, seccomp, true)
        })
    }

    /// Adds a process to a running container.
    pub(super) fn join(
        &self,
        container_pid: Pid,
        cgroup: &str,
        process: &ProcessSpec,
        streams: ChildStreams,
        seccomp: &[BpfProgram],
    ) -> anyhow::Result<Newborn> {
        let namespace = |name: &str| {
            File::open(format!("/proc/{container_pid}/ns/{name}"))
                .context("the container has ended")
        };
        let (mounts, pids, groups) = (namespace("mnt")?, namespace("pid")?, namespace("cgroup")?);
        let joins = self.cgroups.procs_files(cgroup);
        self.fork(CloneFlags::empty(), Some(&pids), cgroup, |socket| {
            prepare(process, &joins)?;
            setns(&groups, CloneFlags::CLONE_NEWCGROUP).context("enter cgroup namespace")?;
            setns(&mounts, CloneFlags::CLONE_NEWNS).context("enter mount namespace")?;
            connect_streams(process, streams, socket, false)?;
            become_program(process, seccomp, false)
        })
    }

    /// Starts process 1 of a process namespace that containers share: it only reaps.
    pub(super) fn start_reaper(&self) -> anyhow::Result<Pid> {
        // SAFETY: the shim has one thread.
        let pid = unsafe {
            fork_into(CloneFlags::CLONE_NEWPID.bits(), None, || {
                // Held open here, the shim's pipes and sockets would never seem closed.
                close_others();
                let _ = reset_signals();
                let _ = nix::sys::prctl::set_name(c"pause");
                let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
                // With SIGCHLD ignored the kernel reaps.
                let _ = signal(Signal::SIGCHLD, SigHandler::SigIgn);
                loop {
                    nix::unistd::pause();
                }
            })
        };
        pid.context("start the pod's reaper")
    }

    fn fork(
        &self,
        namespaces: CloneFlags,
        pids: Option<&File>,
        cgroup: &str,
        child: impl FnOnce(&OwnedFd) -> anyhow::Result<std::convert::Infallible>,
    ) -> anyhow::Result<Newborn> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .context("socketpair")?;
        let group = self.cgroups.birthplace(cgroup).map(File::open);
        let group = group.transpose().context("open cgroup")?;
        if let Some(pids) = pids {
            setns(pids, CloneFlags::CLONE_NEWPID).context("enter process namespace")?;
        }
        // SAFETY: the shim has one thread.
        let pid = unsafe {
            fork_into(namespaces.bits(), group.as_ref().map(File::as_fd), || {
                let error = match child(&theirs) {
                    Ok(never) => match never {},
                    Err(error) => error,
                };
                // With nobody to tell there is nothing left to do.
                let _ = send_blocking(&theirs, &Birth::Failed(format!("{error:#}")), &[]);
                1
            })
        };
        if pids.is_some() {
            setns(&self.pid_namespace, CloneFlags::CLONE_NEWPID)
                .context("leave process namespace")?;
        }
        Ok(Newborn {
            pid: pid.context("fork")?,
            socket: ours,
        })
    }
}

/// What comes before entering any namespace: sessions, signals, groups.
fn prepare(process: &ProcessSpec, joins: &[PathBuf]) -> anyhow::Result<()> {
    reset_signals()?;
    setsid().context("setsid")?;
    if let Some(adjust) = process.oom_score_adj {
        adjust_oom_score(adjust);
    }
    for file in joins {
        std::fs::write(file, "0").with_context(|| format!("join {}", file.display()))?;
    }
    Ok(())
}

/// Lowering it needs CAP_SYS_RESOURCE, which Knarr may lack: then the process keeps what it inherited. Knarr says so once.
fn adjust_oom_score(adjust: i32) {
    let _ = std::fs::write("/proc/self/oom_score_adj", adjust.to_string());
}

fn reset_signals() -> anyhow::Result<()> {
    for number in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of ours.
        unsafe { signal(number, SigHandler::SigDfl) }.context("reset signals")?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("unblock signals")
}

fn connect_streams(
    process: &ProcessSpec,
    streams: ChildStreams,
    socket: &OwnedFd,
    console: bool,
) -> anyhow::Result<()> {
    if process.terminal {
        let terminal = Terminal::open().context("open a terminal")?;
        if console {
            rootfs::bind_console(terminal.number)?;
        }
        terminal
            .take_control()
            .context("take control of the terminal")?;
        send_blocking(socket, &Birth::Terminal, &[terminal.controller.as_fd()])?;
        dup2_stdin(&terminal.terminal)?;
        dup2_stdout(&terminal.terminal)?;
        dup2_stderr(&terminal.terminal)?;
        return Ok(());
    }
    let null = || {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .context("open /dev/null")
            .map(OwnedFd::from)
    };
    let or_null = |stream: Option<OwnedFd>| stream.map_or_else(null, Ok);
    dup2_stdin(or_null(streams.stdin)?)?;
    dup2_stdout(or_null(streams.stdout)?)?;
    dup2_stderr(or_null(streams.stderr)?)?;
    Ok(())
}
