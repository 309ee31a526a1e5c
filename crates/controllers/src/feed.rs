//! From informers' changes to work.

use std::{fmt::Debug, future::Future, hash::Hash, sync::Arc, time::Duration};

use knarr_client::{Change, Informer, Queue, informer::Kind};

/// Hands every change of a kind to `handle`, for ever.
pub async fn each<K: Kind>(informer: &Informer<K>, mut handle: impl FnMut(Change<K>)) {
    let mut changes = informer.subscribe();
    while let Some(change) = changes.recv().await {
        handle(change);
    }
}

/// Works on the queue with `sync` for ever.
pub async fn work<C, T, F, Fut>(
    name: &'static str,
    workers: usize,
    queue: &Queue<T>,
    controller: &Arc<C>,
    sync: F,
) where
    C: Send + Sync + 'static,
    T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    F: Fn(Arc<C>, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<Option<Duration>>> + Send,
{
    let controller = controller.clone();
    queue
        .run(name, workers, move |item| sync(controller.clone(), item))
        .await;
}
