//! `/version`, `/healthz`, `/livez`, `/readyz`, the token issuer's documents and `/metrics`.

use serde_json::json;

use crate::{KUBERNETES_VERSION, body::Response, chain::Call, respond};

/// The checks behind each health path, by name.
const CHECKS: [&str; 4] = ["ping", "log", "etcd", "poststarthook/rbac/bootstrap-roles"];

/// The answer for one of these paths; none for any other.
pub(crate) fn answer(call: &Call) -> Option<Response> {
    let path = call.info.path.as_str();
    let tokens = call.shared.tokens.as_ref();
    match path {
        "/version" | "/version/" => Some(respond::encoded(200, &call.error_form(), &version())),
        "/openid/v1/jwks" => tokens.map(|t| typed("application/jwk-set+json", &t.key_set())),
        "/.well-known/openid-configuration" => {
            tokens.map(|t| typed("application/json", &t.discovery()))
        }
        "/metrics" => Some(respond::raw(
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics(call),
        )),
        _ => health(call, path),
    }
}

fn typed(content_type: &'static str, value: &serde_json::Value) -> Response {
    respond::raw(200, content_type, value.to_string())
}

fn version() -> serde_json::Value {
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

fn health(call: &Call, path: &str) -> Option<Response> {
    let (kind, check) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((path.trim_start_matches('/'), ""));
    if !matches!(kind, "healthz" | "livez" | "readyz") {
        return None;
    }
    // Everything behind these checks was up before the first request could come.
    if !check.is_empty() {
        return CHECKS.contains(&check).then(|| respond::text(200, "ok"));
    }
    let excluded: Vec<&str> = call.query.all("exclude").collect();
    if call.query.get("verbose").is_none() {
        return Some(respond::text(200, "ok"));
    }
    let mut out = String::new();
    for check in CHECKS {
        let word = if excluded.contains(&check) {
            "excluded: ok"
        } else {
            "ok"
        };
        out.push_str(&format!("[+]{check} {word}\n"));
    }
    out.push_str(&format!("{kind} check passed\n"));
    Some(respond::text(200, out))
}

fn metrics(call: &Call) -> String {
    let revision = call.shared.store.revision();
    format!(
        "# HELP knarr_store_revision Revision of the newest write.\n# TYPE knarr_store_revision counter\nknarr_store_revision {revision}\n"
    )
}
