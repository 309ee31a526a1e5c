//! Keeps the index of roles and bindings as the store is.

use std::sync::Arc;

use knarr_store::{EventKind, Range, Store};
use parking_lot::RwLock;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::rbac::{BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, Index, ROLES};

/// Fills the index and keeps it filled: one task per prefix, each starting over when its watch falls behind.
pub(super) fn follow(
    store: &Store,
    index: &Arc<RwLock<Index>>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    for prefix in [ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS] {
        let from = load(store, index, prefix);
        let (store, index, stop) = (store.clone(), index.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = watch(store, index, prefix, from) => {}
            }
        });
    }
}

fn load(store: &Store, index: &RwLock<Index>, prefix: &str) -> u64 {
    let Ok(listing) = store.list(Range {
        prefix,
        ..Range::default()
    }) else {
        return store.revision();
    };
    let mut index = index.write();
    index.forget(prefix);
    listing.items.iter().for_each(|stored| index.put(stored));
    listing.revision
}

async fn watch(store: Store, index: Arc<RwLock<Index>>, prefix: &'static str, mut from: u64) {
    loop {
        if let Ok(mut watch) = store.watch(prefix, Some(from)) {
            while let Some(Ok(event)) = watch.next().await {
                let mut index = index.write();
                match event.kind {
                    EventKind::Deleted => index.remove(&event.object),
                    EventKind::Added | EventKind::Modified => index.put(&event.object),
                }
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        from = load(&store, &index, prefix);
    }
}
