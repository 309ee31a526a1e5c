//! Following the changes of a prefix.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt, Stream, StreamExt, task::AtomicWaker};

use crate::{
    Event, RevisionError,
    history::History,
    model::{Model, group_of},
};

/// How many events are looked at per lock of the history.
const STRIDE: usize = 128;

/// The changes of a prefix, in revision order, each once. It keeps a place in the shared history, so a watch costs no
/// copies; one that falls behind what the history keeps ends with [`RevisionError::Compacted`].
pub struct Watch {
    model: Arc<Model>,
    history: Arc<History>,
    /// Narrower than the history's group; `None` when every event of it is wanted.
    filter: Option<Box<str>>,
    /// Position in the history to go on from.
    position: u64,
    /// Events up to here have been given, or were before the watch.
    seen: u64,
    waiting: VecDeque<Arc<Event>>,
    waker: Arc<AtomicWaker>,
    waker_id: u64,
    ended: bool,
}

impl Watch {
    pub(crate) fn new(
        model: Arc<Model>,
        prefix: &str,
        from: Option<u64>,
    ) -> Result<Watch, RevisionError> {
        let current = model.revision();
        let seen = from.unwrap_or(current);
        if seen > current {
            return Err(RevisionError::Future {
                asked: seen,
                current,
            });
        }
        let history = model.history(prefix);
        let position = history.position(seen)?;
        let filter = (group_of(prefix) != prefix).then(|| prefix.into());
        let (waker_id, waker) = history.register();
        Ok(Watch {
            model,
            history,
            filter,
            position,
            seen,
            waiting: VecDeque::new(),
            waker,
            waker_id,
            ended: false,
        })
    }

    /// The next change; `None` when the store closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, RevisionError>> {
        StreamExt::next(self).await
    }

    /// The next change, when it is there already.
    pub fn ready(&mut self) -> Option<Result<Arc<Event>, RevisionError>> {
        self.next().now_or_never().flatten()
    }

    /// Whether there is something that was not given yet. Takes no lock.
    pub fn is_behind(&self) -> bool {
        !self.ended && (!self.waiting.is_empty() || !self.history.is_end(self.position))
    }

    /// The revision up to which this watch has given everything: what a bookmark may say.
    pub fn revision(&self) -> u64 {
        if !self.waiting.is_empty() || self.ended {
            return self.seen;
        }
        // Read before looking at the history: what is pushed in between is behind it.
        let current = self.model.revision();
        if self.history.is_end(self.position) {
            current
        } else {
            self.seen
        }
    }

    fn give(&mut self) -> Option<Arc<Event>> {
        let event = self.waiting.pop_front()?;
        self.seen = event.object.revision;
        Some(event)
    }

    /// Fetches until something waits or the end is reached.
    fn fetch(&mut self) -> Result<(), RevisionError> {
        loop {
            let filter = self.filter.as_deref();
            let wanted =
                |event: &Event| filter.is_none_or(|prefix| event.object.key.starts_with(prefix));
            let (position, end) = self
                .history
                .read(self.position, STRIDE, wanted, &mut self.waiting)
                .map_err(|oldest| RevisionError::Compacted {
                    asked: self.seen,
                    oldest,
                })?;
            self.position = position;
            if end || !self.waiting.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Stream for Watch {
    type Item = Result<Arc<Event>, RevisionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(event) = this.give() {
            return Poll::Ready(Some(Ok(event)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        // Registered before looking, so that a push in between is not missed.
        this.waker.register(cx.waker());
        let closed = this.model.is_closed();
        if let Err(error) = this.fetch() {
            this.ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        match this.give() {
            Some(event) => Poll::Ready(Some(Ok(event))),
            None if closed => {
                this.ended = true;
                Poll::Ready(None)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.history.unregister(self.waker_id);
    }
}
