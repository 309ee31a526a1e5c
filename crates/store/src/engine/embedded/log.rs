//! The log file that is being written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    format::{HEADER, Header},
    journal::Failure,
};

/// Behind small frames the file is filled with zeros ahead, as much again as it holds, within these bounds: a sync that does
/// not change the file's length is three times as fast. Large frames only pay the change of length, not twice the bytes.
const AHEAD: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 20;
const SMALL: usize = 32 << 10;
const ZEROS: &[u8] = &[0; 256 << 10];

pub(super) struct Log {
    file: File,
    pub(super) salt: u32,
    /// Where the next frame goes.
    end: u64,
    /// Length of the file; zeros from `end` on.
    allocated: u64,
}

impl Log {
    /// Makes a log under a temporary name first, so that a log that can be seen has a whole header.
    pub(super) fn create(path: &Path, header: Header) -> io::Result<Log> {
        let temporary = temporary(path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        sync_dir(path)?;
        Ok(Log {
            file,
            salt: header.salt,
            end: HEADER as u64,
            allocated: HEADER as u64,
        })
    }

    /// Goes on writing at `end`; what is behind it goes.
    pub(super) fn reopen(path: &Path, salt: u32, end: u64) -> io::Result<Log> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() != end {
            file.set_len(end)?;
            file.sync_all()?;
        }
        Ok(Log {
            file,
            salt,
            end,
            allocated: end,
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.end
    }

    /// Appends a frame and syncs it.
    pub(super) fn append(&mut self, frame: &[u8]) -> Result<(), Failure> {
        let end = self.end + frame.len() as u64;
        let written = self
            .file
            .write_all_at(frame, self.end)
            .and_then(|()| self.allocate(end, frame.len()));
        if let Err(error) = written {
            // A half-written frame must not be in the way of the next one.
            self.file.set_len(self.end).map_err(Failure::Broken)?;
            self.allocated = self.end;
            return Err(Failure::Refused(error));
        }
        self.file.sync_data().map_err(Failure::Broken)?;
        self.end = end;
        self.allocated = self.allocated.max(end);
        Ok(())
    }

    /// Fills ahead of `end`, where a frame of `length` bytes ends, when that is beyond what is filled.
    fn allocate(&mut self, end: u64, length: usize) -> io::Result<()> {
        if end <= self.allocated || length > SMALL {
            return Ok(());
        }
        let target = end + end.clamp(*AHEAD.start(), *AHEAD.end());
        let mut at = end;
        while at < target {
            let chunk = ZEROS.len().min((target - at) as usize);
            self.file.write_all_at(&ZEROS[..chunk], at)?;
            at += chunk as u64;
        }
        self.allocated = target;
        Ok(())
    }

    /// Cuts off the zeros.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.allocated = self.end;
        self.file.sync_all()
    }
}

/// Name of a file while it is being made.
pub(super) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Makes creations, renames and removals beside `path` durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path
        .parent()
        .ok_or_else(|| io::Error::other("no parent directory"))?;
    File::open(dir)?.sync_all()
}
