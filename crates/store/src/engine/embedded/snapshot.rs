//! Writing the live objects to a file of their own, so that older logs can go.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use super::{
    format::{Builder, Header},
    log::{sync_dir, temporary},
};
use crate::model::Map;

const FRAME_BYTES: usize = 256 << 10;
/// Synced in portions, so that the log's own syncs never wait for a whole snapshot.
const SYNC_BYTES: usize = 4 << 20;

/// Writes and syncs a snapshot of `live`; it can be seen only when it is whole. Gives its length in bytes.
pub(super) fn write(path: &Path, header: Header, live: &Map) -> io::Result<u64> {
    let temporary = temporary(path);
    let written = write_file(&temporary, header, live);
    let done = written.and_then(|length| {
        std::fs::rename(&temporary, path)?;
        sync_dir(path)?;
        Ok(length)
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary); // the next open removes it too
    }
    done
}

fn write_file(path: &Path, header: Header, live: &Map) -> io::Result<u64> {
    let mut file = File::create(path)?;
    file.write_all(&header.encode())?;
    let (mut length, mut unsynced) = (header.encode().len(), 0);
    let mut put = |frame: &[u8], last: bool| {
        file.write_all(frame)?;
        length += frame.len();
        unsynced += frame.len();
        if last || unsynced >= SYNC_BYTES {
            unsynced = 0;
            file.sync_data()?;
        }
        io::Result::Ok(length as u64)
    };
    let mut builder = Builder::new(Vec::with_capacity(FRAME_BYTES));
    let mut pending = false;
    for object in live.values() {
        builder.put(object);
        pending = true;
        if builder.len() >= FRAME_BYTES {
            let frame = builder.finish(header.salt, header.base);
            put(&frame, false)?;
            builder = Builder::new(frame);
            pending = false;
        }
    }
    if pending {
        let frame = builder.finish(header.salt, header.base);
        put(&frame, false)?;
        builder = Builder::new(frame);
    }
    builder.total(live.len() as u32);
    put(&builder.finish(header.salt, header.base), true)
}
