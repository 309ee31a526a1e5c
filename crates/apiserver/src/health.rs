//! `/version`, `/healthz`, `/livez`, `/readyz`, the token issuer's documents and `/metrics`.

use http::{HeaderValue, header};
use knarr_json::json;

use crate::{
    KUBERNETES_VERSION,
    body::Response,
    chain::Call,
    metrics,
    metrics::{Counter, Family},
    respond,
    server::Shared,
};

/// Checks of what runs before the first request can come, in the order in which they are told. Probes and dashboards ask for
/// them by these names.
const HOOKS: [&str; 24] = [
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/aggregator-reload-proxy-client-cert",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
];

/// What Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// The three paths, which differ in their checks.
const KINDS: [&str; 3] = ["healthz", "livez", "readyz"];

/// How often checks were asked, by their answer.
pub(crate) struct Health {
    pub asked: Family<Counter>,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            asked: Family::new(
                "kubernetes_healthchecks_total",
                "[STABLE] Answers of health checks.",
                &["name", "status", "type"],
            ),
        }
    }
}

/// The checks behind a path, in order.
fn checks(kind: &str) -> impl Iterator<Item = &'static str> {
    let ready = kind == "readyz";
    let first = ["ping", "log", "etcd"].into_iter();
    let more = ["etcd-readiness", "informer-sync"]
        .into_iter()
        .filter(move |_| ready);
    first
        .chain(more)
        .chain(HOOKS)
        .chain(ready.then_some("shutdown"))
}

/// # Errors
/// Why the check fails.
fn check(shared: &Shared, name: &str) -> Result<(), String> {
    match name {
        "shutdown" if shared.draining.is_cancelled() => Err("process is shutting down".into()),
        "etcd" | "etcd-readiness" if shared.stop.is_cancelled() => {
            Err("the store is closed".into())
        }
        "etcd" | "etcd-readiness" => shared.store.trouble().map_or(Ok(()), Err),
        _ => Ok(()),
    }
}

/// Kind, name and result of every check.
pub(crate) fn results(shared: &Shared) -> Vec<(&'static str, String, bool)> {
    let all = KINDS
        .into_iter()
        .flat_map(|kind| checks(kind).map(move |name| (kind, name)));
    all.map(|(kind, name)| (kind, name.to_owned(), check(shared, name).is_ok()))
        .collect()
}

/// The answer for one of these paths; none for any other.
pub(crate) fn answer(call: &Call) -> Option<Response> {
    let path = call.info.path.as_str();
    let tokens = call.shared.tokens.as_ref();
    match path {
        // Always in JSON, on lines of its own.
        "/version" | "/version/" => {
            let text = serde_json::to_string_pretty(&version()).unwrap_or_default();
            Some(respond::raw(200, respond::JSON, text))
        }
        "/openid/v1/jwks" => tokens.map(|t| typed("application/jwk-set+json", &t.key_set())),
        "/.well-known/openid-configuration" => tokens.map(|t| typed(respond::JSON, &t.discovery())),
        "/metrics" => Some(respond::raw(200, TEXT, metrics::render(&call.shared))),
        "/metrics/slis" => Some(respond::raw(200, TEXT, metrics::render_slis(&call.shared))),
        _ => health(call, path),
    }
}

fn typed(content_type: &'static str, value: &knarr_json::Value) -> Response {
    let mut response = respond::raw(200, content_type, value.to_string());
    // The documents stay the same while the keys do.
    let hour = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(header::CACHE_CONTROL, hour);
    response
}

pub(crate) fn version() -> knarr_json::Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": KUBERNETES_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", architecture()),
    })
}

/// The machine's architecture as Go names it, which is what clients compare with.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Every path that health is told at.
pub(crate) fn paths() -> Vec<String> {
    let mut out = Vec::new();
    for kind in KINDS {
        out.push(format!("/{kind}"));
        out.extend(checks(kind).map(|check| format!("/{kind}/{check}")));
    }
    out
}

fn health(call: &Call, path: &str) -> Option<Response> {
    let trimmed = path.trim_start_matches('/').trim_end_matches('/');
    let (kind, one) = trimmed.split_once('/').unwrap_or((trimmed, ""));
    let kind = KINDS.into_iter().find(|k| *k == kind)?;
    if !one.is_empty() {
        let name = checks(kind).find(|c| *c == one)?;
        return Some(match ask(&call.shared, kind, name) {
            Ok(()) => plain(200, "ok".into()),
            Err(why) => plain(500, format!("internal server error: {why}\n")),
        });
    }
    let (well, told) = all(&call.shared, kind, call.query.all("exclude").collect());
    Some(if !well {
        plain(500, format!("{told}{kind} check failed\n"))
    } else if call.query.get("verbose").is_some() {
        plain(200, format!("{told}{kind} check passed\n"))
    } else {
        plain(200, "ok".into())
    })
}

/// Whether all checks pass that are not excluded, and a line about each.
fn all(shared: &Shared, kind: &'static str, mut excluded: Vec<&str>) -> (bool, String) {
    let (mut well, mut told) = (true, String::new());
    excluded.sort_unstable();
    excluded.dedup();
    for name in checks(kind) {
        if let Some(at) = excluded.iter().position(|e| *e == name) {
            excluded.remove(at);
            told.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if ask(shared, kind, name).is_ok() {
            told.push_str(&format!("[+]{name} ok\n"));
        } else {
            // Why is for the log: anyone may read this.
            well = false;
            told.push_str(&format!("[-]{name} failed: reason withheld\n"));
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|e| format!("{e:?}")).collect();
        told.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            names.join(", ")
        ));
    }
    (well, told)
}

fn ask(shared: &Shared, kind: &'static str, name: &'static str) -> Result<(), String> {
    let result = check(shared, name);
    let status = if result.is_ok() { "success" } else { "error" };
    shared.health.asked.with(&[name, status, kind]).add(1);
    if let Err(why) = &result {
        tracing::info!(kind, name, why, "health check failed");
    }
    result
}

fn plain(code: u16, text: String) -> Response {
    let mut response = respond::text(code, text);
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
