//! Reads that must not be behind: what anybody was told of, through this server or another, is seen.

use knarr_api::Status;

use crate::{Outcome, chain::Call};

/// How long a request waits until this server knows what is newest.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Waits until this server has every write that was acknowledged before the request, when the request asks for that: a write
/// (which reads first), or a read that names no revision to be content with.
///
/// # Errors
/// 503 when nobody can tell what is newest.
pub async fn ensure(call: &Call) -> Outcome<()> {
    if content_with_older(call) {
        return Ok(());
    }
    let caught_up = tokio::time::timeout(PATIENCE, call.shared.store.catch_up());
    let why = match caught_up.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the newest state could not be learned in time".to_owned(),
    };
    tracing::warn!(%why, "the store is not available");
    Err(Status::failure(503, "ServiceUnavailable", why).into())
}

fn content_with_older(call: &Call) -> bool {
    let reads = matches!(call.info.verb.as_str(), "get" | "list" | "watch");
    let names = |key| call.query.get(key).is_some_and(|text| !text.is_empty());
    reads && (names("resourceVersion") || names("continue"))
}
