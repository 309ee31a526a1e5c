//! A page of a collection as an answer, in the form and shape agreed on.
//!
//! Plain JSON is stored bytes joined while the client reads. Everything else is made whole first, away from the threads that
//! serve others when it is much.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use knarr_api::{Status, encode, encode::protobuf};
use knarr_json::{Map, Value};
use knarr_store::Stored;

use super::{Target, list::Page, present};
use crate::{
    Outcome,
    accept::{Accept, Format, Shape},
    body::{BoxError, ListBody, Response},
    chain::Call,
    respond,
};

/// Bytes of stored objects from which on a thread of its own encodes them.
const MUCH: usize = 256 * 1024;
/// Bytes of a list are handed on in pieces of about this size.
const PIECE: usize = 128 * 1024;

/// # Errors
/// When stored bytes do not decode, or have no form such as was asked for.
pub async fn answer(
    call: &Call,
    target: &Target,
    accept: &Accept,
    page: Page,
) -> Outcome<Response> {
    let include = match accept.shape {
        Shape::Table => present::included(call)?.to_owned(),
        _ => String::new(),
    };
    let rendering = Rendering {
        api_version: target.shown_api_version(),
        metadata: metadata(target, accept, &page),
        target: target.clone(),
        accept: *accept,
        include,
        items: page.items,
    };
    if rendering.is_plain() {
        return Ok(rendering.joined());
    }
    if rendering.items.iter().map(|s| s.json.len()).sum::<usize>() < MUCH {
        return rendering.render();
    }
    tokio::task::spawn_blocking(move || rendering.render())
        .await
        .map_err(|e| Box::new(Status::internal(e)))?
}

fn metadata(target: &Target, accept: &Accept, page: &Page) -> Value {
    let mut out = Map::new();
    // Lists of custom resources always say it.
    let always = target.resource.custom.is_some() && accept.shape == Shape::Whole;
    if always || !page.next.is_empty() {
        out.insert("continue", page.next.as_str().into());
    }
    if let Some(remaining) = page.remaining {
        out.insert("remainingItemCount", remaining.into());
    }
    out.insert("resourceVersion", page.revision.to_string().into());
    out.into()
}

/// A list of decoded objects; items leave out the type that the list tells, but for custom resources.
pub fn whole(target: &Target, api_version: &str, metadata: Value, objects: Vec<Value>) -> Value {
    if target.resource.custom.is_some() {
        return knarr_json::json!({"apiVersion": api_version, "items": objects, "kind": target.resource.list_kind, "metadata": metadata});
    }
    let mut objects: Vec<Value> = objects.into_iter().map(|o| target.shown(o)).collect();
    for object in objects.iter_mut().filter_map(Value::as_object_mut) {
        object.remove("apiVersion");
        object.remove("kind");
    }
    knarr_json::json!({"kind": target.resource.list_kind, "apiVersion": api_version, "metadata": metadata, "items": objects})
}

/// A page on its way to becoming an answer.
struct Rendering {
    target: Target,
    accept: Accept,
    /// What rows of a Table hold of their objects.
    include: String,
    api_version: String,
    metadata: Value,
    items: Vec<Arc<Stored>>,
}

impl Rendering {
    /// Whether stored bytes are the answer as they are.
    fn is_plain(&self) -> bool {
        self.accept.shape == Shape::Whole
            && self.accept.format == Format::Json
            && !self.accept.pretty
            && self
                .items
                .iter()
                .all(|s| present::is_at(&s.json, &self.api_version))
    }

    fn render(self) -> Outcome<Response> {
        let partial = matches!(self.accept.shape, Shape::Partial | Shape::PartialList);
        match self.accept.format {
            Format::Protobuf if partial || self.accept.shape == Shape::Whole => {
                self.messages(partial)
            }
            Format::Json if partial && !self.accept.pretty => self.partial_json(),
            _ => self.values(),
        }
    }

    fn values(self) -> Outcome<Response> {
        let objects = self
            .items
            .iter()
            .map(|s| self.target.decode(&s.json))
            .collect::<Outcome<Vec<Value>>>()?;
        let accept = &self.accept;
        let shown = match accept.shape {
            Shape::Table => present::table(
                &self.target,
                &self.include,
                accept.beta,
                objects,
                self.metadata,
            ),
            Shape::Partial | Shape::PartialList => {
                present::partial_list(objects, accept.beta, self.metadata)
            }
            Shape::Whole | Shape::Groups => {
                whole(&self.target, &self.api_version, self.metadata, objects)
            }
        };
        Ok(respond::encoded(200, accept, &shown))
    }

