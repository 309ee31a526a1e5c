//! Events go after an hour, as nobody else would take them away.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use knarr_store::{Range, Stored, Write};
use serde_json::Value;

use crate::server::Shared;

const EVENTS: &str = "/registry/events/";
/// Seconds after its last sighting that an event stays.
const LIFE: i64 = 3600;
const EVERY: Duration = Duration::from_secs(300);

/// Takes away old events until the server stops.
pub(crate) fn start(shared: &Arc<Shared>) {
    let server = shared.clone();
    shared.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = server.stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => sweep(&server).await,
            }
        }
    });
}

async fn sweep(shared: &Shared) {
    let range = Range {
        prefix: EVENTS,
        ..Range::default()
    };
    let Ok(listing) = shared.store.list(range) else {
        return;
    };
    let now = Timestamp::now();
    for stored in listing.items {
        if !is_old(&stored, now) {
            continue;
        }
        let gone = Write::Delete {
            key: stored.key.to_string(),
            expect: stored.revision,
        };
        if let Err(error) = shared.store.write(gone).await {
            tracing::debug!(key = %stored.key, %error, "old event stays");
        }
    }
}

fn is_old(stored: &Stored, now: Timestamp) -> bool {
    let event: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
    let times = [
        &event["metadata"]["creationTimestamp"],
        &event["lastTimestamp"],
        &event["deprecatedLastTimestamp"],
        &event["series"]["lastObservedTime"],
    ];
    let parsed = times
        .into_iter()
        .filter_map(|t| t.as_str()?.parse::<Timestamp>().ok());
    parsed
        .max()
        .is_some_and(|last| now.as_second() - last.as_second() > LIFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sighting_counts() {
        let event = |json: &str| Stored {
            key: "k".into(),
            revision: 1,
            created: 1,
            json: json.to_owned().into(),
            hole: 0,
            head: Default::default(),
        };
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let old = r#"{"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"}}"#;
        let seen = r#"{"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"}, "lastTimestamp": "2026-01-01T11:30:00Z"}"#;
        assert!(
            is_old(&event(old), now) && !is_old(&event(seen), now) && !is_old(&event("{}"), now)
        );
    }
}
