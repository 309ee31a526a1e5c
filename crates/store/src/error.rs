//! Why a store cannot be opened.

use std::{
    io,
    path::{Path, PathBuf},
};

/// One line each: what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A live process has the store open.
    #[error("store {} is in use by {}: stop it first, or choose another data directory", .dir.display(), holder(.pid))]
    Locked { dir: PathBuf, pid: Option<u32> },
    /// Something else than the end of the newest file is damaged. Nothing was changed.
    #[error("store file {} is damaged at byte {offset} ({why}): nothing was changed; restore the store directory from a backup, or move it away to start empty", .file.display())]
    Damaged {
        file: PathBuf,
        offset: u64,
        why: String,
    },
    /// The transformer cannot read what it finds.
    #[error("what is stored at {key} cannot be read: {why}")]
    Sealed { key: String, why: String },
    /// etcd cannot be reached, or not with this configuration.
    #[error("{why}")]
    Etcd { why: String },
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

impl OpenError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Io {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn damaged(file: &Path, offset: u64, why: impl Into<String>) -> OpenError {
        OpenError::Damaged {
            file: file.to_owned(),
            offset,
            why: why.into(),
        }
    }
}
