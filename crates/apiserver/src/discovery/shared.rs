//! Large documents while they are on their way: however many clients ask for one at a time, it is made once and held once.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;

/// Documents that are being sent, by the tag of what they were made from.
#[derive(Default)]
pub(crate) struct InFlight(tokio::sync::Mutex<HashMap<String, Weak<Vec<u8>>>>);

struct Held(Arc<Vec<u8>>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl InFlight {
    /// The document of a tag: one that somebody still reads, or else what `make` gives. One is made at a time.
    pub async fn get(&self, tag: &str, make: impl Future<Output = Vec<u8>>) -> Bytes {
        let mut all = self.0.lock().await;
        if let Some(found) = all.get(tag).and_then(Weak::upgrade) {
            return Bytes::from_owner(Held(found));
        }
        let made = Arc::new(make.await);
        all.retain(|_, document| document.strong_count() > 0);
        all.insert(tag.to_owned(), Arc::downgrade(&made));
        Bytes::from_owner(Held(made))
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
        assert_eq!(
            documents.0.lock().await.len(),
            1,
            "what nobody reads is let go"
        );
    }
}
