//! What the server counts, for `/metrics`: names and labels as the original's stable ones.

mod family;
mod process;
mod record;

use std::collections::BTreeMap;

use knarr_store::Range;

pub use family::{Counter, Family, Gauge, Histogram, Seconds, Sizes};
pub use process::STARTED;
pub use record::Observed;

use crate::{KUBERNETES_VERSION, health, reload::Reloads, server::Shared};
use family::{head, labels, single};

/// Everything that is counted while requests are served.
pub(crate) struct Metrics {
    pub requests: Family<Counter>,
    pub durations: Family<Histogram<Seconds>>,
    pub sizes: Family<Histogram<Sizes>>,
    pub long_running: Family<Gauge>,
    pub inflight: Family<Gauge>,
    pub terminations: Family<Counter>,
    pub reloads: Reloads,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            requests: Family::new(
                "apiserver_request_total",
                "[STABLE] Requests answered, by what they asked for and the code of the answer.",
                &[
                    "code",
                    "component",
                    "dry_run",
                    "group",
                    "resource",
                    "scope",
                    "subresource",
                    "verb",
                    "version",
                ],
            ),
            durations: Family::new(
                "apiserver_request_duration_seconds",
                "[STABLE] Seconds until requests were answered, by what they asked for.",
                &[
                    "component",
                    "dry_run",
                    "group",
                    "resource",
                    "scope",
                    "subresource",
                    "verb",
                    "version",
                ],
            ),
            sizes: Family::new(
                "apiserver_response_sizes",
                "[STABLE] Bytes of answers, by what was asked for.",
                &[
                    "component",
                    "group",
                    "resource",
                    "scope",
                    "subresource",
                    "verb",
                    "version",
                ],
            ),
            long_running: Family::new(
                "apiserver_longrunning_requests",
                "[STABLE] Watches, logs and streams that are being served.",
                &[
                    "component",
                    "group",
                    "resource",
                    "scope",
                    "subresource",
                    "verb",
                    "version",
                ],
            ),
            inflight: Family::new(
                "apiserver_current_inflight_requests",
                "[STABLE] Requests being worked on, apart from long-running ones.",
                &["request_kind"],
            ),
            terminations: Family::new(
                "apiserver_request_terminations_total",
                "[ALPHA] Requests that were ended before they were answered.",
                &[
                    "code",
                    "component",
                    "group",
                    "resource",
                    "scope",
                    "subresource",
                    "verb",
                    "version",
                ],
            ),
            reloads: Reloads::default(),
        }
    }
}

/// `/metrics`.
pub(crate) fn render(shared: &Shared) -> String {
    let mut out = String::with_capacity(64 * 1024);
    let metrics = &shared.metrics;
    metrics.inflight.write(&mut out);
    metrics.long_running.write(&mut out);
    metrics.durations.write(&mut out);
    metrics.terminations.write(&mut out);
    metrics.requests.write(&mut out);
    metrics.sizes.write(&mut out);
    metrics.reloads.write(&mut out);
    objects(shared, &mut out);
    build_info(&mut out);
    single(
        &mut out,
        "knarr_store_revision",
        "Revision of the newest write.",
        "counter",
        shared.store.revision(),
    );
    process::write(&mut out);
    out
}

/// `/metrics/slis`: what the health checks say now and how often they were asked.
pub(crate) fn render_slis(shared: &Shared) -> String {
    let mut out = String::new();
    let checks = health::results(shared);
    head(
        &mut out,
        "kubernetes_healthcheck",
        "[STABLE] What a health check said last: 1 is well.",
        "gauge",
    );
    for (kind, check, well) in &checks {
        let labels = labels([("name", check.as_str()), ("type", kind)]);
        out.push_str(&format!(
            "kubernetes_healthcheck{{{labels}}} {}\n",
            u8::from(*well)
        ));
    }
    shared.health.asked.write(&mut out);
    out
}

/// How many objects there are of each resource.
fn objects(shared: &Shared, out: &mut String) {
    let counted: BTreeMap<String, (String, String, usize)> = shared
        .registry
        .load()
        .iter()
        .filter(|r| r.verbs.contains(&"list"))
        .filter_map(|r| {
            let prefix = r.prefix();
            let range = Range {
                prefix: &prefix,
                limit: 1,
                ..Range::default()
            };
            let listing = shared.store.list(range).ok()?;
            let name = if r.group.is_empty() {
                r.plural.clone()
            } else {
                format!("{}.{}", r.plural, r.group)
            };
            let count = listing.items.len() + listing.remaining;
            Some((name, (r.group.clone(), r.plural.clone(), count)))
        })
        .collect();
    let old = "apiserver_storage_objects";
    head(out, old, "[STABLE] Objects stored, by resource.", "gauge");
    for (name, (_, _, count)) in &counted {
        out.push_str(&format!(
            "{old}{{{}}} {count}\n",
            labels([("resource", name.as_str())])
        ));
    }
    let new = "apiserver_resource_objects";
    head(
        out,
        new,
        "[ALPHA] Objects stored, by group and resource.",
        "gauge",
    );
    for (group, resource, count) in counted.values() {
        let labels = labels([("group", group.as_str()), ("resource", resource.as_str())]);
        out.push_str(&format!("{new}{{{labels}}} {count}\n"));
    }
}

fn build_info(out: &mut String) {
    let name = "kubernetes_build_info";
    head(
        out,
        name,
        "[ALPHA] What this server was built from; always 1.",
        "gauge",
    );
    let version = health::version();
    let text = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
    let pairs = [
        ("build_date", text("buildDate")),
        ("compiler", text("compiler")),
        ("git_commit", text("gitCommit")),
        ("git_tree_state", text("gitTreeState")),
        ("git_version", KUBERNETES_VERSION.to_owned()),
        ("go_version", text("goVersion")),
        ("major", text("major")),
        ("minor", text("minor")),
        ("platform", text("platform")),
    ];
    let labels = labels(pairs.iter().map(|(k, v)| (*k, v.as_str())));
    out.push_str(&format!("{name}{{{labels}}} 1\n"));
}
