//! Paths below a directory whose content is not to be trusted: the kernel resolves them as if the directory were the root,
//! so that neither `..` nor a symlink leads out of it.

use std::{
    ffi::OsStr,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat},
    sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat},
};

/// Links that lead to what does not exist yet are followed this often.
const LINKS: u32 = 16;

pub(crate) struct Beneath(OwnedFd);

impl Beneath {
    pub(crate) fn open(root: &Path) -> nix::Result<Self> {
        open(
            root,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map(Self)
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.0
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.0, path, how)
    }

    /// Opens a directory, for use as a base only.
    pub(crate) fn dir(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.resolve(path, OFlag::O_DIRECTORY)
    }

    /// Opens whatever is there, for use as a mount point or base only.
    pub(crate) fn find(&self, path: &Path) -> nix::Result<Option<OwnedFd>> {
        match self.resolve(path, OFlag::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a directory, creating what is missing on the way.
    pub(crate) fn make_dir(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.make_dir_following(path, LINKS)
    }

    fn make_dir_following(&self, path: &Path, links: u32) -> nix::Result<OwnedFd> {
        match self.dir(path) {
            Err(Errno::ENOENT) => {}
            done => return done,
        }
        let mut at = self.dir(Path::new(""))?;
        let mode = Mode::from_bits_truncate(0o755);
        let mut so_far = PathBuf::from("/");
        for part in path.components() {
            if !matches!(part, Component::Normal(_) | Component::ParentDir) {
                continue;
            }
            let parent = so_far.clone();
            so_far.push(part);
            at = match self.dir(&so_far) {
                Err(Errno::ENOENT) => {
                    match mkdirat(&at, part.as_os_str(), mode) {
                        Ok(()) => {
                            // Whatever the umask is.
                            fchmodat(&at, part.as_os_str(), mode, FchmodatFlags::FollowSymlink)?;
                            self.dir(&so_far)?
                        }
                        // A link to what does not exist: that is what is wanted to exist.
                        Err(Errno::EEXIST) if links > 0 => self.make_dir_following(
                            &parent.join(readlinkat(&at, part.as_os_str())?),
                            links - 1,
                        )?,
                        Err(error) => return Err(error),
                    }
                }
                done => done?,
            };
        }
        Ok(at)
    }

    /// Opens a file for use as a mount point, creating an empty one if nothing is there.
    pub(crate) fn make_file(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.make_file_following(path, LINKS)
    }

    fn make_file_following(&self, path: &Path, links: u32) -> nix::Result<OwnedFd> {
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        let (parent, name) = parent_and_name(path)?;
        let dir = self.make_dir(parent)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        match openat(&dir, name, flags, Mode::from_bits_truncate(0o644)) {
            Ok(_) => self.resolve(path, OFlag::empty()),
            Err(Errno::EEXIST) if links > 0 => {
                self.make_file_following(&parent.join(readlinkat(&dir, name)?), links - 1)
            }
            Err(error) => Err(error),
        }
    }
}

/// # Errors
/// `EINVAL` for a path that names no entry of a directory.
pub(crate) fn parent_and_name(path: &Path) -> nix::Result<(&Path, &OsStr)> {
    path.parent().zip(path.file_name()).ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nothing_leads_out() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        symlink("/var/missing", root.join("link")).unwrap();
        symlink("../../../..", root.join("a/up")).unwrap();
        symlink("../run/file", root.join("a/file")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let beneath = Beneath::open(&root).unwrap();
        beneath.make_dir(Path::new("/link/deep")).unwrap();
        assert!(root.join("var/missing/deep").is_dir());
        beneath.make_dir(Path::new("/a/up/b")).unwrap();
        assert!(root.join("b").is_dir());
        beneath.make_dir(Path::new("../c/../d")).unwrap();
        assert!(root.join("d").is_dir() && !temp.path().join("c").exists());
        beneath.make_file(Path::new("/a/file")).unwrap();
        assert!(root.join("run/file").is_file());
        assert!(beneath.make_dir(Path::new("/run/file/x")).is_err());
        assert!(beneath.make_dir(Path::new("/loop/x")).is_err());
        assert!(
            beneath.make_file(Path::new("/")).is_ok(),
            "the root itself is there"
        );
        assert!(beneath.find(Path::new("/none")).unwrap().is_none());
    }
}
