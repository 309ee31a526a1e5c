//! Pseudo terminals, made where the process will live, so that their names mean something there.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::stat::Mode,
};

/// Both ends of a terminal.
pub(super) struct Terminal {
    pub controller: OwnedFd,
    pub terminal: OwnedFd,
    /// N of `/dev/pts/N`.
    pub number: i32,
}

impl Terminal {
    /// Makes a terminal in the caller's `/dev/pts`.
    pub(super) fn open() -> nix::Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let controller = open("/dev/ptmx", flags, Mode::empty())?;
        let unlock: libc::c_int = 0;
        let mut number: libc::c_int = 0;
        // SAFETY: the descriptor is open and the arguments are what each request takes.
        let terminal = unsafe {
            let fd = controller.as_raw_fd();
            Errno::result(libc::ioctl(fd, libc::TIOCSPTLCK, &raw const unlock))?;
            Errno::result(libc::ioctl(fd, libc::TIOCGPTN, &raw mut number))?;
            let peer = libc::ioctl(
                fd,
                libc::TIOCGPTPEER,
                libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC,
            );
            OwnedFd::from_raw_fd(Errno::result(peer)?)
        };
        Ok(Self {
            controller,
            terminal,
            number,
        })
    }

    /// Makes it the controlling terminal of the caller, which must lead a session.
    pub(super) fn take_control(&self) -> nix::Result<()> {
        // SAFETY: the descriptor is open.
        Errno::result(unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })
            .map(drop)
    }
}
