//! What Knarr and its shims say to each other: JSON behind a length, with descriptors passed along.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixStream};

use crate::spec::{ContainerSpec, ProcessSpec, RunStatus};

/// A spec with thousands of environment variables is smaller than this.
const FRAME_LIMIT: usize = 64 << 20;
const MAX_FDS: usize = 4;

/// One request per connection; some answers come in several frames.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// → `Started` or `Failed`.
    Start(Box<ContainerSpec>),
    /// With the process's ends of its streams → `Started` (with the terminal) or `Failed`, then `Exited`.
    Exec {
        container: String,
        process: Box<ProcessSpec>,
        streams: StreamSet,
        kill_on_close: bool,
    },
    /// With pipes to feed and to read → `Started` (with the terminal), then `Exited` when the container ends.
    Attach {
        container: String,
        streams: StreamSet,
    },
    /// → `Done`, also when the container has ended.
    Kill { container: String, signal: i32 },
    /// → `Done`.
    ReopenLog { container: String },
    /// A container that has ended is removed → `Done`.
    Forget { container: String },
    /// → `Connected` with a socket, or `Failed`.
    Connect { port: u16 },
    /// → `Status` now for every container, and for every change from then on.
    Watch,
    /// Kills everything and ends → `Done`.
    Shutdown,
}

/// Which descriptors come along, in this order.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct StreamSet {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Started { pid: i32 },
    Connected,
    Exited { code: i32 },
    Status(RunStatus),
    Failed { message: String },
}

/// What a process says before it becomes the container's program. Silence means that it did.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Birth {
    /// Comes with the controlling end of its terminal.
    Terminal,
    Failed(String),
}

/// A connection that carries frames.
pub(crate) struct Connection {
    stream: UnixStream,
    read: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            read: Vec::new(),
            fds: Vec::new(),
        }
    }

    /// Sends one frame. The descriptors are duplicated into the other process.
    pub(crate) async fn send<T: Serialize>(
        &mut self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let frame = encode(message)?;
        let mut sent = 0;
        while sent < frame.len() {
            self.stream.writable().await?;
            let pass = if sent == 0 { fds } else { &[] };
            let fd = self.stream.as_raw_fd();
            match self
                .stream
                .try_io(Interest::WRITABLE, || send_some(fd, &frame[sent..], pass))
            {
                Ok(some) => sent += some,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next frame with the descriptors that came so far; `None` at the end.
    pub(crate) async fn receive<T: DeserializeOwned>(
        &mut self,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        loop {
            if let Some(frame) = take_frame(&mut self.read)? {
                return Ok(Some((
                    serde_json::from_slice(&frame)?,
                    std::mem::take(&mut self.fds),
                )));
            }
            self.stream.readable().await?;
            let fd = self.stream.as_raw_fd();
            let (read, fds) = (&mut self.read, &mut self.fds);
            match self
                .stream
                .try_io(Interest::READABLE, || receive_some(fd, read, fds))
            {
                Ok(0) if self.read.is_empty() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Resolves when the other side has hung up.
    pub(crate) async fn closed(&mut self) {
        while let Ok(Some(_)) = self.receive::<serde_json::Value>().await {}
    }
}

/// Sends one frame on a blocking socket, for processes that have no event loop.
pub(crate) fn send_blocking<T: Serialize>(
    socket: &OwnedFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let frame = encode(message)?;
    let mut sent = 0;
    while sent < frame.len() {
        let pass = if sent == 0 { fds } else { &[] };
        sent += send_some(socket.as_raw_fd(), &frame[sent..], pass)?;
    }
    Ok(())
}

fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

fn take_frame(read: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let Some(head) = read.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*head) as usize;
    if length > FRAME_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    if read.len() < 4 + length {
        return Ok(None);
    }
    let rest = read.split_off(4 + length);
    let frame = std::mem::replace(read, rest).split_off(4);
    Ok(Some(frame))
}

fn send_some(socket: RawFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    Ok(sendmsg::<()>(
        socket,
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?)
}

fn receive_some(socket: RawFd, read: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut buffer = [0u8; 16 << 10];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let message = recvmsg::<()>(
        socket,
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel just put these descriptors into this process.
            fds.extend(
                raw.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    let bytes = message.bytes;
    read.extend_from_slice(&buffer[..bytes]);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[tokio::test]
    async fn frames_and_descriptors_arrive_together() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut a, mut b) = (Connection::new(a), Connection::new(b));
        let (read, write) = nix::unistd::pipe().unwrap();
        let long = "x".repeat(300_000);
        let sending = async {
            a.send(
                &Reply::Failed {
                    message: long.clone(),
                },
                &[read.as_fd()],
            )
            .await
            .unwrap();
            a.send(&Reply::Done, &[]).await.unwrap();
            drop(a);
        };
        let receiving = async {
            let (reply, fds) = b.receive::<Reply>().await.unwrap().unwrap();
            assert!(matches!(reply, Reply::Failed { message } if message == long));
            assert_eq!(fds.len(), 1);
            nix::unistd::write(&write, b"hi").unwrap();
            let mut bytes = [0; 2];
            nix::unistd::read(&fds[0], &mut bytes).unwrap();
            assert_eq!(&bytes, b"hi");
            assert!(
                matches!(b.receive::<Reply>().await.unwrap(), Some((Reply::Done, none)) if none.is_empty())
            );
            assert!(b.receive::<Reply>().await.unwrap().is_none());
        };
        tokio::join!(sending, receiving);
    }
}
