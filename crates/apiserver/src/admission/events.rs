//! EventRateLimit: so many events in a time, over all, by namespace, by user, by what they are about.

use std::{collections::HashMap, time::Instant};

use knarr_api::Status;
use knarr_json::Value;
use parking_lot::Mutex;

use super::Attributes;
use crate::Outcome;

/// Whose events are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

/// How many keys of a kind are remembered unless the settings say otherwise.
const REMEMBERED: usize = 4096;

struct Limit {
    kind: Kind,
    per_second: f64,
    burst: f64,
    remembered: usize,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// Tokens that are left, and when that was.
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// All limits; an event must pass each.
pub struct Limits(Vec<Limit>);

impl Limits {
    /// From the plugin's `Configuration`.
    ///
    /// # Errors
    /// For a limit that is none.
    pub fn of(configuration: &Value) -> Result<Self, String> {
        let limits = configuration["limits"].as_array();
        let limits: Result<Vec<Limit>, String> =
            limits.into_iter().flatten().map(Limit::of).collect();
        let limits = limits?;
        if limits.is_empty() {
            return Err("limits: Invalid value: []: must not be empty".to_owned());
        }
        Ok(Limits(limits))
    }
}

impl Limit {
    fn of(limit: &Value) -> Result<Self, String> {
        let kind = match limit["type"].as_str() {
            Some("Server") => Kind::Server,
            Some("Namespace") => Kind::Namespace,
            Some("User") => Kind::User,
            Some("SourceAndObject") => Kind::SourceAndObject,
            other => return Err(format!("limits.type: Unsupported value: {other:?}")),
        };
        let positive = |key: &str| {
            let found = limit[key].as_f64().filter(|n| *n > 0.0);
            found.ok_or_else(|| format!("limits.{key}: must be positive"))
        };
        let remembered = limit["cacheSize"].as_u64().filter(|n| *n > 0);
        Ok(Limit {
            kind,
            per_second: positive("qps")?,
            burst: positive("burst")?,
            remembered: remembered.map_or(REMEMBERED, |n| usize::try_from(n).unwrap_or(REMEMBERED)),
            buckets: Mutex::default(),
        })
    }

    fn takes(&self, key: &str, now: Instant) -> bool {
        let mut buckets = self.buckets.lock();
        if !buckets.contains_key(key) && buckets.len() >= self.remembered {
            // Who has not been heard of for longest has a full bucket again.
            let oldest = buckets
                .iter()
                .min_by_key(|(_, b)| b.at)
                .map(|(k, _)| k.clone());
            oldest.map(|key| buckets.remove(&key));
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket {
            tokens: self.burst,
            at: now,
        });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(self.burst);
        bucket.at = now;
        let takes = bucket.tokens >= 1.0;
        if takes {
            bucket.tokens -= 1.0;
        }
        takes
    }
}

fn key(kind: Kind, user: &str, namespace: &str, event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match kind {
        Kind::Server => String::new(),
        Kind::Namespace => namespace.to_owned(),
        Kind::User => user.to_owned(),
        Kind::SourceAndObject => {
            let (source, object) = (&event["source"], &event["involvedObject"]);
            let keys = ["kind", "namespace", "name", "uid", "apiVersion"];
            let parts = [text(&source["component"]), text(&source["host"])];
            let parts = parts.into_iter().chain(keys.map(|key| text(&object[key])));
            parts.collect()
        }
    }
}

/// # Errors
/// 429 for an event too many.
pub fn validate(a: &Attributes<'_>, event: &Value) -> Outcome<()> {
    let limits = &a.call.shared.admission.settings.events;
    let is_event = a.resource() == "events" && matches!(a.group(), "" | "events.k8s.io");
    let Some(limits) = limits.as_ref().filter(|_| is_event && !a.dry_run) else {
        return Ok(());
    };
    let now = Instant::now();
    let mut refusals = Vec::new();
    for limit in &limits.0 {
        let key = key(limit.kind, &a.call.user.name, a.namespace(), event);
        if !limit.takes(&key, now) {
            refusals.push(format!(
                "limit reached on type {:?} for key {key}",
                limit.kind
            ));
        }
    }
    let message = match &refusals[..] {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Err(Status::failure(429, "TooManyRequests", message).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;
    use std::time::Duration;

    #[test]
    fn buckets_run_dry_and_fill() {
        let limits = Limits::of(
            &json!({"limits": [{"type": "Namespace", "qps": 2, "burst": 3, "cacheSize": 2}]}),
        )
        .unwrap();
        let limit = &limits.0[0];
        let start = Instant::now();
        let after = |ms: u64| start + Duration::from_millis(ms);
        let taken: Vec<bool> = (0..4).map(|_| limit.takes("a", start)).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert!(limit.takes("b", start) && !limit.takes("a", after(100)));
        assert!(limit.takes("a", after(700)));
        assert!(limit.takes("c", after(800)) && limit.buckets.lock().len() == 2);
        for bad in [
            json!({}),
            json!({"limits": [{"type": "X"}]}),
            json!({"limits": [{"type": "User", "qps": 1}]}),
        ] {
            assert!(Limits::of(&bad).is_err(), "{bad}");
        }
    }
}
