//! Directories and files of the node itself.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt},
    path::Path,
};

/// Checks that the path is of the wanted type, or makes it where the type says so.
///
/// # Errors
/// In the words users know when it is something else.
pub fn prepare(path: &Path, kind: &str) -> Result<(), String> {
    match kind {
        "DirectoryOrCreate" => make(path, || {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
        })?,
        "FileOrCreate" => make(path, || {
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o644)
                .open(path)
                .map(drop)
        })?,
        _ => {}
    }
    check(path, kind)
}

fn make(path: &Path, how: impl Fn() -> io::Result<()>) -> Result<(), String> {
    if path.exists() {
        Ok(())
    } else {
        how().map_err(|e| format!("cannot create {}: {e}", path.display()))
    }
}

fn check(path: &Path, kind: &str) -> Result<(), String> {
    let meta = fs::metadata(path);
    let is = |test: fn(&fs::FileType) -> bool| meta.as_ref().is_ok_and(|m| test(&m.file_type()));
    let (fits, what) = match kind {
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "file"),
        "Socket" => (is(|t| t.is_socket()), "socket file"),
        "CharDevice" => (is(|t| t.is_char_device()), "character device"),
        "BlockDevice" => (is(|t| t.is_block_device()), "block device"),
        _ => return Ok(()),
    };
    if fits {
        Ok(())
    } else {
        Err(format!(
            "hostPath type check failed: {} is not a {what}",
            path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let at = |n: &str| tmp.path().join(n);
        assert!(prepare(&at("d"), "Directory").is_err());
        assert!(prepare(&at("d"), "DirectoryOrCreate").is_ok());
        assert!(prepare(&at("d"), "Directory").is_ok());
        assert!(prepare(&at("d"), "File").is_err());
        assert!(prepare(&at("f"), "FileOrCreate").is_ok());
        assert!(prepare(&at("f"), "").is_ok());
        assert!(prepare(Path::new("/dev/null"), "CharDevice").is_ok());
    }
}
