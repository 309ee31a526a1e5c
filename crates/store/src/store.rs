//! The door: what the API server calls.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use tokio::sync::oneshot;

use crate::{
    HeadOf, Listing, OpenError, Options, Range, RevisionError, Stored, Watch, Write, WriteError,
    engine::{Record, embedded::Embedded},
    lock::Lock,
    model::{Limits, Map, Model},
    writer::{Job, Writer},
};

/// Bytes that the past of one resource may hold beyond what is live.
const HISTORY_BYTES: usize = 16 << 20;

/// A revisioned key-value store. Cheap to clone; the last clone that goes (or [`Store::close`]) closes it.
#[derive(Clone)]
pub struct Store {
    model: Arc<Model>,
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens the store in `options.dir`, which is made when it does not exist. `head_of` reads the heads of what is
    /// stored; it is called from several threads.
    pub async fn open(options: Options, head_of: HeadOf) -> Result<Store, OpenError> {
        let dir = options.dir.clone();
        let opened = tokio::task::spawn_blocking(move || open(&options, &head_of)).await;
        opened.map_err(|e| OpenError::io("open", &dir)(std::io::Error::other(e)))?
    }

    /// Revision of the last write that readers see.
    pub fn revision(&self) -> u64 {
        self.model.revision()
    }

    pub fn get(&self, key: &str) -> Option<Arc<Stored>> {
        self.model.get(key)
    }

    /// A consistent view of a prefix. It is taken from a snapshot, so it neither blocks writers nor waits for them.
    pub fn list(&self, range: Range<'_>) -> Result<Listing, RevisionError> {
        self.model.list(&range)
    }

    /// Does one write. When this returns `Ok`, it is on disk, and readers and watchers have it. A delete returns the last
    /// state with the delete's revision in its bytes. Dropping the future does not take the write back.
    pub async fn write(&self, write: Write) -> Result<Arc<Stored>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let closed = || WriteError::Engine("the store is closed".into());
        self.jobs
            .send(Job::Write(Box::new(write), reply))
            .map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Follows the changes of `prefix` (one resource's, or narrower) behind revision `from`; `None` means from now on.
    pub fn watch(&self, prefix: &str, from: Option<u64>) -> Result<Watch, RevisionError> {
        Watch::new(self.model.clone(), prefix, from)
    }

    /// Waits until readers and watchers have `revision`.
    pub async fn wait_for(&self, revision: u64) {
        let mut reached = self.model.subscribe();
        // It cannot fail: the sender lives in the model, which lives as long as self.
        let _ = reached.wait_for(|now| *now >= revision).await;
    }

    /// Finishes the writes that wait, ends the watches, leaves the files in order and frees the lock. Later writes fail.
    pub async fn close(self) {
        let (reply, done) = oneshot::channel();
        if self.jobs.send(Job::Close(reply)).is_ok() {
            let _ = done.await; // an error means that it had closed already
        }
    }
}

fn open(options: &Options, head_of: &HeadOf) -> Result<Store, OpenError> {
    std::fs::create_dir_all(&options.dir).map_err(OpenError::io("create", &options.dir))?;
    let lock = Lock::take(&options.dir)?;
    let (engine, records, revision) = Embedded::open(&options.dir, options.compact_at)?;
    let limits = Limits {
        count: options.history,
        keep: options.keep,
        bytes: HISTORY_BYTES,
    };
    let model = Arc::new(Model::new(parse_heads(&records, head_of), revision, limits));
    let (jobs, queue) = mpsc::channel();
    let writer = Writer::new(model.clone(), Box::new(engine), lock);
    thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || writer.run(&queue))
        .map_err(OpenError::io("start the writer of", &options.dir))?;
    Ok(Store { model, jobs })
}

/// Parsing heads is what an open takes longest for, so all cores do it.
fn parse_heads(records: &[Record], head_of: &HeadOf) -> Map {
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    let parts = records.chunks(records.len().div_ceil(threads).max(1));
    let parse = |part: &[Record]| {
        part.iter()
            .map(|record| stored(record, head_of))
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = parts.map(|part| scope.spawn(move || parse(part))).collect();
        let parsed = workers.into_iter().flat_map(|worker| match worker.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        parsed.map(|item| (item.key.clone(), item)).collect()
    })
}

fn stored(record: &Record, head_of: &HeadOf) -> Arc<Stored> {
    let Record {
        key,
        revision,
        created,
        hole,
        json,
    } = record.clone();
    let head = head_of(&key, &json);
    Arc::new(Stored {
        key,
        revision,
        created,
        json,
        hole,
        head,
    })
}
