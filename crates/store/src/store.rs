//! The door: what the API server calls.

use std::sync::Arc;

use crate::{
    EtcdOptions, HeadOf, Listing, OpenError, Options, Range, RevisionError, Stored, Unavailable,
    Watch, Write, WriteError,
    engine::{Engine, embedded::Embedded, etcd::Etcd},
    model::Model,
};

/// A revisioned key-value store. Cheap to clone; the last clone that goes (or [`Store::close`]) closes it.
#[derive(Clone)]
pub struct Store {
    model: Arc<Model>,
    engine: Arc<dyn Engine>,
}

impl Store {
    /// Opens the store in `options.dir`, which is made when it does not exist. `head_of` reads the heads of what is
    /// stored; it is called from several threads.
    pub async fn open(options: Options, head_of: HeadOf) -> Result<Store, OpenError> {
        let dir = options.dir.clone();
        let opened = tokio::task::spawn_blocking(move || Embedded::open(&options, &head_of)).await;
        let (model, engine) =
            opened.map_err(|e| OpenError::io("open", &dir)(std::io::Error::other(e)))??;
        Ok(Store {
            model,
            engine: Arc::new(engine),
        })
    }

    /// Opens a store that an etcd cluster keeps. Needs a tokio runtime for as long as the store is open.
    ///
    /// # Errors
    /// When no member can be reached within some 20 seconds, or what is configured cannot work.
    pub async fn connect(options: EtcdOptions, head_of: HeadOf) -> Result<Store, OpenError> {
        let (model, engine) = Etcd::open(&options, head_of).await?;
        Ok(Store {
            model,
            engine: Arc::new(engine),
        })
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

    /// Waits until readers have every write that anybody was told of before the call, through this process or another one
    /// on the same store. Reads that must not be behind ask for this first; it is at once for the embedded engine.
    ///
    /// # Errors
    /// When nobody can tell in time what is newest.
    pub async fn catch_up(&self) -> Result<(), Unavailable> {
        self.engine.catch_up().await
    }

    /// Why the engine cannot be reached at the moment, as far as is known; `None` when it can.
    pub fn trouble(&self) -> Option<String> {
        self.engine.trouble()
    }

    /// The first key that begins with `prefix` and whose newest value cannot be read, and why: what readers see of it is
    /// older, or nothing. Only others who write to the same store, with keys or in forms that are not known here, bring
    /// this about.
    pub fn unreadable(&self, prefix: &str) -> Option<(String, String)> {
        self.model.unreadable(prefix)
    }

    /// Does one write. When this returns `Ok`, it is durable, and readers and watchers have it. A delete returns the last
    /// state with the delete's revision in its bytes. Dropping the future does not take the write back.
    pub async fn write(&self, write: Write) -> Result<Arc<Stored>, WriteError> {
        self.engine.write(write).await
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

    /// Finishes the writes that wait, ends the watches, leaves everything in order for the next open. Later writes fail.
    pub async fn close(self) {
        self.engine.close().await;
    }
}
