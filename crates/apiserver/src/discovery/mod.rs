//! Discovery: which groups, versions and resources there are; plain, and aggregated into one document.

mod aggregated;
mod openapi;
mod plain;

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use knarr_api::{Registry, Resource};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    Outcome, aggregation,
    body::{self, Response},
    chain::Call,
    respond, reviews,
};

/// The documents of core and of all groups, with the registry and the remotes that they were made from.
type Aggregated = (Arc<Registry>, u64, [Document; 2]);

/// Documents that are made once for a registry and then handed out.
#[derive(Default)]
pub(crate) struct Documents {
    aggregated: parking_lot::Mutex<Option<Aggregated>>,
    pub hashes: openapi::Hashes,
}

/// A document with the tag that tells whether it changed.
#[derive(Clone)]
pub(crate) struct Document {
    pub json: bytes::Bytes,
    pub etag: String,
}

impl Document {
    pub fn new(json: impl Into<bytes::Bytes>) -> Self {
        let json = json.into();
        let digest = Sha256::digest(&json);
        let etag = digest
            .iter()
            .map(|b| format!("{b:02X}"))
            .collect::<String>();
        Document { json, etag }
    }

    /// Whether the client has the document already.
    pub fn is_held(&self, call: &Call) -> bool {
        let tag = format!("\"{}\"", self.etag);
        call.header(header::IF_NONE_MATCH)
            .is_some_and(|held| held.split(',').any(|h| h.trim() == tag))
    }

    /// The document, or 304 when the client has it.
    pub fn answer(&self, call: &Call, content_type: &'static str) -> Response {
        let tag = format!("\"{}\"", self.etag);
        let has = self.is_held(call);
        let mut response = respond::raw(200, content_type, self.json.clone());
        if has {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = body::empty();
        }
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, value);
        }
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        response
    }
}

/// # Errors
/// 404 for versions that are not served, 405 for writes.
pub(crate) async fn answer(call: &Call) -> Outcome<Response> {
    let path = call.info.path.trim_end_matches('/');
    if let Some(response) = openapi::answer(call, path).await {
        return Ok(response);
    }
    let known = path.is_empty()
        || path == "/api"
        || path.starts_with("/api/")
        || path == "/apis"
        || path.starts_with("/apis/");
    if !known {
        return Ok(respond::page_not_found());
    }
    if !matches!(call.method, Method::GET | Method::HEAD) {
        return Err(respond::not_allowed().into());
    }
    document(call, path)
}

fn document(call: &Call, path: &str) -> Outcome<Response> {
    let registry = call.shared.registry.load_full();
    let show = |value: &Value| Ok(respond::encoded(200, &call.error_form(), value));
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts[..] {
        // Always in JSON, on lines of its own.
        [] => {
            let text = serde_json::to_string_pretty(&plain::paths(&registry)).unwrap_or_default();
            Ok(respond::raw(200, respond::JSON, text))
        }
        ["api"] | ["apis"] if aggregated::wanted(call) => Ok(aggregate(call, &registry, parts[0])),
        ["api"] => show(&plain::core_versions(call)),
        ["apis"] => {
            let mut groups = plain::groups(&registry);
            aggregation::merge_groups(&call.shared, &mut groups);
            show(&groups)
        }
        ["api", version] => match plain::resources(&registry, "", version) {
            Some(list) => show(&list),
            None => Err(respond::no_such_resource().into()),
        },
        ["apis", group] => {
            match aggregation::merge_group(&call.shared, group, plain::group(&registry, group)) {
                Some(found) => show(&found),
                None => Ok(respond::page_not_found()),
            }
        }
        ["apis", group, version] => match plain::resources(&registry, group, version) {
            Some(list) => show(&list),
            None if registry
                .iter()
                .any(|r| r.group == group && r.custom.is_none()) =>
            {
                Err(respond::no_such_resource().into())
            }
            None => Ok(respond::page_not_found()),
        },
        _ => Ok(respond::page_not_found()),
    }
}

fn aggregate(call: &Call, registry: &Arc<Registry>, root: &str) -> Response {
    let generation = call.shared.aggregator.generation();
    let mut cache = call.shared.documents.aggregated.lock();
    let stale = cache
        .as_ref()
        .is_none_or(|(of, with, _)| !Arc::ptr_eq(of, registry) || *with != generation);
    if stale {
        let core = aggregated::document(registry, true);
        let mut groups = aggregated::document(registry, false);
        aggregation::insert(&call.shared, &mut groups);
        let documents = [core, groups].map(|d| Document::new(d.to_string()));
        *cache = Some((registry.clone(), generation, documents));
    }
    let found = cache
        .as_ref()
        .map(|(_, _, documents)| documents[usize::from(root == "apis")].clone());
    drop(cache);
    match found {
        Some(document) => document.answer(call, aggregated::CONTENT_TYPE),
        None => respond::page_not_found(),
    }
}

