//! Unpacks one image layer into a directory that overlayfs can stack.
//!
//! A layer comes from a stranger: every path is resolved by the kernel inside the directory (`RESOLVE_IN_ROOT`), so that
//! neither `..` nor a symlink in the layer leads out of it.

use std::{
    ffi::{CString, OsStr},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail};
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::{
        stat::{
            FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, makedev,
            mkdirat, mknodat, utimensat,
        },
        time::TimeSpec,
    },
    unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat},
};
use tar::{Archive, Entry, EntryType};

use crate::beneath::Beneath;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Unpacks the tar stream into `dest`, which must exist and be empty. Returns the bytes written.
///
/// # Errors
/// When the stream is no tar archive or is cut short, or when the disk refuses.
pub fn unpack(reader: impl Read, dest: &Path) -> anyhow::Result<u64> {
    let root = Beneath::open(dest).with_context(|| format!("open {}", dest.display()))?;
    let mut layer = Layer {
        root,
        parent: None,
        directory_times: Vec::new(),
        bytes: 0,
    };
    let mut archive = Archive::new(reader);
    for entry in archive.entries().context("not a tar archive")? {
        let mut entry = entry.context("damaged tar archive")?;
        let path = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        layer
            .entry(&mut entry, &path)
            .with_context(|| format!("unpack {}", path.display()))?;
    }
    layer.finish()?;
    Ok(layer.bytes)
}

struct Layer {
    root: Beneath,
    /// The directory of the last entry: archives list a directory's entries together.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Set last, because creating entries changes them.
    directory_times: Vec<(PathBuf, i64)>,
    bytes: u64,
}

impl Layer {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>, path: &Path) -> anyhow::Result<()> {
        if matches!(entry.header().entry_type(), EntryType::XGlobalHeader) {
            return Ok(());
        }
        let Some((dir, name)) = split(path)? else {
            return self.root_entry(entry);
        };
        let parent = self.parent_fd(&dir)?;
        if name.as_bytes() == OPAQUE {
            return set_xattr(&parent, OsStr::new("."), "trusted.overlay.opaque", b"y")
                .context("mark directory opaque");
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return whiteout(&parent, OsStr::from_bytes(hidden));
        }
        self.create(entry, &parent, &name)?;
        self.metadata(entry, &parent, &name, &dir.join(&name))
    }

    /// `./` carries the mode and owner of the image's root directory.
    fn root_entry(&mut self, entry: &mut Entry<'_, impl Read>) -> anyhow::Result<()> {
        if entry.header().entry_type().is_dir() {
            let root = self.root.root().try_clone()?;
            self.metadata(entry, &root, OsStr::new("."), Path::new("."))?;
        }
        Ok(())
    }

    fn parent_fd(&mut self, dir: &Path) -> anyhow::Result<OwnedFd> {
        if let Some((cached, fd)) = &self.parent
            && cached == dir
        {
            return Ok(fd.try_clone()?);
        }
        let fd = self
            .root
            .make_dir(dir)
            .with_context(|| format!("open directory {}", dir.display()))?;
        self.parent = Some((dir.to_owned(), fd.try_clone()?));
        Ok(fd)
    }

    fn create(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> anyhow::Result<()> {
        let kind = entry.header().entry_type();
        if let Some(old) = stat(parent, name)? {
            if kind.is_dir() && is_dir(&old) {
                return Ok(());
            }
            // A directory that becomes something else may be the cached parent.
            self.parent = None;
            remove(parent, name, &old)?;
        }
        match kind {
            EntryType::Directory => mkdirat(parent, name, Mode::from_bits_truncate(0o755))?,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().context("symlink without target")?;
                symlinkat(OsStr::from_bytes(&target), parent, name)?;
            }
            EntryType::Link => self.hard_link(entry, parent, name)?,
            EntryType::Char | EntryType::Block => {
                let sort = if kind == EntryType::Char {
                    SFlag::S_IFCHR
                } else {
                    SFlag::S_IFBLK
                };
                let header = entry.header();
                let device = makedev(
                    u64::from(header.device_major()?.unwrap_or(0)),
                    u64::from(header.device_minor()?.unwrap_or(0)),
                );
                mknodat(parent, name, sort, Mode::from_bits_truncate(0o600), device)?;
            }
            EntryType::Fifo => mknodat(
                parent,
                name,
                SFlag::S_IFIFO,
                Mode::from_bits_truncate(0o600),
                0,
            )?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, parent, name)?
            }
            other => bail!("unknown entry type {:?}", other.as_byte() as char),
        }
        Ok(())
    }

    fn file(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> anyhow::Result<()> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = std::fs::File::from(openat(
            parent,
            name,
            flags,
            Mode::from_bits_truncate(0o600),
        )?);
        self.bytes += io::copy(entry, &mut file).context("write")?;
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry<'_, impl Read>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> anyhow::Result<()> {
        let target = entry
            .link_name_bytes()
            .context("hard link without target")?;
        let Some((dir, file)) = split(Path::new(OsStr::from_bytes(&target)))? else {
            bail!("hard link to the root")
        };
        let from = self
            .root
            .dir(&dir)
            .with_context(|| format!("hard link to {}", dir.join(&file).display()))?;
        linkat(&from, file.as_os_str(), parent, name, AtFlags::empty())
            .with_context(|| format!("hard link to {}", dir.join(&file).display()))
    }

    fn metadata(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> anyhow::Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::Link {
            return Ok(());
        }
        let (uid, gid) = (id(entry.header().uid()?)?, id(entry.header().gid()?)?);
        let nofollow = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(
            parent,
            name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            nofollow,
        )
        .context("set owner")?;
        if kind != EntryType::Symlink {
            // After the owner: changing that clears the set-id bits.
            let mode = Mode::from_bits_truncate(entry.header().mode()? & 0o7777);
            fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink).context("set mode")?;
        }
        copy_xattrs(entry, parent, name)?;
        let seconds = i64::try_from(entry.header().mtime()?).unwrap_or(0);
        if kind.is_dir() {
            self.directory_times.push((path.to_owned(), seconds));
            return Ok(());
        }
        let time = TimeSpec::new(seconds, 0);
        utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink).context("set time")
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        for (path, seconds) in std::mem::take(&mut self.directory_times) {
            // A later entry may have replaced the directory.
            let Ok(fd) = self.root.dir(&path) else {
                continue;
            };
            let time = TimeSpec::new(seconds, 0);
            utimensat(&fd, ".", &time, &time, UtimensatFlags::NoFollowSymlink)
                .context("set directory time")?;
        }
        Ok(())
    }
}

