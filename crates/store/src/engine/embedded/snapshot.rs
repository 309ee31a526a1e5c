//! Writing the live objects, and the recent changes that led to them, to a file of their own, so that older logs can go.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use super::{
    format::{Builder, Header, Op},
    log::{sync_dir, temporary},
};
use crate::{
    Event, EventKind, Transformer,
    model::{Map, Past},
};

const FRAME_BYTES: usize = 256 << 10;
/// Synced in portions, so that the log's own syncs never wait for a whole snapshot.
const SYNC_BYTES: usize = 4 << 20;

/// What a snapshot shows.
pub(super) struct Content {
    pub live: Map,
    pub past: Past,
    pub transformer: Option<Arc<dyn Transformer>>,
}

/// Writes and syncs a snapshot; it can be seen only when it is whole. Gives its length in bytes.
pub(super) fn write(path: &Path, header: Header, content: &Content) -> io::Result<u64> {
    let temporary = temporary(path);
    let written = write_file(&temporary, header, content);
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

fn write_file(path: &Path, header: Header, content: &Content) -> io::Result<u64> {
    let mut file = File::create(path)?;
    file.write_all(&header.encode())?;
    let transformer = content.transformer.as_deref();
    let mut out = Out {
        file,
        header,
        length: header.encode().len(),
        unsynced: 0,
        builder: Builder::new(Vec::with_capacity(FRAME_BYTES), transformer),
        transformer,
        pending: false,
    };
    for object in content.live.values() {
        out.builder.object(Op::Put, object)?;
        out.wrote()?;
    }
    write_past(&mut out, content)?;
    out.end(content.live.len() as u32)
}

/// The changes that watches and old views may still ask for, in revision order.
fn write_past(out: &mut Out<'_>, content: &Content) -> io::Result<()> {
    let past = &content.past;
    out.builder.floor("", past.opened);
    for (group, floor) in &past.floors {
        out.builder.floor(group, *floor);
    }
    out.wrote()?;
    let mut told = HashSet::new();
    for event in &past.events {
        let first = told.insert(&*event.object.key);
        if let Some(before) = event.previous.as_ref().filter(|_| first) {
            out.builder.object(Op::Before, before)?;
        }
        out.builder
            .object(op_of(event, &content.live), &event.object)?;
        out.wrote()?;
    }
    Ok(())
}

fn op_of(event: &Event, live: &Map) -> Op {
    if event.kind == EventKind::Deleted {
        return Op::PastDelete;
    }
    let current = live.get(&event.object.key);
    if current.is_some_and(|current| current.revision == event.object.revision) {
        Op::PastLive
    } else {
        Op::PastPut
    }
}

/// A snapshot file being written, frame by frame.
struct Out<'t> {
    file: File,
    header: Header,
    length: usize,
    unsynced: usize,
    builder: Builder<'t>,
    transformer: Option<&'t dyn Transformer>,
    pending: bool,
}

impl Out<'_> {
    /// Takes note that something was built; writes the frame when it is large enough.
    fn wrote(&mut self) -> io::Result<()> {
        self.pending = true;
        if self.builder.len() >= FRAME_BYTES {
            self.flush(false)?;
        }
        Ok(())
    }

    fn flush(&mut self, last: bool) -> io::Result<()> {
        let next = Builder::new(Vec::new(), self.transformer);
        let frame =
            std::mem::replace(&mut self.builder, next).finish(self.header.salt, self.header.base);
        self.file.write_all(&frame)?;
        self.length += frame.len();
        self.unsynced += frame.len();
        if last || self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        self.builder = Builder::new(frame, self.transformer);
        self.pending = false;
        Ok(())
    }

    /// The last frame. Gives the length of the file.
    fn end(mut self, live: u32) -> io::Result<u64> {
        if self.pending {
            self.flush(false)?;
        }
        self.builder.total(live);
        self.flush(true)?;
        Ok(self.length as u64)
    }
}
