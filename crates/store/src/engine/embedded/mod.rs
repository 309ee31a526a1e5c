//! The embedded engine: a log of batches and, now and then, a snapshot that replaces what came before.
//!
//! All live objects are in the read model anyway, so nothing is ever looked up here, and an index on disk would only cost
//! writes and memory. Measured with 64 writers in flight, each batch synced, random values, on 2 busy virtual cores with a
//! virtio disk (medians of several runs; the spread is about a factor of 2):
//!
//! | writes/s | 64 x 1 KB | 64 x 4 KB | 1 x 1 KB |
//! |---|---|---|---|
//! | redb 4 | 5,300 | 4,500 | 250 |
//! | fjall 3 | 12,000 | 7,900 | 450 |
//! | this log | 14,300 | 8,900 | 510 |
//!
//! Neither library can tell damage of the end, which a crash explains, from damage elsewhere, which nothing may paper
//! over; redb cannot do without its end at all, and fjall cuts its journal off where a batch cannot be read,
//! whatever comes behind it.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use self::{
    format::{Builder, Header, Kind},
    log::Log,
    recover::{Recovered, Tail, log_path, recover, snapshot_path},
};
use super::{Engine, Failure, Record};
use crate::{Event, OpenError, model::Map};

mod format;
mod log;
mod recover;
mod snapshot;

/// Revision of a store that nothing was written to, as etcd has it.
const FIRST: u64 = 1;
/// How far revisions jump when the end of the log was torn: nobody may see one twice, and the end may have held some.
const JUMP: u64 = 10_000;
/// A buffer that one large batch made this much larger than usual is not kept.
const BUFFER: usize = 1 << 20;

pub(crate) struct Embedded {
    dir: PathBuf,
    log: Log,
    buffer: Vec<u8>,
    /// A log is replaced by a snapshot when it is larger than this and than twice the last snapshot.
    compact_at: u64,
    snapshot_bytes: u64,
    /// Writes a snapshot; gives its length.
    snapshotter: Option<JoinHandle<io::Result<u64>>>,
}

impl Embedded {
    /// Opens the store in `dir`, whose lock the caller holds. Gives what is live, by key, and the newest revision.
    pub(crate) fn open(
        dir: &Path,
        compact_at: u64,
    ) -> Result<(Embedded, Vec<Record>, u64), OpenError> {
        let Recovered {
            live,
            mut revision,
            log,
            snapshot_bytes,
            obsolete,
        } = recover(dir, FIRST)?;
        for path in obsolete {
            fs::remove_file(&path).map_err(OpenError::io("remove", &path))?;
        }
        let log = match log {
            None => create_log(dir, revision).map_err(OpenError::io("create a log in", dir))?,
            Some(tail) => go_on(&tail, &mut revision)?,
        };
        let mut records: Vec<Record> = live.into_values().collect();
        records.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let engine = Embedded {
            dir: dir.to_owned(),
            log,
            buffer: Vec::new(),
            compact_at,
            snapshot_bytes,
            snapshotter: None,
        };
        Ok((engine, records, revision))
    }

    /// Starts a new log and has everything up to here written to a snapshot in the background.
    fn rotate(&mut self, live: &Map, revision: u64) -> io::Result<()> {
        let log = create_log(&self.dir, revision)?;
        let mut old = std::mem::replace(&mut self.log, log);
        old.close()?;
        let (dir, live) = (self.dir.clone(), live.clone());
        let work = move || {
            let header = Header {
                kind: Kind::Snapshot,
                salt: salt(),
                base: revision,
            };
            let length = snapshot::write(&snapshot_path(&dir, revision), header, &live)?;
            remove_replaced(&dir, revision)?;
            Ok(length)
        };
        self.snapshotter = Some(
            std::thread::Builder::new()
                .name("store-snapshot".into())
                .spawn(work)?,
        );
        Ok(())
    }

    /// Takes note of a snapshot that was finished; with `wait`, waits for it.
    fn collect_snapshot(&mut self, wait: bool) {
        let Some(handle) = self
            .snapshotter
            .take_if(|handle| wait || handle.is_finished())
        else {
            return;
        };
        match handle.join() {
            Ok(Ok(length)) => self.snapshot_bytes = length,
            Ok(Err(error)) => {
                tracing::warn!(%error, dir = %self.dir.display(), "store could not be compacted; old logs stay")
            }
            Err(_) => {
                tracing::error!(dir = %self.dir.display(), "compaction of the store panicked; old logs stay")
            }
        }
    }
}

impl Engine for Embedded {
    fn commit(&mut self, batch: &[Arc<Event>]) -> Result<(), Failure> {
        let Some(last) = batch.last() else {
            return Ok(());
        };
        let mut builder = Builder::new(std::mem::take(&mut self.buffer));
        batch.iter().for_each(|event| builder.event(event));
        let frame = builder.finish(self.log.salt, last.object.revision);
        let done = self.log.append(&frame);
        self.buffer = frame;
        if self.buffer.capacity() > BUFFER {
            self.buffer = Vec::new();
        }
        done
    }

    fn tidy(&mut self, live: &Map, revision: u64) {
        self.collect_snapshot(false);
        if self.snapshotter.is_some()
            || self.log.len() < self.compact_at.max(2 * self.snapshot_bytes)
        {
            return;
        }
        if let Err(error) = self.rotate(live, revision) {
            tracing::warn!(%error, dir = %self.dir.display(), "store could not start a new log");
        }
    }

    fn close(&mut self) -> io::Result<()> {
        self.collect_snapshot(true);
        self.log.close()
    }
}

fn create_log(dir: &Path, base: u64) -> io::Result<Log> {
    Log::create(
        &log_path(dir, base),
        Header {
            kind: Kind::Log,
            salt: salt(),
            base,
        },
    )
}

/// Goes on with the newest log, cutting off a torn end.
fn go_on(tail: &Tail, revision: &mut u64) -> Result<Log, OpenError> {
    let mut log =
        Log::reopen(&tail.path, tail.salt, tail.end).map_err(OpenError::io("open", &tail.path))?;
    if tail.torn {
        tracing::warn!(file = %tail.path.display(), at = tail.end, "the end of the store's log was torn and has been cut off");
        *revision += JUMP;
        let frame = Builder::new(Vec::new()).finish(tail.salt, *revision);
        log.append(&frame)
            .map_err(|(Failure::Refused(e) | Failure::Broken(e))| {
                OpenError::io("write", &tail.path)(e)
            })?;
    }
    Ok(log)
}

/// Removes what the snapshot at `revision` replaces.
fn remove_replaced(dir: &Path, revision: u64) -> io::Result<()> {
    for path in recover::older_than(dir, revision)? {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Seeds a file's checksums. The standard library's map seeds come from the system's random source.
fn salt() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}
