//! `/openapi/v2` and `/openapi/v3`.
//!
//! Documents are large and rarely asked for: they are made when a client has not got them yet, and not kept. Their tags
//! follow from the registry and the schemas.

use bytes::Bytes;
use http::{HeaderValue, header};
use knarr_api::{Registry, openapi};
use serde_json::Value;

use super::Document;
use crate::{body::Response, chain::Call, respond};

/// None for paths outside `/openapi`.
pub fn answer(call: &Call, path: &str) -> Option<Response> {
    let rest = path.strip_prefix("/openapi/")?;
    let registry = call.shared.registry.load_full();
    match rest {
        "v2" => Some(whole(call, &registry)),
        "v3" => {
            let schemas = &call.shared.schemas.load();
            let documents: Vec<(String, String)> = openapi::group_versions(&registry)
                .iter()
                .map(|(g, v)| (openapi::path(g, v), openapi::tag(&registry, schemas, g, v)))
                .collect();
            let pairs = documents
                .iter()
                .map(|(path, tag)| (path.as_str(), tag.as_str()));
            let index = openapi::index(pairs).to_string();
            Some(respond::raw(200, "application/json", index))
        }
        _ => part(call, &registry, rest.strip_prefix("v3/")?),
    }
}

/// `/openapi/v2`. Clients that only read its binary form are told that there is none.
fn whole(call: &Call, registry: &Registry) -> Response {
    let accept = call.accept_header().unwrap_or_default();
    let reads_json = accept.is_empty()
        || accept
            .split([',', ';'])
            .any(|a| matches!(a.trim(), "application/json" | "*/*" | "application/*"));
    if !reads_json {
        return respond::text(
            406,
            "406: Not Acceptable\n\nAvailable representations: application/json\n",
        );
    }
    let schemas = &call.shared.schemas.load();
    let etag = openapi::tag_v2(registry, schemas);
    tagged(call, etag, || openapi::v2(registry, schemas))
}

/// The document, made only when the client has not got it.
fn tagged(call: &Call, etag: String, make: impl FnOnce() -> Value) -> Response {
    let mut document = Document {
        json: Bytes::new(),
        etag,
    };
    if !document.is_held(call) {
        document.json = make().to_string().into();
    }
    document.answer(call, "application/json")
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`.
fn part(call: &Call, registry: &Registry, path: &str) -> Option<Response> {
    let parts: Vec<&str> = path.split('/').collect();
    let (group, version) = match parts[..] {
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return None,
    };
    let schemas = &call.shared.schemas.load();
    if !openapi::group_versions(registry)
        .iter()
        .any(|(g, v)| g == group && v == version)
    {
        return None;
    }
    let etag = openapi::tag(registry, schemas, group, version);
    let current = call.query.get("hash") == Some(etag.as_str());
    let make = || openapi::v3(registry, schemas, group, version).unwrap_or_default();
    let mut response = tagged(call, etag, make);
    if current {
        // A path with its hash says the same for ever.
        let value = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    Some(response)
}
