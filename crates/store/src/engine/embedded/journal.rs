//! The files of a store while it is open: the log that is written, and snapshots now and then.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use super::{
    format::{Builder, Header, Kind},
    log::Log,
    past::Past as PastRead,
    recover::{self, Live, Recovered, Tail, log_path, recover, snapshot_path},
    snapshot::{self, Content},
};
use crate::{OpenError, Options, Transformer, model::Model};

/// Why a commit failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing of the batch is there, now or after a restart; the next batch may work (disk full).
    Refused(io::Error),
    /// Nobody knows what survives a restart. Nothing more may be acknowledged.
    Broken(io::Error),
}

/// Revision of a store that nothing was written to, as etcd has it.
const FIRST: u64 = 1;
/// How far revisions jump when the end of the log was torn: nobody may see one twice, and the end may have held some.
const JUMP: u64 = 10_000;
/// A buffer that one large batch made this much larger than usual is not kept.
const BUFFER: usize = 1 << 20;

/// Takes decided changes in revision order. It is driven by one thread.
pub(super) struct Journal {
    dir: PathBuf,
    log: Log,
    buffer: Vec<u8>,
    /// A log is replaced by a snapshot when it is larger than this and than twice the last snapshot.
    compact_at: u64,
    snapshot_bytes: u64,
    /// Writes a snapshot; gives its length.
    snapshotter: Option<JoinHandle<io::Result<u64>>>,
    transformer: Option<Arc<dyn Transformer>>,
}

/// What was found when a journal was opened.
pub(super) struct Found {
    pub live: Live,
    pub past: PastRead,
    pub revision: u64,
}

impl Journal {
    /// Opens the files in `options.dir`, whose lock the caller holds.
    pub(super) fn open(options: &Options) -> Result<(Journal, Found), OpenError> {
        let dir = &options.dir;
        let Recovered {
            live,
            past,
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
        let journal = Journal {
            dir: dir.clone(),
            log,
            buffer: Vec::new(),
            compact_at: options.compact_at,
            snapshot_bytes,
            snapshotter: None,
            transformer: options.transformer.clone(),
        };
        let found = Found {
            live,
            past,
            revision,
        };
        Ok((journal, found))
    }

    /// Starts a new log and has everything up to here written to a snapshot in the background.
    fn rotate(&mut self, model: &Model) -> io::Result<()> {
        // The caller is the only one that changes the model, so these fit together.
        let (live, revision) = model.snapshot();
        let mut past = model.past();
        let log = create_log(&self.dir, revision)?;
        let mut old = std::mem::replace(&mut self.log, log);
        old.close()?;
        let (dir, most) = (self.dir.clone(), self.compact_at / 2);
        let transformer = self.transformer.clone();
        let work = move || {
            let header = Header {
                kind: Kind::Snapshot,
                salt: salt(),
                base: revision,
            };
            past.limit(usize::try_from(most).unwrap_or(usize::MAX));
            let content = Content {
                live,
                past,
                transformer,
            };
            let length = snapshot::write(&snapshot_path(&dir, revision), header, &content)?;
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

    /// What objects are sealed with.
    pub(super) fn transformer(&self) -> Option<Arc<dyn Transformer>> {
        self.transformer.clone()
    }

    /// An empty frame for a batch.
    pub(super) fn begin<'t>(&mut self, transformer: Option<&'t dyn Transformer>) -> Builder<'t> {
        Builder::new(std::mem::take(&mut self.buffer), transformer)
    }

    /// Makes a batch that leads to `revision` durable, with one sync.
    pub(super) fn commit(&mut self, batch: Builder<'_>, revision: u64) -> Result<(), Failure> {
        let frame = batch.finish(self.log.salt, revision);
        let done = self.log.append(&frame);
        self.buffer = frame;
        if self.buffer.capacity() > BUFFER {
            self.buffer = Vec::new();
        }
        done
    }

    /// Called between batches; the moment to bound disk use. Does not take long.
    pub(super) fn tidy(&mut self, model: &Model) {
        self.collect_snapshot(false);
        if self.snapshotter.is_some()
            || self.log.len() < self.compact_at.max(2 * self.snapshot_bytes)
        {
            return;
        }
        if let Err(error) = self.rotate(model) {
            tracing::warn!(%error, dir = %self.dir.display(), "store could not start a new log");
        }
    }

    /// Leaves everything in order for the next open.
    pub(super) fn close(&mut self) -> io::Result<()> {
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
        let frame = Builder::new(Vec::new(), None).finish(tail.salt, *revision);
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
