//! The embedded engine: a log of batches and, now and then, a snapshot that replaces what came before.
//!
//! One thread takes every write that waits at that moment, decides them one by one, and makes them durable with one sync.
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
    future::ready,
    sync::{Arc, mpsc},
};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use self::writer::{Job, Writer};
use super::Engine;
use crate::{
    HeadOf, OpenError, Options, Stored, Unavailable, Write, WriteError, lock::Lock, model::Model,
};

mod format;
mod journal;
mod load;
mod log;
mod past;
mod recover;
mod snapshot;
mod writer;

/// The door to the writer's thread. The last clone of the store that goes closes it.
pub(crate) struct Embedded {
    jobs: mpsc::Sender<Job>,
}

impl Embedded {
    /// Opens the store in `options.dir`, which is made when it does not exist.
    pub(crate) fn open(
        options: &Options,
        head_of: &HeadOf,
    ) -> Result<(Arc<Model>, Embedded), OpenError> {
        std::fs::create_dir_all(&options.dir).map_err(OpenError::io("create", &options.dir))?;
        let lock = Lock::take(&options.dir)?;
        let (journal, model) = load::load(options, head_of)?;
        let model = Arc::new(model);
        let (jobs, queue) = mpsc::channel();
        let writer = Writer::new(model.clone(), journal, lock);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&queue))
            .map_err(OpenError::io("start the writer of", &options.dir))?;
        Ok((model, Embedded { jobs }))
    }
}

impl Engine for Embedded {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Arc<Stored>, WriteError>> {
        let closed = || WriteError::Engine("the store is closed".into());
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Write(Box::new(write), reply)).is_err() {
            return Box::pin(ready(Err(closed())));
        }
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(closed())) })
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), Unavailable>> {
        // This process is the only one that writes, and what it acknowledged readers have.
        Box::pin(ready(Ok(())))
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let (reply, done) = oneshot::channel();
        let asked = self.jobs.send(Job::Close(reply)).is_ok();
        Box::pin(async move {
            if asked {
                let _ = done.await; // an error means that it had closed already
            }
        })
    }
}
