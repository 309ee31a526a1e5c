//! Discovery: which groups, versions and resources there are; plain, and aggregated into one document.

mod aggregated;
mod openapi;
mod order;
mod plain;
mod shared;

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, StatusCode, header};
use knarr_api::{Registry, Resource, custom::compare_versions};
use knarr_json::Value;
use sha2::{Digest, Sha256};

pub(crate) use order::Place;

use crate::{
    Outcome,
    accept::{self, Accept, Offer, Shape},
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
    pub in_flight: shared::InFlight,
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
        let response = respond::raw(200, content_type, self.json.clone());
        self.tagged(call, response)
    }

    /// An answer that shows the document in some form, or 304 when the client has it.
    pub fn tagged(&self, call: &Call, mut response: Response) -> Response {
        let tag = format!("\"{}\"", self.etag);
        if self.is_held(call) {
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
/// 404 for versions that are not served, 405 for writes, 406.
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
    let aggregator = &call.shared.aggregator;
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts[..] {
        // Always in JSON, on lines of its own.
        [] => {
            let text = serde_json::to_string_pretty(&plain::paths(&registry)).unwrap_or_default();
            Ok(respond::raw(200, respond::JSON, text))
        }
        [root @ ("api" | "apis")] => match aggregated_form(call) {
            Some(accept) => Ok(aggregate(call, &registry, root == "apis", &accept)),
            None if root == "api" => show(call, &plain::core_versions(call), ROUTED),
            None => show(call, &plain::groups(&registry, aggregator), None),
        },
        ["api", version] => match plain::resources(&registry, "", version) {
            Some(list) => show(call, &list, ROUTED),
            None => Err(respond::no_such_resource().into()),
        },
        ["apis", group] => match plain::group(&registry, aggregator, group) {
            Some(found) => show(call, &found, None),
            None => Ok(respond::page_not_found()),
        },
        ["apis", group, version] => {
            let built_in = registry
                .iter()
                .any(|r| r.group == group && r.custom.is_none());
            match plain::resources(&registry, group, version) {
                Some(list) => show(call, &list, ROUTED.filter(|_| built_in)),
                None if built_in => Err(respond::no_such_resource().into()),
                None => Ok(respond::page_not_found()),
            }
        }
        _ => Ok(respond::page_not_found()),
    }
}

/// Paths of built-in group versions say themselves what they give (see [`accept::negotiate`]).
const ROUTED: Option<accept::Route> = Some(accept::Route::Object);

fn show(call: &Call, value: &Value, route: Option<accept::Route>) -> Outcome<Response> {
    let mut form = accept::negotiate(call.accept_header(), &Offer::STATUS, route)?;
    form.pretty = call.pretty();
    Ok(respond::encoded(200, &form, value))
}

/// The form of the aggregated document, when the client prefers that one.
fn aggregated_form(call: &Call) -> Option<Accept> {
    let offer = Offer {
        shapes: &[Shape::Groups],
        ..Offer::STATUS
    };
    let mut form = accept::choose(call.accept_header(), &offer)?;
    form.pretty = call.pretty();
    (form.shape == Shape::Groups).then_some(form)
}

fn aggregate(call: &Call, registry: &Arc<Registry>, groups: bool, form: &Accept) -> Response {
    let document = aggregated_document(call, registry, groups);
    let mut response = respond::stored(200, form, &document.json);
    let headers = response.headers_mut();
    let media = headers.get(header::CONTENT_TYPE);
    let media = media.and_then(|m| m.to_str().ok()).unwrap_or_default();
    let content_type = aggregated::content_type(media);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    document.tagged(call, response)
}

/// Made once for a registry and what is known of other servers.
fn aggregated_document(call: &Call, registry: &Arc<Registry>, groups: bool) -> Document {
    let aggregator = &call.shared.aggregator;
    let generation = aggregator.generation();
    let mut cache = call.shared.documents.aggregated.lock();
    let kept = cache
        .as_ref()
        .filter(|(of, with, _)| Arc::ptr_eq(of, registry) && *with == generation);
    if let Some((_, _, documents)) = kept {
        return documents[usize::from(groups)].clone();
    }
    let documents = [
        aggregated::core(registry),
        aggregated::groups(registry, aggregator),
    ];
    let documents = documents.map(|d| Document::new(d.to_string()));
    let wanted = documents[usize::from(groups)].clone();
    *cache = Some((registry.clone(), generation, documents));
    wanted
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
    /// Changes when objects are stored at another version.
    pub storage_hash: Option<String>,
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
            storage_hash: storage_hash(resource),
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
                storage_hash: None,
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

/// None for what is not stored, and for custom resources whose stored version is not served.
fn storage_hash(resource: &Resource) -> Option<String> {
    if !resource.verbs.contains(&"watch") && !resource.verbs.contains(&"update") {
        return None;
    }
    let stored_at = resource.stored_at.as_ref();
    if stored_at.is_some_and(|version| !resource.versions.contains(version)) {
        return None;
    }
    let api_version = resource.storage_api_version();
    // The core group has no name, and a slash all the same.
    let core = if api_version.contains('/') { "" } else { "/" };
    let digest = Sha256::digest(format!("{core}{api_version}/{}", resource.kind));
    Some(STANDARD.encode(&digest[..8]))
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
        versions.sort_by(|a, b| compare_versions(a, b));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_of_the_version_that_is_stored() {
        let registry = knarr_api::builtin::registry();
        for (group, plural, want) in [
            ("", "pods", Some("xPOwRZ+Yhw8=")),
            ("", "events", Some("r2yiGXH7wu8=")),
            ("events.k8s.io", "events", Some("r2yiGXH7wu8=")),
            ("apps", "deployments", Some("8aSe+NMegvE=")),
            (
                "autoscaling",
                "horizontalpodautoscalers",
                Some("qwQve8ut294="),
            ),
            ("resource.k8s.io", "deviceclasses", Some("Yk2PTc1Ybxk=")),
            ("", "bindings", None),
            ("", "componentstatuses", None),
            ("authorization.k8s.io", "subjectaccessreviews", None),
        ] {
            let hash = storage_hash(registry.get(group, plural).unwrap());
            assert_eq!(hash.as_deref(), want, "{plural}");
        }
    }
}
