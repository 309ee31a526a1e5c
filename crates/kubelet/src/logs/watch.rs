//! Learns from the kernel when a file, or what has its name, changes.

use std::{io, os::fd::AsRawFd, path::Path};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// For `AsyncFd`, which wants the raw number.
struct Fd(Inotify);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsFd;
        self.0.as_fd().as_raw_fd()
    }
}

/// Tells changes of a directory's files.
pub struct Watcher {
    fd: AsyncFd<Fd>,
}

impl Watcher {
    /// Watches the directory of a file, which may not exist yet.
    pub fn new(file: &Path) -> io::Result<Self> {
        let dir = file.parent().unwrap_or(Path::new("/"));
        Self::of_dir(dir)
    }

    pub fn of_dir(dir: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CLOSE_WRITE;
        inotify.add_watch(dir, flags)?;
        // SAFETY: `Fd` owns its descriptor and always answers with that one, so it stays open as long as it is registered.
        let fd = unsafe { AsyncFd::register(Fd(inotify)) }
            .map_err(|e| io::Error::other(e.to_string()))?;
        Ok(Watcher { fd })
    }

    /// Waits for the next change. Several at once count as one.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            match ready.get_inner().0.read_events() {
                Ok(events) if !events.is_empty() => return Ok(()),
                Ok(_) => {}
                Err(nix::Error::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
