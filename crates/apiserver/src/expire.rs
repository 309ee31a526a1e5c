//! Events go some time after they were written last (`--event-ttl`), as nobody else would take them away.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use knarr_json::Value;
use knarr_store::{Range, Stored, Write};

use crate::server::Shared;

const EVENTS: &str = "/registry/events/";
/// How often old events are looked for: this part of the time that they stay, within bounds.
const PART: u32 = 20;
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);

/// Takes away old events until the server stops.
pub(crate) fn start(shared: &Arc<Shared>) {
    let server = shared.clone();
    let every = (shared.event_ttl / PART).clamp(OFTEN, SELDOM);
    shared.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = server.stop.cancelled() => return,
                () = tokio::time::sleep(every) => sweep(&server).await,
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
        if !is_old(&stored, shared.event_ttl, now) {
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

/// Whether an event was written last, as far as it tells, more than `life` ago.
fn is_old(stored: &Stored, life: Duration, now: Timestamp) -> bool {
    let event: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
    let times = [
        &event["metadata"]["creationTimestamp"],
        &event["lastTimestamp"],
        &event["deprecatedLastTimestamp"],
        &event["series"]["lastObservedTime"],
    ];
    let written = event["metadata"]["managedFields"].as_array();
    let written = written.into_iter().flatten().map(|m| &m["time"]);
    let parsed = times
        .into_iter()
        .chain(written)
        .filter_map(|t| t.as_str()?.parse::<Timestamp>().ok());
    parsed
        .max()
        .and_then(|last| Duration::try_from(now.duration_since(last)).ok())
        .is_some_and(|age| age > life)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_write_counts() {
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
        let touched = r#"{"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z", "managedFields": [{"time": "2026-01-01T11:59:59Z"}]}}"#;
        let ahead = r#"{"metadata": {"creationTimestamp": "2026-01-01T13:00:00Z"}}"#;
        for (json, seconds, want) in [
            (old, 3600, true),
            (old, 7200, false),
            (seen, 3600, false),
            (seen, 1799, true),
            (touched, 60, false),
            (touched, 0, true),
            (ahead, 0, false),
            ("{}", 0, false),
        ] {
            let life = Duration::from_secs(seconds);
            assert_eq!(is_old(&event(json), life, now), want, "{json} {seconds}");
        }
    }
}
