//! `/openapi/v2` and `/openapi/v3`.
//!
//! Documents are large and rarely asked for: they are made when they are, and only their hashes are kept.

use std::sync::Arc;

use http::{HeaderValue, header};
use knarr_api::{Registry, openapi};
use parking_lot::Mutex;

use super::Document;
use crate::{body::Response, chain::Call, respond};

/// Hashes of the documents of a registry, by their path.
type Hashes = Vec<(String, String)>;

#[derive(Default)]
pub(crate) struct OpenApi {
    hashes: Mutex<Option<(Arc<Registry>, Arc<Hashes>)>>,
}

impl OpenApi {
    fn hashes(&self, call: &Call, registry: &Arc<Registry>) -> Arc<Hashes> {
        let mut kept = self.hashes.lock();
        let known = kept.as_ref().filter(|(of, _)| Arc::ptr_eq(of, registry));
        if let Some((_, hashes)) = known {
            return hashes.clone();
        }
        let mut hashes = Hashes::new();
        for (group, version) in openapi::group_versions(registry) {
            if let Some(document) = v3(call, registry, &group, &version) {
                hashes.push((openapi::path(&group, &version), document.etag));
            }
        }
        let hashes = Arc::new(hashes);
        *kept = Some((registry.clone(), hashes.clone()));
        hashes
    }
}

fn v3(call: &Call, registry: &Registry, group: &str, version: &str) -> Option<Document> {
    let document = openapi::v3(registry, &call.shared.schemas, group, version)?;
    Some(Document::new(document.to_string()))
}

/// None for paths outside `/openapi`.
pub fn answer(call: &Call, path: &str) -> Option<Response> {
    let rest = path.strip_prefix("/openapi/")?;
    let registry = call.shared.registry.load_full();
    match rest {
        "v2" => Some(whole(call, &registry)),
        "v3" => {
            let hashes = call.shared.documents.openapi.hashes(call, &registry);
            let pairs = hashes
                .iter()
                .map(|(path, hash)| (path.as_str(), hash.as_str()));
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
    let document = openapi::v2(registry, &call.shared.schemas).to_string();
    Document::new(document).answer(call, "application/json")
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`.
fn part(call: &Call, registry: &Registry, path: &str) -> Option<Response> {
    let parts: Vec<&str> = path.split('/').collect();
    let (group, version) = match parts[..] {
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return None,
    };
    let document = v3(call, registry, group, version)?;
    let current = call.query.get("hash") == Some(document.etag.as_str());
    let mut response = document.answer(call, "application/json");
    if current {
        // A path with its hash says the same for ever.
        let value = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    Some(response)
}
