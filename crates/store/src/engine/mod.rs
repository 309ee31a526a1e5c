//! Where writes are decided and made durable. The read model, which every engine feeds, does the rest.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{Stored, Unavailable, Write, WriteError};

pub(crate) mod embedded;
pub(crate) mod etcd;

/// An engine decides writes, makes them durable, and shows them to readers and watchers in the read model.
pub(crate) trait Engine: Send + Sync {
    /// Does one write. After `Ok` it is durable, and the read model has it.
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Arc<Stored>, WriteError>>;

    /// Waits until the read model has every write that anybody, on this server or another, was told of before the call.
    fn catch_up(&self) -> BoxFuture<'_, Result<(), Unavailable>>;

    /// Why the engine cannot be reached at the moment, as far as is known; `None` when it can.
    fn trouble(&self) -> Option<String>;

    /// Finishes what was begun and leaves everything in order for the next open. Later writes fail.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A stored object as an engine gives it back at open: the head is not parsed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub key: Arc<str>,
    pub revision: u64,
    pub created: u64,
    pub hole: usize,
    pub json: bytes::Bytes,
}
