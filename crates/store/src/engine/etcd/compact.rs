//! Old revisions go from etcd, as the original's API servers have it: each interval, whoever is first compacts up to where
//! the interval before began. All servers agree through one key, with originals among them, too.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    cluster::{COMPACT, Cluster, TXN},
    proto::{
        CompactionRequest, CompactionResponse, Compare, PutRequest, RangeRequest, RequestOp,
        TxnRequest, TxnResponse, VERSION,
    },
};

/// Holds the revision that was compacted last. Its version counts the rounds.
pub(super) const LAST_COMPACTED: &[u8] = b"compact_rev_key";
const PATIENCE: Duration = Duration::from_secs(30);

/// Where this server is in the rounds.
#[derive(Default)]
struct Round {
    /// Version of the key that this server saw last.
    time: i64,
    /// Revision at that time.
    revision: i64,
}

/// Takes part until it is told to stop.
pub(super) async fn run(cluster: Arc<Cluster>, interval: Duration, stop: CancellationToken) {
    let mut round = Round::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        if let Err(status) = turn(&cluster, &mut round).await {
            tracing::warn!(why = status.message(), "etcd was not compacted");
        }
    }
}

async fn turn(cluster: &Cluster, round: &mut Round) -> Result<(), Status> {
    let response: TxnResponse = cluster.ask(TXN, &request(round), PATIENCE).await?;
    let now = response.header.as_ref().map_or(0, |h| h.revision);
    if !response.succeeded {
        // Another server was first.
        let shown = response.responses.iter().find_map(|op| op.range.as_ref());
        let version = shown.and_then(|r| r.kvs.first()).map_or(0, |kv| kv.version);
        *round = Round {
            time: version,
            revision: now,
        };
        return Ok(());
    }
    let before = std::mem::replace(
        round,
        Round {
            time: round.time + 1,
            revision: now,
        },
    );
    if before.revision == 0 {
        return Ok(()); // the first round only learns where it is
    }
    let request = CompactionRequest {
        revision: before.revision,
    };
    let done: Result<CompactionResponse, _> = cluster.ask(COMPACT, &request, PATIENCE).await;
    match done {
        // Compacted already.
        Err(status) if status.code() == tonic::Code::OutOfRange => Ok(()),
        done => done.map(|_| ()),
    }
}

fn request(round: &Round) -> TxnRequest {
    let key = Bytes::from_static(LAST_COMPACTED);
    let compare = Compare {
        target: VERSION,
        key: key.clone(),
        version: Some(round.time),
        create_revision: None,
        mod_revision: None,
    };
    let put = PutRequest {
        key: key.clone(),
        value: round.revision.to_string().into(),
    };
    let look = RangeRequest {
        key,
        ..RangeRequest::default()
    };
    TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp {
            put: Some(put),
            ..RequestOp::default()
        }],
        failure: vec![RequestOp {
            range: Some(look),
            ..RequestOp::default()
        }],
    }
}
