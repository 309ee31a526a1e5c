//! Files that change all at once while readers look: the layout that Kubernetes volumes have had since v1.3.
//!
//! `dir/name` points to `..data/name`, `..data` to a directory whose name is the time it was written; a change writes a new
//! directory and swaps the one link.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Component, Path},
};

use k8s_openapi::jiff::Timestamp;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// One file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, when another than the kubelet's user.
    pub uid: Option<u32>,
}

/// Files by relative path.
pub type Payload = BTreeMap<String, File>;

/// Whether a path stays inside its volume.
pub fn is_inside(path: &str) -> bool {
    let p = Path::new(path);
    !path.is_empty()
        && !path.starts_with("..")
        && p.components().all(|c| matches!(c, Component::Normal(_)))
}

/// Makes `dir` show exactly `payload`, readable by `group` when given. Does nothing when it does already.
pub fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    if let Some(bad) = payload.keys().find(|p| !is_inside(p)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("invalid path: {bad}"),
        ));
    }
    let current = fs::read_link(dir.join(DATA)).ok();
    if current
        .as_ref()
        .is_some_and(|name| is_current(&dir.join(name), payload, group))
    {
        return link_names(dir, payload);
    }
    let name = new_version(dir, payload, group)?;
    let next = dir.join(DATA_NEXT);
    let _ = fs::remove_file(&next);
    symlink(&name, &next)?;
    fs::rename(&next, dir.join(DATA))?;
    link_names(dir, payload)?;
    if let Some(old) = current.filter(|old| old.as_os_str() != name.as_str()) {
        fs::remove_dir_all(dir.join(old))?;
    }
    Ok(())
}

fn final_mode(file: &File, group: Option<u32>) -> u32 {
    // A group that owns the volume may read what the owner may.
    if group.is_some() {
        file.mode | ((file.mode & 0o400) >> 3)
    } else {
        file.mode
    }
}

fn is_current(version: &Path, payload: &Payload, group: Option<u32>) -> bool {
    let same = |(path, file): (&String, &File)| {
        let at = version.join(path);
        let mode = fs::metadata(&at).map(|m| m.permissions().mode() & 0o7777);
        mode.is_ok_and(|m| m == final_mode(file, group))
            && fs::read(&at).is_ok_and(|b| b == file.bytes)
    };
    payload.iter().all(same) && count_files(version).is_ok_and(|n| n == payload.len())
}

fn count_files(dir: &Path) -> io::Result<usize> {
    let mut n = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        n += if entry.file_type()?.is_dir() {
            count_files(&entry.path())?
        } else {
            1
        };
    }
    Ok(n)
}

fn new_version(dir: &Path, payload: &Payload, group: Option<u32>) -> io::Result<String> {
    let name = Timestamp::now()
        .strftime("..%Y_%m_%d_%H_%M_%S.%9f")
        .to_string();
    let version = dir.join(&name);
    fs::create_dir(&version)?;
    set_dir_mode(&version, group)?;
    for (path, file) in payload {
        let at = version.join(path);
        if let Some(parent) = at.parent() {
            make_dirs(&version, parent, group)?;
        }
        fs::write(&at, &file.bytes)?;
        chown(&at, file.uid, group)?;
        fs::set_permissions(&at, fs::Permissions::from_mode(final_mode(file, group)))?;
    }
    Ok(name)
}

fn make_dirs(top: &Path, dir: &Path, group: Option<u32>) -> io::Result<()> {
    if dir == top || dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dirs(top, parent, group)?;
    }
    fs::create_dir(dir)?;
    set_dir_mode(dir, group)
}

fn set_dir_mode(dir: &Path, group: Option<u32>) -> io::Result<()> {
    chown(dir, None, group)?;
    let mode = if group.is_some() { 0o2755 } else { 0o755 };
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
}

/// Links every first path element to its place in `..data`, and removes links of what is gone.
fn link_names(dir: &Path, payload: &Payload) -> io::Result<()> {
    let first = |p: &String| p.split('/').next().unwrap_or_default().to_owned();
    let names: std::collections::BTreeSet<String> = payload.keys().map(first).collect();
    for name in &names {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File {
            bytes: text.into(),
            mode: 0o644,
            uid: None,
        };
        files
            .iter()
            .map(|(p, t)| ((*p).to_owned(), file(t)))
            .collect()
    }

    fn versions(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir)
            .expect("dir")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned());
        names.filter(|n| n.starts_with("..2")).collect()
    }

    #[test]
    fn changes_swap_one_link() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let dir = tmp.path();
        write(dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).expect("first");
        assert_eq!(fs::read_to_string(dir.join("sub/b")).expect("b"), "2");
        assert_eq!(
            fs::read_link(dir.join("a")).expect("link"),
            Path::new("..data/a")
        );
        let before = versions(dir);
        write(dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).expect("again");
        assert_eq!(versions(dir), before, "nothing changed, nothing written");
        write(dir, &payload(&[("a", "3"), ("c", "4")]), None).expect("second");
        assert_eq!(fs::read_to_string(dir.join("a")).expect("a"), "3");
        assert!(fs::symlink_metadata(dir.join("sub")).is_err());
        assert_eq!(versions(dir).len(), 1);
        assert_ne!(versions(dir), before);
    }

    #[test]
    fn modes_are_kept_and_paths_checked() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let mut files = payload(&[("a", "1")]);
        if let Some(f) = files.get_mut("a") {
            f.mode = 0o400;
        }
        write(tmp.path(), &files, None).expect("write");
        let mode = fs::metadata(tmp.path().join("a"))
            .expect("meta")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o400);
        for bad in ["../x", "/x", "a/../b", "", "..x"] {
            assert!(
                write(tmp.path(), &payload(&[(bad, "")]), None).is_err(),
                "{bad}"
            );
        }
    }
}
