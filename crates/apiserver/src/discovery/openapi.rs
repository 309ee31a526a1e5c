//! `/openapi/v2` and `/openapi/v3`.
//!
//! Documents are large and rarely asked for: they are made when a client has not got them yet, and not kept. What is kept is
//! the hash of each, by what it was made from.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderValue, header};
use jiff::Timestamp;
use knarr_api::{Registry, Schemas, encode, openapi};
use knarr_json::Value;
use parking_lot::Mutex;
use sha2::{Digest, Sha512};

use super::Document;
use crate::{accept, aggregation, body::Response, chain::Call, respond, server::Shared};

/// Binary forms, under the names that they are given and asked for by.
const BINARY_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];
const BINARY_V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
];
/// Hashes that are kept at most; all are let go beyond it.
const MOST: usize = 2000;
/// A path with its hash says the same for ever, which is a year.
const EVER: Duration = Duration::from_secs(365 * 86_400);

/// Hashes of documents, by the tag of what they were made from.
#[derive(Default)]
pub(crate) struct Hashes(Mutex<HashMap<String, String>>);

impl Hashes {
    fn get(&self, tag: &str) -> Option<String> {
        self.0.lock().get(tag).cloned()
    }

    fn put(&self, tag: String, hash: String) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(tag, hash);
    }
}

fn hash(document: &[u8]) -> String {
    let digest = Sha512::digest(document);
    digest.iter().map(|b| format!("{b:02X}")).collect()
}

/// What documents are made from at one moment.
#[derive(Clone)]
struct Source {
    registry: Arc<Registry>,
    schemas: Arc<Schemas>,
}

impl Source {
    fn new(call: &Call) -> Self {
        Source {
            registry: call.shared.registry.load_full(),
            schemas: call.shared.schemas.load_full(),
        }
    }

    fn tag(&self, group: &str, version: &str) -> String {
        openapi::tag(&self.registry, &self.schemas, group, version)
    }

    fn part(&self, group: &str, version: &str) -> Vec<u8> {
        let document = openapi::v3(&self.registry, &self.schemas, group, version);
        document.unwrap_or_default().to_string().into_bytes()
    }
}

/// None for paths outside `/openapi`.
pub async fn answer(call: &Call, path: &str) -> Option<Response> {
    let rest = path.strip_prefix("/openapi/")?;
    match rest {
        "v2" => Some(whole(call).await),
        "v3" => Some(index(call).await),
        _ => part(call, rest.strip_prefix("v3/")?).await,
    }
}

/// Does work that takes long away from the threads that serve others.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// `/openapi/v3`: where the documents are, each with its hash.
async fn index(call: &Call) -> Response {
    let (source, shared) = (Source::new(call), call.shared.clone());
    let made = aside(move || {
        let mut documents: Vec<(String, String)> = openapi::group_versions(&source.registry)
            .iter()
            .map(|(g, v)| (openapi::path(g, v), hash_of(&shared, &source, g, v)))
            .collect();
        let roots = openapi::documents(&source.registry, &source.schemas);
        let roots = roots
            .into_iter()
            .map(|(path, d)| (path, hash(d.to_string().as_bytes())));
        documents.extend(roots);
        let pairs = documents.iter().map(|(p, h)| (p.as_str(), h.as_str()));
        let mut index = openapi::index(pairs);
        aggregation::openapi_index(&shared, &mut index);
        index.to_string()
    });
    match made.await {
        Some(index) => respond::raw(200, respond::JSON, index),
        None => respond::text(500, "the index could not be made\n"),
    }
}

fn hash_of(shared: &Shared, source: &Source, group: &str, version: &str) -> String {
    let tag = source.tag(group, version);
    let hashes = &shared.documents.hashes;
    hashes.get(&tag).unwrap_or_else(|| {
        let made = hash(&source.part(group, version));
        hashes.put(tag, made.clone());
        made
    })
}

/// A document of what is above groups and versions: `/openapi/v3/apis/GROUP`, `/openapi/v3/version`.
fn root(call: &Call, path: &str) -> Option<Document> {
    let source = Source::new(call);
    let document = openapi::documents(&source.registry, &source.schemas).remove(path)?;
    let json = document.to_string();
    Some(Document {
        etag: hash(json.as_bytes()),
        json: json.into(),
    })
}