fn id(raw: u64) -> anyhow::Result<u32> {
    u32::try_from(raw).context("owner out of range")
}

/// Directory and last name of a path inside the layer; `None` for the root itself.
fn split(path: &Path) -> anyhow::Result<Option<(PathBuf, std::ffi::OsString)>> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => bail!("path leads upwards"),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let Some(name) = clean.file_name().map(ToOwned::to_owned) else {
        return Ok(None);
    };
    clean.pop();
    Ok(Some((clean, name)))
}

/// What overlayfs takes as "not there": a character device 0/0.
fn whiteout(parent: &OwnedFd, hidden: &OsStr) -> anyhow::Result<()> {
    // `.wh..wh.*` other than the opaque marker is bookkeeping of AUFS.
    if hidden.is_empty() || hidden.as_bytes().starts_with(WHITEOUT) {
        return Ok(());
    }
    // It hides what lower layers have, not what this layer itself brings.
    if stat(parent, hidden)?.is_some() {
        return Ok(());
    }
    mknodat(parent, hidden, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).context("create whiteout")
}

fn stat(parent: &OwnedFd, name: &OsStr) -> nix::Result<Option<FileStat>> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_dir(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR
}

fn remove(parent: impl AsFd, name: &OsStr, what: &FileStat) -> anyhow::Result<()> {
    if !is_dir(what) {
        return Ok(unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut dir = Dir::openat(parent.as_fd(), name, flags, Mode::empty())?;
    let names = dir
        .iter()
        .map(|entry| entry.map(|e| OsStr::from_bytes(e.file_name().to_bytes()).to_owned()))
        .collect::<nix::Result<Vec<_>>>()?;
    for child in names
        .iter()
        .filter(|n| n.as_bytes() != b"." && n.as_bytes() != b"..")
    {
        let stat = fstatat(dir.as_fd(), child.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        remove(dir.as_fd(), child, &stat)?;
    }
    Ok(unlinkat(parent, name, UnlinkatFlags::RemoveDir)?)
}

fn copy_xattrs(
    entry: &mut Entry<'_, impl Read>,
    parent: &OwnedFd,
    name: &OsStr,
) -> anyhow::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else {
        return Ok(());
    };
    for extension in extensions {
        let extension = extension?;
        let Some(key) = extension
            .key()
            .ok()
            .and_then(|key| key.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        // Overlayfs would obey these; an image has no say in how it is stacked.
        if key.starts_with("trusted.overlay.") || key.starts_with("user.overlay.") {
            continue;
        }
        match set_xattr(parent, name, key, extension.value_bytes()) {
            // A file system without this kind of attribute is no reason to refuse the image.
            Err(Errno::EOPNOTSUPP) => {}
            other => other.with_context(|| format!("set attribute {key}"))?,
        }
    }
    Ok(())
}

fn set_xattr(parent: &OwnedFd, name: &OsStr, key: &str, value: &[u8]) -> nix::Result<()> {
    let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let key = CString::new(key).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the strings end with NUL and the value's length is its own.
    let done = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            key.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(done).map(drop)
}
