//! Answers Knarr on the shim's socket.

use std::{
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

use anyhow::{Context, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use tokio::{
    net::{TcpStream, UnixListener},
    sync::broadcast::error::RecvError,
    task::spawn_local,
};

use super::{
    Shim,
    birth::ChildStreams,
    container::{Container, await_birth},
    seccomp,
};
use crate::{
    spec::ProcessSpec,
    types::ContainerState,
    wire::{Connection, Reply, Request, StreamSet},
};

/// Takes connections until the shim is told to shut down.
pub(super) async fn serve(shim: Rc<Shim>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shim = Rc::clone(&shim);
                spawn_local(async move {
                    if let Err(error) = answer(&shim, Connection::new(stream)).await {
                        eprintln!("{error:#}");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors: some will be closed.
                eprintln!("accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(shim: &Rc<Shim>, mut connection: Connection) -> anyhow::Result<()> {
    let Some((request, fds)) = connection.receive::<Request>().await? else {
        return Ok(());
    };
    let reply = match request {
        Request::Start(spec) => shim.start(*spec).await.map(|pid| Reply::Started { pid }),
        Request::Kill { container, signal } => {
            shim.signal(&container, signal).map(|()| Reply::Done)
        }
        Request::ReopenLog { container } => shim.reopen_log(&container).map(|()| Reply::Done),
        Request::Forget { container } => {
            shim.forget(&container);
            Ok(Reply::Done)
        }
        Request::Connect { port } => return connect(&mut connection, port).await,
        Request::Watch => return watch(shim, connection).await,
        Request::Exec {
            container,
            process,
            streams,
            kill_on_close,
        } => {
            return exec(
                shim,
                connection,
                &container,
                &process,
                streams,
                fds,
                kill_on_close,
            )
            .await;
        }
        Request::Attach { container, streams } => {
            return attach(shim, connection, &container, streams, fds).await;
        }
        Request::Shutdown => {
            shim.shut_down().await;
            connection.send(&Reply::Done, &[]).await?;
            std::process::exit(0);
        }
    };
    let reply = reply.unwrap_or_else(|error| failed(&error));
    Ok(connection.send(&reply, &[]).await?)
}

fn failed(error: &anyhow::Error) -> Reply {
    Reply::Failed {
        message: format!("{error:#}"),
    }
}

impl Shim {
    fn container(&self, id: &str) -> anyhow::Result<Rc<Container>> {
        self.containers
            .borrow()
            .get(id)
            .cloned()
            .ok_or_else(|| anyhow!("container {id} was not started here"))
    }

    fn signal(&self, id: &str, signal: i32) -> anyhow::Result<()> {
        let signal = Signal::try_from(signal).context("unknown signal")?;
        if let Some(pid) = self.container(id)?.pid() {
            kill(pid, signal).context("kill")?;
        }
        Ok(())
    }

    fn reopen_log(&self, id: &str) -> anyhow::Result<()> {
        self.container(id)?
            .log
            .borrow_mut()
            .reopen()
            .context("open the container's log anew")
    }

    fn forget(&self, id: &str) {
        let ended = |c: &Rc<Container>| c.status.borrow().state == ContainerState::Exited;
        self.containers
            .borrow_mut()
            .retain(|known, container| known != id || !ended(container));
    }

    async fn shut_down(&self) {
        let containers: Vec<_> = self.containers.borrow().values().cloned().collect();
        for container in &containers {
            if let Some(pid) = container.pid() {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        for container in &containers {
            if container.status.borrow().state == ContainerState::Running {
                container.ended().await;
            }
        }
    }
}

async fn watch(shim: &Rc<Shim>, mut connection: Connection) -> anyhow::Result<()> {
    // Listening first: what happens meanwhile is told twice rather than not at all.
    let mut changes = shim.changes.subscribe();
    loop {
        let known: Vec<_> = shim
            .containers
            .borrow()
            .values()
            .map(|c| c.status.borrow().clone())
            .collect();
        for status in known {
            connection.send(&Reply::Status(status), &[]).await?;
        }
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(status) => connection.send(&Reply::Status(status), &[]).await?,
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Ok(()),
                },
                () = connection.closed() => return Ok(()),
            }
        }
    }
}

async fn connect(connection: &mut Connection, port: u16) -> anyhow::Result<()> {
    let stream = match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(stream) => Ok(stream),
        Err(v4) => TcpStream::connect(("::1", port)).await.map_err(|v6| {
            anyhow!(
                "failed to connect to localhost:{port} inside namespace, \
                 IPv4: dial tcp4 127.0.0.1:{port}: {v4}, IPv6: dial tcp6 [::1]:{port}: {v6}"
            )
        }),
    };
    match stream {
        Ok(stream) => {
            connection
                .send(&Reply::Connected, &[stream.as_fd()])
                .await?
        }
        Err(error) => connection.send(&failed(&error), &[]).await?,
    }
    Ok(())
}

/// Takes the descriptors that came with a request apart.
fn split(streams: StreamSet, fds: Vec<OwnedFd>) -> anyhow::Result<ChildStreams> {
    let mut fds = fds.into_iter();
    let mut next = |wanted: bool| -> anyhow::Result<Option<OwnedFd>> {
        if !wanted {
            return Ok(None);
        }
        fds.next().map(Some).context("a descriptor is missing")
    };
    Ok(ChildStreams {
        stdin: next(streams.stdin)?,
        stdout: next(streams.stdout)?,
        stderr: next(streams.stderr)?,
    })
}

async fn exec(
    shim: &Rc<Shim>,
    mut connection: Connection,
    id: &str,
    process: &ProcessSpec,
    streams: StreamSet,
    fds: Vec<OwnedFd>,
    kill_on_close: bool,
) -> anyhow::Result<()> {
    let begin = || -> anyhow::Result<_> {
        let container = shim.container(id)?;
        let init = container.pid().context("container is not running")?;
        let filters = seccomp::compile(&process.seccomp, process.capabilities)?;
        let newborn = shim.home.join(
            init,
            &container.spec.cgroup,
            process,
            split(streams, fds)?,
            &filters,
        )?;
        let ended = shim.expect_exit(newborn.pid);
        Ok((newborn, ended))
    };
    let (newborn, mut ended) = match begin() {
        Ok(begun) => begun,
        Err(error) => return Ok(connection.send(&failed(&error), &[]).await?),
    };
    let pid = newborn.pid;
    let terminal = match await_birth(newborn).await {
        Ok(terminal) => terminal,
        Err(error) => return Ok(connection.send(&failed(&error), &[]).await?),
    };
    let pass: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
    connection
        .send(&Reply::Started { pid: pid.as_raw() }, &pass)
        .await?;
    drop(pass);
    drop(terminal);
    let code = tokio::select! {
        code = &mut ended => code,
        () = connection.closed() => {
            if kill_on_close {
                // It leads a session; whatever it started there goes too.
                let _ = nix::sys::signal::killpg(pid, Signal::SIGKILL);
            }
            return Ok(());
        }
    };
    Ok(connection
        .send(
            &Reply::Exited {
                code: code.unwrap_or(137),
            },
            &[],
        )
        .await?)
}

async fn attach(
    shim: &Rc<Shim>,
    mut connection: Connection,
    id: &str,
    streams: StreamSet,
    fds: Vec<OwnedFd>,
) -> anyhow::Result<()> {
    let begin = || -> anyhow::Result<_> {
        let container = shim.container(id)?;
        if container.status.borrow().state != ContainerState::Running {
            bail!("container is not running");
        }
        let ends = split(streams, fds)?;
        let listener = container.listen(ends.stdout, ends.stderr)?;
        Ok((container, listener, ends.stdin))
    };
    let (container, listener, stdin) = match begin() {
        Ok(begun) => begun,
        Err(error) => return Ok(connection.send(&failed(&error), &[]).await?),
    };
    let feeding = stdin.map(|input| spawn_local(Rc::clone(&container).feed(input)));
    let terminal = container.terminal.borrow().clone();
    let pass: Vec<_> = terminal.iter().map(|t| t.as_fd()).collect();
    let pid = container.pid().map_or(0, nix::unistd::Pid::as_raw);
    connection.send(&Reply::Started { pid }, &pass).await?;
    drop(pass);
    drop(terminal);
    let ended = tokio::select! {
        code = container.ended() => Some(code),
        () = connection.closed() => None,
    };
    container.stop_listening(listener);
    // When the client hangs up, what it sent before still arrives: its end of the pipe is closed too.
    if let (Some(_), Some(feeding)) = (ended, feeding) {
        feeding.abort();
    }
    match ended {
        Some(code) => Ok(connection.send(&Reply::Exited { code }, &[]).await?),
        None => Ok(()),
    }
}