/// The document of a group version: without its content when the client has it already.
async fn of_version(call: &Call, group: &str, version: &str) -> Option<Document> {
    let source = Source::new(call);
    let served = openapi::group_versions(&source.registry);
    if !served.iter().any(|(g, v)| g == group && v == version) {
        return None;
    }
    let tag = source.tag(group, version);
    let hashes = &call.shared.documents.hashes;
    let mut document = Document {
        json: Bytes::new(),
        etag: hashes.get(&tag).unwrap_or_default(),
    };
    if document.etag.is_empty() || !document.is_held(call) {
        let (group, version) = (group.to_owned(), version.to_owned());
        let make = async {
            aside(move || source.part(&group, &version))
                .await
                .unwrap_or_default()
        };
        document.json = call.shared.documents.in_flight.get(&tag, make).await;
        document.etag = hash(&document.json);
        hashes.put(tag, document.etag.clone());
    }
    Some(document)
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`, in JSON or in its binary form; both have the same hash.
async fn part(call: &Call, path: &str) -> Option<Response> {
    if let Some(remote) = aggregation::openapi_of(call, path) {
        return Some(aggregation::answer(call, &remote, crate::body::empty()).await);
    }
    let document = match root(call, path) {
        Some(document) => document,
        None => {
            let parts: Vec<&str> = path.split('/').collect();
            match parts[..] {
                ["api", version] => of_version(call, "", version).await?,
                ["apis", group, version] => of_version(call, group, version).await?,
                _ => return None,
            }
        }
    };
    let Some(binary) = form(call, BINARY_V3) else {
        return Some(refused());
    };
    let asked = call.query.get("hash");
    if asked.is_some_and(|hash| hash != document.etag) {
        return moved(path, &document.etag);
    }
    let mut response = if binary {
        let json = document.json.clone();
        let make = aside(move || {
            let value = serde_json::from_slice(&json).unwrap_or_default();
            encode::openapi::v3(&value)
        });
        let (tag, make) = (
            format!("{}/binary", document.etag),
            make.map(Option::unwrap_or_default),
        );
        let bytes = call.shared.documents.in_flight.get(&tag, make).await;
        let response = respond::raw(200, BINARY_V3[0], bytes);
        document.tagged(call, response)
    } else {
        document.answer(call, respond::JSON)
    };
    if asked.is_some() {
        for_ever(&mut response);
    } else {
        response.headers_mut().remove(header::CACHE_CONTROL);
    }
    Some(response)
}

/// The document has another hash by now.
fn moved(path: &str, hash: &str) -> Option<Response> {
    let mut response = respond::raw(301, respond::JSON, "");
    let to = HeaderValue::from_str(&format!("/openapi/v3/{path}?hash={hash}")).ok()?;
    response.headers_mut().insert(header::LOCATION, to);
    Some(response)
}

fn for_ever(response: &mut Response) {
    let headers = response.headers_mut();
    let immutable = HeaderValue::from_static("public, immutable");
    headers.insert(header::CACHE_CONTROL, immutable);
    let until = Timestamp::now() + EVER;
    let until = until.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(until) = HeaderValue::from_str(&until) {
        headers.insert(header::EXPIRES, until);
    }
}

/// `/openapi/v2`, in JSON or in its binary form.
async fn whole(call: &Call) -> Response {
    let Some(binary) = form(call, BINARY_V2) else {
        return refused();
    };
    let source = Source::new(call);
    let tag = format!(
        "{}/{}/{binary}",
        openapi::tag_v2(&source.registry, &source.schemas),
        call.shared.aggregator.generation()
    );
    let content_type = if binary { BINARY_V2[0] } else { respond::JSON };
    let mut document = Document {
        json: Bytes::new(),
        etag: call.shared.documents.hashes.get(&tag).unwrap_or_default(),
    };
    if document.etag.is_empty() || !document.is_held(call) {
        let make = make_whole(&call.shared, source, binary);
        document.json = call.shared.documents.in_flight.get(&tag, make).await;
        document.etag = hash(&document.json);
        let hashes = &call.shared.documents.hashes;
        hashes.put(tag, document.etag.clone());
    }
    let mut response = document.answer(call, content_type);
    response.headers_mut().remove(header::CACHE_CONTROL);
    response
}

async fn make_whole(shared: &Shared, source: Source, binary: bool) -> Vec<u8> {
    let made = aside(move || openapi::v2(&source.registry, &source.schemas)).await;
    let mut value = made.unwrap_or(Value::Null);
    aggregation::openapi_v2(shared, &mut value).await;
    let bytes = aside(move || match binary {
        true => encode::openapi::v2(&value),
        false => value.to_string().into_bytes(),
    });
    bytes.await.unwrap_or_default()
}

/// Whether the binary form is wanted; none when neither is.
fn form(call: &Call, binary: [&str; 2]) -> Option<bool> {
    let offered = [(respond::JSON, false), (binary[0], true), (binary[1], true)];
    accept::first(call.accept_header().unwrap_or_default(), &offered)
}

/// 406, without a word.
fn refused() -> Response {
    let mut response = respond::text(406, "");
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}