    /// Stored bytes, joined as they are read.
    fn joined(self) -> Response {
        let resource = &self.target.resource;
        let quoted = |s: &str| Value::from(s).to_string();
        let api_version = quoted(&self.api_version);
        let head = format!(
            "{{\"kind\":{},\"apiVersion\":{api_version},\"metadata\":{},\"items\":[",
            quoted(&resource.list_kind),
            self.metadata
        );
        let prefix = match resource.custom {
            Some(_) => String::new(),
            None => format!(
                "{{\"apiVersion\":{api_version},\"kind\":{},",
                quoted(&resource.kind)
            ),
        };
        let tail = Bytes::from_static(b"]}\n");
        let body = ListBody::new(head.into(), self.items, prefix.into(), tail);
        let mut response = respond::raw(200, respond::JSON, Bytes::new());
        *response.body_mut() = body.boxed_unsync();
        response
    }

    /// A list of metadata, cut out of the stored bytes.
    fn partial_json(self) -> Outcome<Response> {
        if self.items.is_empty() {
            return self.values();
        }
        let version = present::meta_version(self.accept.beta);
        let head = format!(
            "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"{version}\",\"metadata\":{},\"items\":",
            self.metadata
        );
        let each = format!(
            "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{version}\",\"metadata\":"
        );
        let mut pieces = Pieces::default();
        pieces.now.extend_from_slice(head.as_bytes());
        for (i, item) in self.items.iter().enumerate() {
            pieces.now.push(if i == 0 { b'[' } else { b',' });
            pieces.now.extend_from_slice(each.as_bytes());
            let metadata = encode::metadata(&item.json)
                .map_err(|e| Box::new(Status::internal(format!("stored object: {e}"))))?;
            pieces.now.extend_from_slice(metadata);
            pieces.now.push(b'}');
            pieces.turn();
        }
        pieces.now.extend_from_slice(b"]}\n");
        Ok(pieces.response(respond::JSON))
    }

    /// A list in protobuf, straight from the stored bytes.
    fn messages(self, partial: bool) -> Outcome<Response> {
        let (api_version, kind) = if partial {
            let version = present::meta_version(self.accept.beta);
            (version, "PartialObjectMetadata".to_owned())
        } else {
            (self.api_version.as_str(), self.target.resource.kind.clone())
        };
        let failed = |e: protobuf::Error| Box::new(Status::internal(e));
        let schema = protobuf::message_of(api_version, &kind).map_err(failed)?;
        let mut pieces = Pieces::default();
        for item in &self.items {
            if partial || present::is_at(&item.json, api_version) {
                protobuf::append_item(&schema, &item.json, &mut pieces.now).map_err(failed)?;
            } else {
                let json = self.target.decode(&item.json)?.to_string();
                protobuf::append_item(&schema, json.as_bytes(), &mut pieces.now).map_err(failed)?;
            }
            pieces.turn();
        }
        let list_kind = if partial {
            "PartialObjectMetadataList"
        } else {
            &self.target.resource.list_kind
        };
        let metadata = self.metadata.to_string();
        let head = protobuf::list_head(api_version, list_kind, metadata.as_bytes(), pieces.len())
            .map_err(failed)?;
        pieces.done.insert(0, head.into());
        pieces.now.extend_from_slice(protobuf::TAIL);
        Ok(pieces.response(respond::PROTOBUF))
    }
}

/// A body in the making, cut into pieces so that none of it is moved again and what was sent is free at once.
#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    now: Vec<u8>,
}

impl Pieces {
    /// Starts another piece when this one is long enough.
    fn turn(&mut self) {
        if self.now.len() >= PIECE {
            let next = Vec::with_capacity(PIECE + PIECE / 8);
            self.done
                .push(std::mem::replace(&mut self.now, next).into());
        }
    }

    fn len(&self) -> usize {
        self.done.iter().map(Bytes::len).sum::<usize>() + self.now.len()
    }

    fn response(mut self, content_type: &'static str) -> Response {
        self.done.push(self.now.into());
        let length = self.done.iter().map(Bytes::len).sum::<usize>();
        let frames = self
            .done
            .into_iter()
            .map(|p| Ok::<_, BoxError>(Frame::data(p)));
        let body = StreamBody::new(futures::stream::iter(frames));
        let mut response = respond::raw(200, content_type, Bytes::new());
        *response.body_mut() = BodyExt::boxed_unsync(body);
        // A stream does not tell its length by itself.
        response
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, length.into());
        response
    }
}
