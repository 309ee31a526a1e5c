//! The socket to the kernel's netfilter subsystem.

use std::{io, os::fd::AsRawFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::{
    batch::Batch,
    error::{Error, Result},
    wire::{Attrs, HEADER, Message, Messages, Writer},
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// An error answer leaves out the request's payload.
const F_CAPPED: u16 = 0x100;
/// An error answer carries extended attributes.
const F_ACK_TLVS: u16 = 0x200;
const ERRMSG_TEXT: u16 = 1;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
/// The dump was interrupted by a change and must be made anew.
const F_DUMP_INTR: u16 = 0x10;

/// A connection to the kernel, for the network namespace of the thread that opened it. Calls block, but only for as
/// long as the kernel works.
pub struct Connection {
    socket: Socket,
    seq: u32,
}

impl Connection {
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        // Kernels without these still work: errors then come without words.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Connection { socket, seq: 0 })
    }

    /// Applies a batch: all of it, or nothing and the first reason why.
    pub fn commit(&mut self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (bytes, last) = batch.finish();
        self.make_room(bytes.len())?;
        self.send(&bytes)?;
        self.collect_acks(batch, last)
    }

    // The kernel has worked through the batch and queued its answers when `send` returns, so nothing is waited for.
    fn collect_acks(&mut self, batch: &Batch, last: u32) -> Result<()> {
        let mut refused: Option<Error> = None;
        let mut acknowledged = false;
        loop {
            let bytes = match self.receive(libc::MSG_DONTWAIT) {
                Ok(bytes) => bytes,
                Err(Error::Socket(e)) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(refused.unwrap_or(e)),
            };
            for message in Messages(&bytes).filter(|m| m.kind == NLMSG_ERROR) {
                match outcome(&message) {
                    Ok(()) => acknowledged |= message.seq == last,
                    Err(e) => {
                        refused.get_or_insert_with(|| named(e, || batch.describe(message.seq)));
                    }
                }
            }
        }
        match refused {
            Some(error) => Err(error),
            None if acknowledged => Ok(()),
            None => Err(Error::Protocol(
                "a transaction was neither refused nor acknowledged",
            )),
        }
    }

    /// Sends one request outside of a transaction and waits for its acknowledgement.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        family: u8,
        what: &str,
        fill: impl FnOnce(&mut Writer),
    ) -> Result<()> {
        let seq = self.next_seq();
        let mut w = Writer::default();
        let start = w.begin(kind, REQUEST | ACK, seq, family, 0);
        fill(&mut w);
        w.end(start);
        self.send(&w.buf)?;
        loop {
            let bytes = self.receive(0)?;
            if let Some(m) = Messages(&bytes).find(|m| m.kind == NLMSG_ERROR && m.seq == seq) {
                return outcome(&m).map_err(|e| named(e, || what.to_owned()));
            }
        }
    }

    /// Sends a dump request and collects what `each` makes of the answers. A dump that a change interrupted is made
    /// anew from the start.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        family: u8,
        fill: impl Fn(&mut Writer),
        mut each: impl FnMut(&Message) -> Option<T>,
    ) -> Result<Vec<T>> {
        const ATTEMPTS: usize = 10;
        for _ in 0..ATTEMPTS {
            let seq = self.next_seq();
            let mut w = Writer::default();
            let start = w.begin(kind, REQUEST | DUMP, seq, family, 0);
            fill(&mut w);
            w.end(start);
            self.send(&w.buf)?;
            let mut found = Vec::new();
            if self.read_dump(seq, |m| found.extend(each(m)))? {
                return Ok(found);
            }
        }
        Err(Error::Protocol(
            "dump interrupted again and again by changes",
        ))
    }

    /// False when the dump is not consistent.
    fn read_dump(&mut self, seq: u32, mut each: impl FnMut(&Message)) -> Result<bool> {
        let mut consistent = true;
        loop {
            let bytes = self.receive(0)?;
            for message in Messages(&bytes).filter(|m| m.seq == seq) {
                consistent &= message.flags & F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => return Ok(consistent),
                    NLMSG_ERROR => {
                        outcome(&message).map_err(|e| named(e, || "dump".to_owned()))?;
                        return Ok(consistent);
                    }
                    _ => each(&message),
                }
            }
        }
    }

    fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1).max(1);
        self.seq
    }

    /// The whole batch has to fit into one datagram.
    fn make_room(&self, bytes: usize) -> Result<()> {
        let size = (bytes + 4096) as libc::c_int;
        self.socket_option(libc::SO_SNDBUFFORCE, size)
            .or_else(|_| self.socket_option(libc::SO_SNDBUF, size))?;
        Ok(())
    }

    fn socket_option(&self, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the pointer is to a live c_int of the given length, the descriptor is open.
        let rc = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                name,
                (&raw const value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        if rc == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        loop {
            match self.socket.send(bytes, 0) {
                Ok(n) if n == bytes.len() => return Ok(()),
                Ok(_) => return Err(Error::Protocol("short write")),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn receive(&self, flags: libc::c_int) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(64 * 1024);
        loop {
            match self.socket.recv(&mut bytes, flags) {
                Ok(_) => return Ok(bytes),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

type Refusal = (io::Error, Option<String>);

/// The errno and words of an error message; `Ok` for an acknowledgement.
fn outcome(message: &Message) -> Result<(), Refusal> {
    let code = message
        .payload
        .get(..4)
        .and_then(|b| b.try_into().ok())
        .map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(errno) => Err((
            io::Error::from_raw_os_error(errno.saturating_neg()),
            words(message),
        )),
        None => Err((io::Error::from_raw_os_error(libc::EBADMSG), None)),
    }
}

fn words(message: &Message) -> Option<String> {
    if message.flags & F_ACK_TLVS == 0 {
        return None;
    }
    let request = message.payload.get(4..)?;
    let len = if message.flags & F_CAPPED != 0 {
        HEADER
    } else {
        u32::from_ne_bytes(request.get(..4)?.try_into().ok()?) as usize
    };
    Attrs(request.get(len.next_multiple_of(4)..)?)
        .str(ERRMSG_TEXT)
        .map(str::to_owned)
}

fn named((errno, detail): Refusal, what: impl FnOnce() -> String) -> Error {
    Error::Refused {
        what: what(),
        errno,
        detail,
    }
}
