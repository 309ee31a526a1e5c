//! The one thread that writes.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use knarr_api::{Head, head::Encoded};
use tokio::sync::oneshot;

use crate::{
    Event, EventKind, Stored, Write, WriteError,
    lock::Lock,
    model::{Map, Model, apply},
};

use super::{
    format::Builder,
    journal::{Failure, Journal},
};

/// One sync carries at most this much, so that a flood does not make everybody wait for all of it.
const BATCH_WRITES: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;
/// How often old history is let go of.
const TRIM: Duration = Duration::from_secs(30);

pub(super) type Reply = oneshot::Sender<Result<Arc<Stored>, WriteError>>;

pub(super) enum Job {
    Write(Box<Write>, Reply),
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    model: Arc<Model>,
    journal: Journal,
    /// Set when the journal broke: why nothing is accepted any more.
    broken: Option<String>,
    _lock: Lock,
}

impl Writer {
    pub(super) fn new(model: Arc<Model>, journal: Journal, lock: Lock) -> Self {
        Writer {
            model,
            journal,
            broken: None,
            _lock: lock,
        }
    }

    /// Works until it is told to close or nobody can ask any more.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        let mut trimmed = Instant::now();
        let closing = loop {
            // Not only when idle: what one resource writes does not shed the past of another.
            if trimmed.elapsed() >= TRIM {
                self.model.trim();
                trimmed = Instant::now();
            }
            match queue.recv_timeout(TRIM) {
                Ok(job) => {
                    if let ControlFlow::Break(reply) = self.turn(job, queue) {
                        break Some(reply);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break None,
            }
        };
        self.model.close();
        if let Err(error) = self.journal.close() {
            tracing::warn!(%error, "store did not close cleanly");
        }
        drop(self); // frees the lock before the closer goes on
        if let Some(reply) = closing {
            let _ = reply.send(()); // nobody waiting any more is fine
        }
    }

    /// Takes what waits and writes it as one batch.
    fn turn(&mut self, first: Job, queue: &Receiver<Job>) -> ControlFlow<oneshot::Sender<()>> {
        let (mut batch, mut bytes, mut next) = (Vec::new(), 0, Some(first));
        while let Some(job) = next {
            match job {
                Job::Write(write, reply) => {
                    bytes += size(&write);
                    batch.push((write, reply));
                }
                Job::Close(reply) => {
                    self.write(batch);
                    return ControlFlow::Break(reply);
                }
            }
            let full = batch.len() >= BATCH_WRITES || bytes >= BATCH_BYTES;
            next = if full { None } else { queue.try_recv().ok() };
        }
        self.write(batch);
        ControlFlow::Continue(())
    }

    fn write(&mut self, batch: Vec<(Box<Write>, Reply)>) {
        let (mut map, mut revision) = self.model.snapshot();
        let mut events = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        let transformer = self.journal.transformer();
        let mut frame = self.journal.begin(transformer.as_deref());
        for (write, reply) in batch {
            // One that cannot be sealed is refused alone: others have nothing to do with its key.
            let decided = decide(&map, *write, revision + 1).and_then(|event| {
                let built = frame.event(&event);
                built.map_err(|error| WriteError::Engine(error.to_string()))?;
                Ok(event)
            });
            let decided = decided.map(|event| {
                revision += 1;
                apply(&mut map, &event);
                let stored = event.object.clone();
                events.push(Arc::new(event));
                stored
            });
            answers.push((decided, reply));
        }
        let done = self.commit(frame, revision, events.is_empty());
        if done.is_ok() && !events.is_empty() {
            self.model.publish(map, revision, &events);
        }
        // Refusals are told after the commit too: they may rest on writes of the same batch.
        for (decided, reply) in answers {
            let answer = done.clone().map_err(WriteError::Engine).and(decided);
            let _ = reply.send(answer); // nobody waiting any more is fine
        }
        if done.is_ok() && !events.is_empty() {
            self.journal.tidy(&self.model);
        }
    }

    fn commit(&mut self, frame: Builder<'_>, revision: u64, empty: bool) -> Result<(), String> {
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        if empty {
            return Ok(());
        }
        self.journal.commit(frame, revision).map_err(|failure| match failure {
            Failure::Refused(error) => {
                tracing::error!(%error, "store refused a batch");
                error.to_string()
            }
            Failure::Broken(error) => {
                tracing::error!(%error, "store is broken: no more writes are accepted until a restart");
                self.broken.insert(error.to_string()).clone()
            }
        })
    }
}

fn size(write: &Write) -> usize {
    match write {
        Write::Create { value, .. } | Write::Update { value, .. } => value.json().len(),
        Write::Delete { .. } => 0,
    }
}

/// What a write does to `map`, or why it cannot.
fn decide(map: &Map, write: Write, revision: u64) -> Result<Event, WriteError> {
    let (kind, object, previous) = match write {
        Write::Create { key, value, head } => {
            if let Some(old) = map.get(key.as_str()) {
                return Err(WriteError::Exists(old.clone()));
            }
            (
                EventKind::Added,
                put(key.into(), revision, revision, &value, head),
                None,
            )
        }
        Write::Update {
            key,
            expect,
            value,
            head,
        } => {
            let old = current(map, &key, expect)?;
            (
                EventKind::Modified,
                put(old.key.clone(), revision, old.created, &value, head),
                Some(old),
            )
        }
        Write::Delete { key, expect } => {
            let old = current(map, &key, expect)?;
            (EventKind::Deleted, old.moved_to(revision), Some(old))
        }
    };
    Ok(Event::new(kind, Arc::new(object), previous))
}

fn current(map: &Map, key: &str, expect: u64) -> Result<Arc<Stored>, WriteError> {
    let old = map.get(key).ok_or(WriteError::NotFound)?;
    if old.revision == expect {
        Ok(old.clone())
    } else {
        Err(WriteError::Conflict(old.clone()))
    }
}

fn put(key: Arc<str>, revision: u64, created: u64, value: &Encoded, head: Head) -> Stored {
    Stored {
        key,
        revision,
        created,
        json: value.at_revision(revision),
        hole: value.hole(),
        head,
    }
}
