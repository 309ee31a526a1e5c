//! Writing files so that a crash leaves the old or the new content, never half of it.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::Context;

/// Replaces a file's content durably.
///
/// # Errors
/// When the disk refuses; the old content is then still there.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    write_renamed(path, content, true)
}

/// Replaces a file's content at once, without waiting for the disk: for run state, which a power cut makes void anyway.
///
/// # Errors
/// When the disk refuses; the old content is then still there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    write_renamed(path, content, false)
}

fn write_renamed(path: &Path, content: &[u8], sync: bool) -> anyhow::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) if sync => File::open(parent)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Waits until everything on the file system of `path` is on disk.
///
/// # Errors
/// When the disk failed to take it.
pub(crate) fn sync_file_system(path: &Path) -> anyhow::Result<()> {
    use std::os::fd::AsRawFd;
    let dir = File::open(path)?;
    // SAFETY: the descriptor is open.
    let done = unsafe { libc::syncfs(dir.as_raw_fd()) };
    nix::errno::Errno::result(done)
        .map(drop)
        .with_context(|| format!("sync {}", path.display()))
}