/// A resource or subresource as discovery shows it.
pub(crate) struct Entry {
    pub group: String,
    pub versions: Vec<String>,
    pub name: String,
    pub singular: String,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    /// Group and version of the kind, when they are not the resource's.
    pub kind_of: Option<(String, String)>,
}

/// Everything discovery shows: registered resources, their subresources, and the reviews, by name within their group.
pub(crate) fn entries(registry: &Registry) -> Vec<Entry> {
    let mut out = Vec::new();
    let old = registry.old_versions();
    let old: Vec<Resource> = old.filter_map(|o| registry.old_resource(o)).collect();
    for resource in registry.iter().map(|r| &**r).chain(&old) {
        out.push(Entry {
            group: resource.group.clone(),
            versions: resource.versions.clone(),
            name: resource.plural.clone(),
            singular: resource.singular.clone(),
            kind: resource.kind.clone(),
            namespaced: resource.namespaced,
            verbs: verbs_of(resource),
            short_names: resource.short_names.clone(),
            categories: resource.categories.clone(),
            kind_of: None,
        });
        for sub in &resource.subresources {
            out.push(Entry {
                group: resource.group.clone(),
                versions: if sub.versions.is_empty() {
                    resource.versions.clone()
                } else {
                    sub.versions.clone()
                },
                name: format!("{}/{}", resource.plural, sub.name),
                singular: String::new(),
                kind: sub.kind.clone(),
                namespaced: resource.namespaced,
                verbs: sorted(&sub.verbs),
                short_names: Vec::new(),
                categories: Vec::new(),
                kind_of: sub.group_version.map(|(g, v)| (g.to_owned(), v.to_owned())),
            });
        }
    }
    let missing = reviews::entries()
        .into_iter()
        .filter(|e| registry.get(&e.group, &e.name).is_none());
    let missing: Vec<Entry> = missing.collect();
    out.extend(missing);
    // Subresources of custom resources are listed as they come: status before scale.
    let custom = |e: &Entry| {
        let plural = e.name.split('/').next().unwrap_or_default();
        registry
            .get(&e.group, plural)
            .is_some_and(|r| r.custom.is_some())
    };
    out.sort_by_cached_key(|e| match e.name.split_once('/') {
        Some((plural, _)) if custom(e) => format!("{plural}/"),
        _ => e.name.clone(),
    });
    out
}

/// Verbs in the order in which they are listed: that of custom resources is their own.
fn verbs_of(resource: &Resource) -> Vec<String> {
    if resource.custom.is_some() {
        return resource.verbs.iter().map(|v| (*v).to_owned()).collect();
    }
    sorted(&resource.verbs)
}

fn sorted(verbs: &[&'static str]) -> Vec<String> {
    let mut out: Vec<String> = verbs.iter().map(|v| (*v).to_owned()).collect();
    out.sort();
    out
}

/// Groups with their versions, in the order they are registered; the core group is not among them.
pub(crate) fn group_versions(registry: &Registry) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    let reviewed = reviews::entries();
    let registered = registry
        .iter()
        .map(|r| (r.group.clone(), r.versions.clone()));
    let old = registry
        .old_versions()
        .map(|o| (o.group.to_owned(), vec![o.version.to_owned()]));
    let reviewed = reviewed.into_iter().map(|e| (e.group, e.versions));
    let all = registered.chain(reviewed).chain(old);
    for (group, versions) in all.filter(|(g, _)| !g.is_empty()) {
        let at = out
            .iter()
            .position(|(g, _)| *g == group)
            .unwrap_or_else(|| {
                out.push((group.clone(), Vec::new()));
                out.len() - 1
            });
        for version in versions {
            if !out[at].1.contains(&version) {
                out[at].1.push(version);
            }
        }
    }
    for (_, versions) in &mut out {
        versions.sort_by_key(|v| rank(v));
    }
    out
}

/// Stable versions first, newer before older.
fn rank(version: &str) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>) {
    let text = version.trim_start_matches('v');
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let rest = &text[digits.len()..];
    let number = |s: &str| std::cmp::Reverse(s.parse().unwrap_or(0));
    match rest {
        "" => (0, number(&digits), number("0")),
        _ if rest.starts_with("beta") => (1, number(&digits), number(&rest[4..])),
        _ if rest.starts_with("alpha") => (2, number(&digits), number(&rest[5..])),
        _ => (3, number("0"), number("0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut versions = ["v1alpha1", "v2beta1", "v1", "v2", "v1beta2", "v1beta1"];
        versions.sort_by_key(|v| rank(v));
        assert_eq!(
            versions,
            ["v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha1"]
        );
    }
}
