//! What makes writes durable. The read model does the rest.

use std::{io, sync::Arc};

use crate::{Event, model::Map};

pub(crate) mod embedded;

/// Why a commit failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing of the batch is there, now or after a restart; the next batch may work (disk full).
    Refused(io::Error),
    /// Nobody knows what survives a restart. Nothing more may be acknowledged.
    Broken(io::Error),
}

/// An engine takes decided changes in revision order. It is driven by one thread.
pub(crate) trait Engine: Send {
    /// Makes the batch durable: after `Ok` it survives kill -9 and power loss.
    fn commit(&mut self, batch: &[Arc<Event>]) -> Result<(), Failure>;

    /// Called between batches with the state they led to; the moment to bound disk use. Must not take long.
    fn tidy(&mut self, live: &Map, revision: u64);

    /// Leaves everything in order for the next open.
    fn close(&mut self) -> io::Result<()>;
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
