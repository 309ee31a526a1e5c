//! Large documents while they are on their way: however many clients ask for one at a time, it is made once and held once.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;

/// Documents that are being sent, by the tag of what they were made from.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<HashMap<String, Arc<Slot>>>);

/// One document; locked while it is made.
type Slot = tokio::sync::Mutex<Weak<Vec<u8>>>;

struct Held(Arc<Vec<u8>>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl InFlight {
    /// The document of a tag: one that somebody still reads, or else what `make` gives. Who asks meanwhile waits for that;
    /// others' documents are made at the same time.
    pub async fn get(&self, tag: &str, make: impl Future<Output = Vec<u8>>) -> Bytes {
        let slot = self.slot(tag);
        let mut document = slot.lock().await;
        if let Some(found) = document.upgrade() {
            return Bytes::from_owner(Held(found));
        }
        let made = Arc::new(make.await);
        *document = Arc::downgrade(&made);
        Bytes::from_owner(Held(made))
    }

    /// Lets go what nobody makes, waits for or reads.
    fn slot(&self, tag: &str) -> Arc<Slot> {
        let mut all = self.0.lock();
        let is_read = |slot: &Slot| slot.try_lock().is_ok_and(|d| d.strong_count() > 0);
        all.retain(|_, slot| Arc::strong_count(slot) > 1 || is_read(slot));
        all.entry(tag.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn what_is_being_read_is_not_made_again() {
        let (documents, made) = (InFlight::default(), Cell::new(0));
        let get = |tag: &'static str| {
            documents.get(tag, async {
                tokio::task::yield_now().await;
                made.set(made.get() + 1);
                tag.as_bytes().to_vec()
            })
        };
        let all = join_all([get("a"), get("b"), get("a"), get("a")]).await;
        assert_eq!(made.get(), 2);
        assert_eq!(all[0], "a");
        assert!(all[2].as_ptr() == all[0].as_ptr() && all[1] == "b");
        drop(all);
        assert_eq!((get("a").await.len(), made.get()), (1, 3));
        assert_eq!(documents.0.lock().len(), 1, "what nobody reads is let go");
    }

    #[tokio::test]
    async fn one_document_does_not_wait_for_another() {
        let documents = InFlight::default();
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let slow = documents.get("slow", async {
            wait.await.ok();
            b"slow".to_vec()
        });
        let fast = async {
            let made = documents.get("fast", async { b"fast".to_vec() }).await;
            done.send(()).ok();
            made
        };
        let (slow, fast) = tokio::join!(slow, fast);
        assert_eq!((&*slow, &*fast), (&b"slow"[..], &b"fast"[..]));
    }
}
