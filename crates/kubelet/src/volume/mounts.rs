//! The kernel's mount table as far as volumes need it.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    mount::{MntFlags, MsFlags, mount, umount2},
};

/// Mount points at or below a directory, deepest first.
pub fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo")?;
    let points = table
        .split(|b| *b == b'\n')
        .filter_map(|line| line.split(|b| *b == b' ').nth(4));
    let mut found: Vec<PathBuf> = points
        .map(unescape)
        .filter(|p| p.starts_with(dir))
        .collect();
    found.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    Ok(found)
}

/// The kernel writes spaces and the like as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut i = 0;
    while i < field.len() {
        let octal = field.get(i + 1..i + 4).filter(|_| field[i] == b'\\');
        let value = octal.and_then(|o| u8::from_str_radix(std::str::from_utf8(o).ok()?, 8).ok());
        match value {
            Some(v) => {
                out.push(v);
                i += 4;
            }
            None => {
                out.push(field[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

pub fn is_mounted(dir: &Path) -> io::Result<bool> {
    Ok(below(dir)?.iter().any(|p| p == dir))
}

/// Mounts a memory file system at `dir`, unless one is there. `size` in bytes.
pub fn tmpfs(dir: &Path, size: Option<i64>, mode: u32) -> io::Result<()> {
    if is_mounted(dir)? {
        return Ok(());
    }
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size.filter(|s| *s > 0) {
        options.push_str(&format!(",size={size}"));
    }
    mount(
        Some("tmpfs"),
        dir,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options.as_str()),
    )?;
    Ok(())
}

/// Takes away every mount at or below `dir`.
pub fn unmount_all(dir: &Path) -> io::Result<()> {
    for point in below(dir)? {
        umount2(&point, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// Unmounts what is below `dir` and removes it. Never follows a mount into what belongs to others.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    unmount_all(dir)?;
    if let Some(left) = below(dir)?.first() {
        return Err(io::Error::other(format!(
            "{} is still mounted",
            left.display()
        )));
    }
    fs::remove_dir_all(dir)
}

fn open_inside(volume: &Path, path: &Path) -> io::Result<OwnedFd> {
    let root = nix::fcntl::open(
        volume,
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    // Links are followed only as long as they stay inside the volume.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(&root, path, how)?)
}

/// Binds `volume/sub` to `target`, however links inside the volume change meanwhile. Makes the directory when missing, and
/// takes the place of what was bound there before: a file may be another one now.
pub fn bind_inside(volume: &Path, sub: &Path, target: &Path) -> io::Result<()> {
    unmount_all(target)?;
    let source = match open_inside(volume, sub) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_inside(volume, sub)?;
            open_inside(volume, sub)?
        }
        Err(error) => return Err(error),
    };
    let source = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::metadata(&source)?.is_dir() {
        fs::create_dir_all(target)?
    } else {
        fs::File::create(target).map(drop)?
    }
    mount(
        Some(&source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?;
    Ok(())
}

/// Makes a directory below `volume`, one element after the other, none of them a link to the outside.
fn make_inside(volume: &Path, sub: &Path) -> io::Result<()> {
    let mut done = PathBuf::new();
    let mut at = nix::fcntl::open(
        volume,
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    for part in sub.components() {
        done.push(part);
        match nix::sys::stat::mkdirat(
            &at,
            Path::new(part.as_os_str()),
            nix::sys::stat::Mode::from_bits_truncate(0o755),
        ) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = open_inside(volume, &done)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_escapes() {
        assert_eq!(unescape(b"/a\\040b\\134"), PathBuf::from("/a b\\"));
        assert_eq!(unescape(b"/plain"), PathBuf::from("/plain"));
    }

    #[test]
    fn links_cannot_leave_a_volume() {
        let tmp = tempfile::tempdir().expect("tempdir");
        std::os::unix::fs::symlink("/etc", tmp.path().join("out")).expect("link");
        fs::create_dir(tmp.path().join("in")).expect("dir");
        assert!(open_inside(tmp.path(), Path::new("in")).is_ok());
        assert!(open_inside(tmp.path(), Path::new("out")).is_err());
        assert!(make_inside(tmp.path(), Path::new("out/x")).is_err());
        assert!(make_inside(tmp.path(), Path::new("x/y")).is_ok());
        assert!(tmp.path().join("x/y").is_dir());
    }
}
