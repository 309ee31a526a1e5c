//! What goes into the store and what comes out.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use knarr_api::{Head, head::Encoded};

use crate::Transformer;

/// An object at one revision. Immutable; shared by readers, lists and watchers.
#[derive(Debug)]
pub struct Stored {
    /// `/registry/pods/default/web-0`.
    pub key: Arc<str>,
    /// Revision of the write that made these bytes (etcd: mod_revision).
    pub revision: u64,
    /// Revision of the create (etcd: create_revision).
    pub created: u64,
    /// The object as clients read it, resourceVersion included.
    pub json: Bytes,
    /// Where in `json` the resourceVersion begins: just behind the `{` of `metadata`.
    pub hole: usize,
    pub head: Head,
}

impl Stored {
    /// The same object as if written at `revision`.
    pub(crate) fn moved_to(&self, revision: u64) -> Stored {
        let (key, head, hole) = (self.key.clone(), self.head.clone(), self.hole);
        let json = self.encoded().map_or_else(
            || self.json.clone(),
            |encoded| encoded.at_revision(revision),
        );
        Stored {
            key,
            revision,
            created: self.created,
            json,
            hole,
            head,
        }
    }

    /// The object without its revision, ready to be written again.
    pub fn encoded(&self) -> Option<Encoded> {
        // `"resourceVersion":"N",` as `Encoded::at_revision` puts it there.
        let digits = self.revision.checked_ilog10()? as usize + 1;
        let end = self.hole + "\"resourceVersion\":\"\",".len() + digits;
        let mut json = Vec::with_capacity(self.json.len());
        json.extend_from_slice(self.json.get(..self.hole)?);
        json.extend_from_slice(self.json.get(end..)?);
        Encoded::from_parts(json.into(), self.hole)
    }
}

/// What a write asks for. `expect` is the revision the caller read: the write fails when the key has moved on.
#[derive(Debug, Clone)]
pub enum Write {
    Create {
        key: String,
        value: Encoded,
        head: Head,
    },
    Update {
        key: String,
        expect: u64,
        value: Encoded,
        head: Head,
    },
    Delete {
        key: String,
        expect: u64,
    },
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("key exists at revision {}", .0.revision)]
    Exists(Arc<Stored>),
    #[error("key not found")]
    NotFound,
    /// The key is at another revision than expected; here is what it holds.
    #[error("key is at revision {}", .0.revision)]
    Conflict(Arc<Stored>),
    /// The engine failed. The write may or may not be there, now or after a restart.
    #[error("store failed: {0}")]
    Engine(String),
}

/// What is newest cannot be told at the moment, for the engine cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store cannot be reached: {0}")]
pub struct Unavailable(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One change. `object` of a delete holds the last state with the revision of the delete in its bytes.
#[derive(Debug)]
pub struct Event {
    pub kind: EventKind,
    pub object: Arc<Stored>,
    /// State before; none for `Added`. Lets a watch with a selector turn a change into an add or a delete.
    pub previous: Option<Arc<Stored>>,
    /// `{"type":…,"object":…}\n`, made by the first watcher that needs it and then shared.
    pub frame: OnceLock<Bytes>,
    /// The same in protobuf, with its length before it.
    pub message: OnceLock<Bytes>,
}

impl Event {
    pub(crate) fn new(kind: EventKind, object: Arc<Stored>, previous: Option<Arc<Stored>>) -> Self {
        Event {
            kind,
            object,
            previous,
            frame: OnceLock::new(),
            message: OnceLock::new(),
        }
    }
}

/// A consistent view of one prefix.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Revision of the whole store that this view shows.
    pub revision: u64,
    /// In key order, starting behind `after`.
    pub items: Vec<Arc<Stored>>,
    /// How many more there are behind the last one.
    pub remaining: usize,
}

/// What part of a prefix to list.
#[derive(Debug, Clone, Default)]
pub struct Range<'a> {
    /// `/registry/pods/` or `/registry/pods/default/`.
    pub prefix: &'a str,
    /// Start behind this key.
    pub after: Option<&'a str>,
    /// 0 means all.
    pub limit: usize,
    /// View at this revision; `None` is the newest. For continue tokens and `resourceVersionMatch=Exact`.
    pub at: Option<u64>,
}

/// The revision is compacted away (410), or has not been reached yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    #[error("revision {asked} is compacted; the oldest is {oldest}")]
    Compacted { asked: u64, oldest: u64 },
    #[error("revision {asked} is ahead of {current}")]
    Future { asked: u64, current: u64 },
}

/// How to open a store of the embedded engine.
#[derive(Debug, Clone)]
pub struct Options {
    pub dir: PathBuf,
    /// How many past changes per resource are kept for watches and old views, unless they hold more than 16 MiB.
    pub history: usize,
    /// Past changes older than this go, down to `history` (the original compacts every 5 minutes).
    pub keep: Duration,
    /// A log that is larger than this (bytes), and than twice the live objects, is replaced by a snapshot of them.
    pub compact_at: u64,
    /// Encryption at rest.
    pub transformer: Option<Arc<dyn Transformer>>,
}

impl Options {
    pub fn new(dir: &Path) -> Self {
        Options {
            dir: dir.to_owned(),
            history: 1000,
            keep: Duration::from_secs(300),
            compact_at: 32 << 20,
            transformer: None,
        }
    }
}

/// Reads the head of stored bytes of the key at open; given by the API server, which knows the kinds.
pub type HeadOf = Arc<dyn Fn(&str, &[u8]) -> Head + Send + Sync>;
