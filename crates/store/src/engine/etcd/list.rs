//! Reading everything below the prefix, at one revision.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::{
    cluster::{Cluster, RANGE},
    compact::LAST_COMPACTED,
    feed::Keys,
    proto::{self, KeyValue, RangeRequest, RangeResponse, unsigned},
    value::Values,
};
use crate::{Stored, model::Map};

const PAGE: i64 = 1000;
const PATIENCE: Duration = Duration::from_secs(20);
/// How far back the past is read at the start when etcd was never compacted.
const PAST: u64 = 10_000;

/// Reads the state at an old revision, so that the watch from there on gives the past that etcd still has; the newest
/// state when there is no such revision.
pub(super) async fn list_with_past(
    cluster: &Cluster,
    keys: &Keys,
    values: &Values,
) -> Result<Listed, Status> {
    let request = RangeRequest {
        key: Bytes::from_static(LAST_COMPACTED),
        ..RangeRequest::default()
    };
    let response: RangeResponse = cluster.ask(RANGE, &request, PATIENCE).await?;
    let newest = proto::revision(response.header.as_ref());
    let compacted = response
        .kvs
        .first()
        .and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse::<u64>().ok());
    let start = compacted
        .unwrap_or(1)
        .max(newest.saturating_sub(PAST))
        .max(1);
    match list(cluster, keys, values, Some(start)).await {
        Err(status) if status.code() == Code::OutOfRange => list(cluster, keys, values, None).await,
        listed => listed,
    }
}

/// Everything below the prefix.
pub(super) struct Listed {
    pub map: Map,
    pub revision: u64,
    /// Why values cannot be read, by key.
    pub unreadable: BTreeMap<String, String>,
}

/// Reads everything at `at`, or at the newest revision.
pub(super) async fn list(
    cluster: &Cluster,
    keys: &Keys,
    values: &Values,
    at: Option<u64>,
) -> Result<Listed, Status> {
    let mut request = RangeRequest {
        key: keys.from.clone(),
        range_end: keys.end.clone(),
        limit: PAGE,
        revision: at.map_or(0, proto::signed),
        keys_only: false,
    };
    let mut pages: Vec<JoinHandle<Page>> = Vec::new();
    loop {
        let response: RangeResponse = cluster.ask(RANGE, &request, PATIENCE).await?;
        cluster.met(response.header.as_ref());
        if request.revision == 0 {
            request.revision = response.header.map_or(0, |header| header.revision);
        }
        let last = response.kvs.last().map(|kv| kv.key.clone());
        let more = response.more;
        let (values, tick) = (values.clone(), keys.tick.clone());
        // Parsed while the next page is on its way.
        pages.push(tokio::task::spawn_blocking(move || {
            parse(&response.kvs, &values, &tick)
        }));
        let Some(last) = last.filter(|_| more) else {
            break;
        };
        let mut behind = BytesMut::from(&last[..]);
        behind.put_u8(0);
        request.key = behind.freeze();
    }
    let mut listed = Listed {
        map: Map::new(),
        revision: unsigned(request.revision),
        unreadable: BTreeMap::new(),
    };
    for page in pages {
        let page = page.await.map_err(|e| Status::internal(e.to_string()))?;
        let items = page.items.into_iter();
        listed
            .map
            .extend(items.map(|item| (item.key.clone(), item)));
        listed.unreadable.extend(page.unreadable);
    }
    Ok(listed)
}

/// A part of what there is.
#[derive(Default)]
struct Page {
    items: Vec<Arc<Stored>>,
    unreadable: Vec<(String, String)>,
}

fn parse(kvs: &[KeyValue], values: &Values, tick: &Bytes) -> Page {
    let mut page = Page::default();
    for kv in kvs.iter().filter(|kv| kv.key != *tick) {
        match values.stored(kv) {
            Ok(stored) => page.items.push(Arc::new(stored)),
            Err(why) => page.unreadable.extend(complain(kv, values, why)),
        }
    }
    page
}

/// Says that a value cannot be read. Gives its key with the reason.
pub(super) fn complain(kv: &KeyValue, values: &Values, why: String) -> Option<(String, String)> {
    let key = String::from_utf8_lossy(&kv.key);
    tracing::error!(%key, why, "a value in etcd is no object that can be read");
    let key = values.inner(&kv.key).ok()?;
    Some((key.into_owned(), why))
}
