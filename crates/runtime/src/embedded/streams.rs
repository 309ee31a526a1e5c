//! Streams between a process in a container and whoever talks to it.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll, ready},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd},
    net::unix::pipe,
    sync::{mpsc, oneshot},
};

use crate::{
    types::{BoxRead, BoxWrite, Error, Result, Streams},
    wire::{Connection, Reply, StreamSet},
};

/// Our ends and the process's ends of the wanted streams.
pub(super) struct Pipes {
    pub stdin: Option<BoxWrite>,
    pub stdout: Option<BoxRead>,
    pub stderr: Option<BoxRead>,
    /// In the order of [`StreamSet`].
    pub theirs: Vec<OwnedFd>,
}

impl Pipes {
    pub(super) fn new(want: StreamSet) -> io::Result<Self> {
        let mut pipes = Self {
            stdin: None,
            stdout: None,
            stderr: None,
            theirs: Vec::new(),
        };
        if want.stdin {
            let (send, receive) = pipe::pipe()?;
            pipes.stdin = Some(Box::new(send));
            pipes.theirs.push(receive.into_blocking_fd()?);
        }
        for (wanted, ours) in [
            (want.stdout, &mut pipes.stdout),
            (want.stderr, &mut pipes.stderr),
        ] {
            if wanted {
                let (send, receive) = pipe::pipe()?;
                *ours = Some(Box::new(receive));
                pipes.theirs.push(send.into_blocking_fd()?);
            }
        }
        Ok(pipes)
    }
}

/// The controlling end of a terminal, to be read, written and resized from several places.
#[derive(Clone)]
pub(super) struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // SAFETY: an owned descriptor stays the same until it is dropped.
        Ok(Self(Arc::new(unsafe { AsyncFd::register(fd) }?)))
    }

    fn resize(&self, columns: u16, rows: u16) {
        let size = libc::winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the descriptor is open. A terminal that is gone needs no size.
        unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }

    /// Follows the sizes that come until nobody sends any more.
    pub(super) fn follow(self, mut sizes: mpsc::Receiver<(u16, u16)>) {
        tokio::spawn(async move {
            while let Some((columns, rows)) = sizes.recv().await {
                self.resize(columns, rows);
            }
        });
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(task))?;
            match ready.try_io(|fd| {
                Ok(nix::unistd::read(
                    fd.get_ref(),
                    buffer.initialize_unfilled(),
                )?)
            }) {
                Ok(Ok(read)) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // Nobody has the other end open any more.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Task<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(task))?;
            if let Ok(done) = ready.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(done);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Ties the streams to the connection on which the shim will tell the exit code.
pub(super) fn assemble(
    connection: Connection,
    pipes: Pipes,
    terminal: Option<Terminal>,
    own: bool,
) -> Streams {
    let (resize, sizes) = mpsc::channel(8);
    let exit = wait_for_exit(connection);
    let mut streams = Streams {
        stdin: pipes.stdin,
        stdout: pipes.stdout,
        stderr: pipes.stderr,
        resize,
        exit,
    };
    if let Some(terminal) = terminal {
        if own {
            streams.stdin = Some(Box::new(terminal.clone()));
            streams.stdout = Some(Box::new(terminal.clone()));
        }
        terminal.follow(sizes);
    }
    streams
}

fn wait_for_exit(mut connection: Connection) -> oneshot::Receiver<Result<i32>> {
    let (mut send, receive) = oneshot::channel();
    tokio::spawn(async move {
        tokio::select! {
            exit = exit_code(&mut connection) => {
                // Whoever waited may be gone.
                let _ = send.send(exit);
            }
            // Hanging up tells the shim that nobody waits.
            () = send.closed() => {}
        }
    });
    receive
}

/// The code that a `Started` process ends with.
pub(super) async fn exit_code(connection: &mut Connection) -> Result<i32> {
    match connection.receive::<Reply>().await {
        Ok(Some((Reply::Exited { code }, _))) => Ok(code),
        Ok(_) => Err(Error::Other(anyhow::anyhow!(
            "the shim ended before the process did"
        ))),
        Err(error) => Err(Error::Other(error.into())),
    }
}
