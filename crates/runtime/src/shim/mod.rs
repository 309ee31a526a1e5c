//! The process that holds one pod: its namespaces, its containers' streams and exit codes.
//!
//! It is the same executable as Knarr, started as `knarr shim --state DIR`, and outlives it. It has one thread: after a fork
//! the child may run ordinary code, and a pod costs little memory.

mod birth;
mod container;
mod devices;
mod log;
pub(crate) mod pipe;
mod pod;
mod process;
mod rootfs;
mod seccomp;
mod server;
mod sys;
mod syscalls;
mod terminal;
mod users;

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
};

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        signal::{SigHandler, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{broadcast, oneshot},
    task::{LocalSet, spawn_local},
};

use crate::{
    record::{SandboxRecord, ShimRecord, start_time},
    spec::RunStatus,
};

/// State of a shim. Single-threaded, hence the cells.
struct Shim {
    /// `<state>/sandboxes/<id>`.
    dir: PathBuf,
    home: birth::Home,
    containers: RefCell<HashMap<String, Rc<container::Container>>>,
    exits: RefCell<HashMap<Pid, oneshot::Sender<i32>>>,
    changes: broadcast::Sender<RunStatus>,
}

/// Runs a shim: the arguments are `--state DIR`. Returns in the starting process once the shim serves its socket in
/// the background, or with the reason on stderr why it does not.
pub fn shim_main(args: impl IntoIterator<Item = String>) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    let mut args = args.into_iter();
    let dir = match (args.next().as_deref(), args.next()) {
        (Some("--state"), Some(dir)) => PathBuf::from(dir),
        _ => bail!("usage: knarr shim --state DIR"),
    };
    let (read, write) = pipe2(OFlag::O_CLOEXEC).context("pipe")?;
    // SAFETY: this process has one thread so far.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { .. } => {
            drop(write);
            let mut answer = String::new();
            File::from(read)
                .read_to_string(&mut answer)
                .context("wait for the shim")?;
            match answer.as_str() {
                "ready" => Ok(()),
                "" => bail!("the shim ended at once"),
                reason => bail!("{reason}"),
            }
        }
        ForkResult::Child => {
            drop(read);
            let mut starter = Some(write);
            if let Err(error) = run(&dir, &mut starter) {
                let text = format!("{error:#}");
                match starter.take() {
                    Some(starter) => drop(File::from(starter).write_all(text.as_bytes())),
                    None => eprintln!("{text}"),
                }
            }
            std::process::exit(1);
        }
    }
}

fn run(dir: &Path, starter: &mut Option<OwnedFd>) -> anyhow::Result<()> {
    setsid().context("setsid")?;
    // Somebody who listened and went away must not end the pod. Programs in containers get the default back.
    // SAFETY: ignoring runs no code.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigIgn) }
        .context("ignore SIGPIPE")?;
    let record: SandboxRecord = crate::record::read(&dir.join("sandbox.json"))?;
    detach_streams(dir)?;
    let home = pod::set_up(dir, &record)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("event loop")?;
    LocalSet::new().block_on(&runtime, async {
        let listener = pod::bind_socket(dir)?;
        let shim = Rc::new(Shim {
            dir: dir.to_owned(),
            home,
            containers: RefCell::default(),
            exits: RefCell::default(),
            changes: broadcast::channel(64).0,
        });
        let children = signal(SignalKind::child()).context("SIGCHLD")?;
        spawn_local(Rc::clone(&shim).reap(children));
        let pid = std::process::id().cast_signed();
        let own = ShimRecord {
            pid,
            start_time: start_time(pid).unwrap_or(0),
        };
        crate::record::write(&dir.join("shim.json"), &own)?;
        if let Some(starter) = starter.take() {
            File::from(starter)
                .write_all(b"ready")
                .context("report readiness")?;
        }
        server::serve(shim, listener).await;
        Ok(())
    })
}

/// Lets go of whoever started the shim; what it has to say goes to a file beside its state.
fn detach_streams(dir: &Path) -> anyhow::Result<()> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("open /dev/null")?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("shim.log"))
        .context("open shim.log")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&log)?;
    std::env::set_current_dir("/")?;
    Ok(())
}

impl Shim {
    /// Resolves with the exit code of a child. Call it before anything else can reap.
    fn expect_exit(&self, pid: Pid) -> oneshot::Receiver<i32> {
        let (send, receive) = oneshot::channel();
        self.exits.borrow_mut().insert(pid, send);
        receive
    }

    async fn reap(self: Rc<Self>, mut children: tokio::signal::unix::Signal) {
        loop {
            children.recv().await;
            loop {
                let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                    Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                    Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                    Ok(_) | Err(_) => continue,
                };
                if let Some(exit) = self.exits.borrow_mut().remove(&pid) {
                    // Whoever waited may have gone.
                    let _ = exit.send(code);
                }
            }
        }
    }
}
