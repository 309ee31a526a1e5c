//! What keeps the read model up to date: one watch of everything below the prefix.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    cluster::Cluster,
    list,
    proto::{self, DELETE, WatchCreateRequest, WatchRequest, WatchResponse, revision, unsigned},
    value::Values,
};
use crate::{
    Event, EventKind,
    model::{Map, Model, apply},
};

/// Between attempts to go on with a watch.
const PAUSE: Duration = Duration::from_millis(100);

/// The keys of a store.
#[derive(Clone)]
pub(super) struct Keys {
    /// `/registry/`, or with another prefix.
    pub from: Bytes,
    pub end: Bytes,
    /// Written when nothing else is, to learn that the watch has given everything.
    pub tick: Bytes,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        let root = format!("{}/", prefix.trim_end_matches('/'));
        let mut end = root.clone().into_bytes();
        if let Some(last) = end.last_mut() {
            *last += 1; // '/' becomes '0'
        }
        Keys {
            tick: format!("{root}knarr.tick").into(),
            from: root.into(),
            end: end.into(),
        }
    }
}

pub(super) struct Feed {
    pub cluster: Arc<Cluster>,
    pub model: Arc<Model>,
    pub keys: Keys,
    pub values: Values,
    pub stop: CancellationToken,
    /// Etcd knows less than the model: it was restored from a backup.
    pub went_back: Arc<Notify>,
    /// Why the watch is down, when it is.
    pub trouble: Arc<Mutex<Option<String>>>,
}

/// Why a watch ended.
enum End {
    Stopped,
    Broken(Status),
    /// Changes that are needed to go on are gone, or it is another cluster by now: one restored from a backup, whose
    /// revisions mean something else.
    Compacted,
}

impl Feed {
    /// Follows etcd until it is told to stop.
    pub(super) async fn run(self) {
        loop {
            match self.follow().await {
                End::Stopped => return,
                End::Broken(status) => {
                    tracing::info!(why = status.message(), "watch of etcd is opened again");
                    *self.trouble.lock() = Some(status.message().to_owned());
                }
                End::Compacted => self.start_over().await,
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Goes on where the model is.
    async fn follow(&self) -> End {
        let create = WatchCreateRequest {
            key: self.keys.from.clone(),
            range_end: self.keys.end.clone(),
            start_revision: proto::signed(self.model.revision() + 1),
            progress_notify: true,
        };
        let request = WatchRequest {
            create: Some(create),
        };
        let (member, mut stream) = match self.cluster.watch(request).await {
            Ok(opened) => opened,
            Err(status) => return End::Broken(status),
        };
        let end = self.read(&mut stream).await;
        if matches!(end, End::Broken(_)) {
            self.cluster.avoid(member);
        }
        end
    }

    /// Takes what comes until the watch ends.
    async fn read(&self, stream: &mut Streaming<WatchResponse>) -> End {
        loop {
            let message = tokio::select! {
                () = self.stop.cancelled() => return End::Stopped,
                () = self.went_back.notified() => return End::Compacted,
                message = stream.message() => message,
            };
            let response = match message {
                Ok(Some(response)) => response,
                Ok(None) => return End::Broken(Status::unavailable("etcd ended the watch")),
                Err(status) => return End::Broken(status),
            };
            if response.compact_revision > 0 || !self.cluster.is_known(response.header.as_ref()) {
                return End::Compacted;
            }
            if response.canceled {
                return End::Broken(Status::unavailable(response.cancel_reason));
            }
            if response.created {
                *self.trouble.lock() = None;
            } else {
                self.take(response);
            }
        }
    }

    /// Shows changes to readers and watchers.
    fn take(&self, response: WatchResponse) {
        let (mut map, known) = self.model.snapshot();
        let last = response.events.iter().rev().find_map(|e| e.kv.as_ref());
        // Without events, it says that everything up to there was given.
        let reached = last.map_or_else(
            || revision(response.header.as_ref()),
            |kv| unsigned(kv.mod_revision),
        );
        if reached <= known {
            return;
        }
        let mut events = Vec::with_capacity(response.events.len());
        for event in response.events {
            let fresh = |kv: &proto::KeyValue| {
                unsigned(kv.mod_revision) > known && kv.key != self.keys.tick
            };
            let Some(kv) = event.kv.filter(fresh) else {
                continue;
            };
            match self.change(&map, event.kind == DELETE, &kv) {
                Ok(change) => {
                    if let Ok(key) = self.values.inner(&kv.key) {
                        self.model.note_unreadable(&key, None);
                    }
                    if let Some(change) = change {
                        apply(&mut map, &change);
                        events.push(Arc::new(change));
                    }
                }
                Err(why) => {
                    if let Some((key, why)) = list::complain(&kv, &self.values, why) {
                        self.model.note_unreadable(&key, Some(why));
                    }
                }
            }
        }
        self.model.publish(map, reached, &events);
    }

    fn change(
        &self,
        map: &Map,
        deleted: bool,
        kv: &proto::KeyValue,
    ) -> Result<Option<Event>, String> {
        let key = self.values.inner(&kv.key)?;
        let previous = map.get(&*key).cloned();
        if deleted {
            let Some(before) = previous else {
                return Ok(None);
            };
            let object = Arc::new(before.moved_to(unsigned(kv.mod_revision)));
            return Ok(Some(Event::new(EventKind::Deleted, object, Some(before))));
        }
        let kind = if previous.is_some() {
            EventKind::Modified
        } else {
            EventKind::Added
        };
        let object = Arc::new(self.values.stored(kv)?);
        Ok(Some(Event::new(kind, object, previous)))
    }

    /// Reads everything anew. Those who watch are told that they must do so, too.
    async fn start_over(&self) {
        tracing::warn!(
            "changes in etcd were compacted before they were seen, or etcd was restored; reading everything anew"
        );
        match list::list(&self.cluster, &self.keys, &self.values, None).await {
            Ok(listed) => self
                .model
                .reset(listed.map, listed.revision, listed.unreadable),
            Err(status) => {
                tracing::warn!(why = status.message(), "cannot read everything from etcd");
                *self.trouble.lock() = Some(status.message().to_owned());
            }
        }
    }
}
