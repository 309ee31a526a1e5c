//! Network namespaces: running code inside one. The calling thread never leaves its own.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

/// Runs `work` on a thread of its own inside the namespace that the file at `path` opens.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let file = File::open(path)?;
    on_thread(move || {
        // SAFETY: the descriptor is open for the length of the call; only this thread changes its namespace.
        check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })?;
        Ok(work())
    })
}

/// Runs `work` on a thread of its own inside a new, empty namespace, which goes when nothing uses it any more.
pub fn fresh<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_thread(move || {
        unshare()?;
        Ok(work())
    })
}

/// Makes a new, empty namespace and returns a file that opens it and keeps it alive.
pub fn create() -> io::Result<OwnedFd> {
    on_thread(|| {
        unshare()?;
        current()
    })
}

/// A file that opens the calling thread's namespace and keeps it alive.
pub fn current() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// A path that opens the namespace that `fd` keeps alive, for as long as `fd` is open in this process.
pub fn path_of(fd: &OwnedFd) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()).into()
}

fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn unshare() -> io::Result<()> {
    // SAFETY: changes only the calling thread's network namespace.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

fn check(rc: libc::c_int) -> io::Result<()> {
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
