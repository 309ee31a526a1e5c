//! Events go some time after they were written last (`--event-ttl`), as nobody else would take them away.

use std::{collections::HashMap, sync::Arc, time::Duration};

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
        let mut known = None;
        loop {
            tokio::select! {
                () = server.stop.cancelled() => return,
                () = tokio::time::sleep(every) => sweep(&server, &mut known).await,
            }
        }
    });
}

/// Revisions of events, and when they were written as far as this server knows. None before the first look.
type Known = HashMap<Arc<str>, (u64, Timestamp)>;

async fn sweep(shared: &Shared, known: &mut Option<Known>) {
    let range = Range {
        prefix: EVENTS,
        ..Range::default()
    };
    let Ok(listing) = shared.store.list(range) else {
        return;
    };
    for stored in old(known, listing.items, shared.event_ttl, Timestamp::now()) {
        let gone = Write::Delete {
            key: stored.key.to_string(),
            expect: stored.revision,
        };
        // Another server may have been faster, or somebody who wrote it once more.
        if let Err(error) = shared.store.write(gone).await {
            tracing::debug!(key = %stored.key, %error, "old event stays");
        }
    }
}

/// The events that were written last more than `life` ago. What was there before the server was is as old as it says, as
/// nobody else can tell; of the rest the server has seen the writes itself, whatever times clients put into them.
fn old(
    known: &mut Option<Known>,
    events: Vec<Arc<Stored>>,
    life: Duration,
    now: Timestamp,
) -> Vec<Arc<Stored>> {
    let before = known.take();
    let mut after = Known::with_capacity(events.len());
    let mut out = Vec::new();
    for stored in events {
        let seen = match &before {
            None => written(&stored).map_or(now, |at| at.min(now)),
            Some(before) => match before.get(&stored.key) {
                Some((revision, at)) if *revision == stored.revision => *at,
                _ => now,
            },
        };
        after.insert(stored.key.clone(), (stored.revision, seen));
        let age = Duration::try_from(now.duration_since(seen));
        if age.is_ok_and(|age| age > life) {
            out.push(stored);
        }
    }
    *known = Some(after);
    out
}

/// When an event was written last, as far as it tells; times in events leave out parts of seconds.
fn written(stored: &Stored) -> Option<Timestamp> {
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
    let last = parsed.max()?;
    Some(
        last.checked_add(jiff::SignedDuration::from_secs(1))
            .unwrap_or(last),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64, json: &str) -> Arc<Stored> {
        Arc::new(Stored {
            key: "k".into(),
            revision,
            created: 1,
            json: json.to_owned().into(),
            hole: 0,
            head: Default::default(),
        })
    }

    fn at(clock: &str) -> Timestamp {
        format!("2026-01-01T{clock}Z").parse().unwrap()
    }

    const OLD: &str = r#"{"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"}}"#;

    #[test]
    fn before_the_server_was_there_the_last_write_counts() {
        let seen = r#"{"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"}, "lastTimestamp": "2026-01-01T11:30:00Z"}"#;
        let touched = r#"{"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z", "managedFields": [{"time": "2026-01-01T11:59:58Z"}]}}"#;
        let ahead = r#"{"metadata": {"creationTimestamp": "2026-01-01T13:00:00Z"}}"#;
        for (json, seconds, want) in [
            (OLD, 3600, true),
            (OLD, 7200, false),
            (seen, 3600, false),
            (seen, 1798, true),
            // It may have been written at the end of that second.
            (seen, 1799, false),
            (touched, 60, false),
            (touched, 0, true),
            (ahead, 0, false),
            ("{}", 0, false),
        ] {
            let life = Duration::from_secs(seconds);
            let got = old(&mut None, vec![event(1, json)], life, at("12:00:00"));
            assert_eq!(!got.is_empty(), want, "{json} {seconds}");
        }
    }

    #[test]
    fn then_it_counts_itself() {
        let far = r#"{"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"}, "lastTimestamp": "2999-01-01T00:00:00Z"}"#;
        let life = Duration::from_secs(3600);
        let mut known = None;
        // No client keeps his event by telling that it is of the future, nor loses it by one of the past.
        for (clock, revision, json, want) in [
            ("12:00:00", 1, far, false),
            ("13:00:00", 1, far, false),
            ("13:00:01", 1, far, true),
            ("13:00:02", 2, OLD, false),
            ("13:30:00", 3, OLD, false),
            ("14:30:00", 3, OLD, false),
            ("14:30:01", 3, OLD, true),
        ] {
            let got = old(&mut known, vec![event(revision, json)], life, at(clock));
            assert_eq!(!got.is_empty(), want, "{clock}");
        }
        old(&mut known, Vec::new(), life, at("15:00:00"));
        assert_eq!(known.map(|k| k.len()), Some(0), "what is gone is forgotten");
    }
}
