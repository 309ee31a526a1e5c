//! Answers: objects, Statuses and plain text in the form that was agreed on.

use bytes::Bytes;
use http::{StatusCode, header};
use knarr_api::{Status, encode::protobuf, yaml};
use knarr_json::Value;
use serde::Serialize;

use crate::{
    accept::{Accept, Format},
    body::{self, Response},
};

/// Builds an answer; a code that is none becomes 500.
pub fn raw(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

pub fn text(code: u16, text: impl Into<String>) -> Response {
    raw(code, "text/plain; charset=utf-8", text.into())
}

/// What a path that leads nowhere gets.
pub fn page_not_found() -> Response {
    let mut response = text(404, "404 page not found\n");
    response.headers_mut().insert(
        "x-content-type-options",
        header::HeaderValue::from_static("nosniff"),
    );
    response
}

/// What a stage before all resources answers when it fails.
pub fn internal_error(uri: &str, why: &str) -> Response {
    let quoted = format!("Internal Server Error: {uri:?}: {why}\n");
    let escaped = quoted
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let mut response = text(500, escaped);
    response.headers_mut().insert(
        "x-content-type-options",
        header::HeaderValue::from_static("nosniff"),
    );
    response
}

/// 404 for a resource that is not served.
pub fn no_such_resource() -> Status {
    general(
        404,
        "NotFound",
        "the server could not find the requested resource",
    )
}

/// 405 for a verb that a resource does not have.
pub fn not_allowed() -> Status {
    general(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
}

/// A failure whose details are there but say nothing.
pub fn general(code: u16, reason: &str, message: &str) -> Status {
    let mut status = Status::failure(code, reason, message);
    status.details = Some(Default::default());
    status
}

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Encodes anything as agreed; what has no protobuf message is refused with 406.
pub fn encoded(code: u16, accept: &Accept, value: &impl Serialize) -> Response {
    let done = match accept.format {
        Format::Json if accept.pretty => serde_json::to_vec_pretty(value)
            .map(|b| (JSON, b))
            .map_err(|e| e.to_string()),
        Format::Json => knarr_api::encode::to_vec(value)
            .map(|b| (JSON, b))
            .map_err(|e| e.to_string()),
        // Keys in order, as JSON values keep them.
        Format::Yaml => knarr_json::to_value(value)
            .map_err(|e| e.to_string())
            .map(|v| (YAML, yaml::print(&v).into_bytes())),
        Format::Protobuf => match serde_json::to_vec(value) {
            Ok(json) => return message(code, &json),
            Err(error) => Err(error.to_string()),
        },
    };
    match done {
        Ok((content_type, mut bytes)) => {
            if accept.format == Format::Json && !bytes.ends_with(b"\n") {
                bytes.push(b'\n');
            }
            raw(code, content_type, bytes)
        }
        Err(error) => text(500, format!("encoding the answer: {error}\n")),
    }
}

/// An object in protobuf from its JSON.
fn message(code: u16, json: &[u8]) -> Response {
    let error = match protobuf::body(json) {
        Ok(body) => return raw(code, PROTOBUF, body),
        Err(error @ protobuf::Error::NoMessage(_)) => {
            Status::failure(406, "NotAcceptable", error.to_string())
        }
        Err(error) => Status::internal(error),
    };
    let code = if (200..400).contains(&code) {
        error.code
    } else {
        code
    };
    match serde_json::to_vec(&error).map(|json| protobuf::body(&json)) {
        Ok(Ok(body)) => raw(code, PROTOBUF, body),
        _ => text(code, format!("{}: {}", error.reason, error.message)),
    }
}

/// A Status with its own code.
pub fn status(accept: &Accept, status: &Status) -> Response {
    let code = if status.code == 0 { 200 } else { status.code };
    let mut response = encoded(code, accept, status);
    if let Some(seconds) = status
        .details
        .as_ref()
        .map(|d| d.retry_after_seconds)
        .filter(|s| *s > 0)
    {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    response
}

/// Stored bytes as they are when the form allows, else decoded and written anew.
pub fn stored(code: u16, accept: &Accept, json: &Bytes) -> Response {
    match accept.format {
        Format::Json if !accept.pretty => return raw(code, JSON, json.clone()),
        Format::Protobuf => return message(code, json),
        _ => {}
    }
    match serde_json::from_slice::<Value>(json) {
        Ok(value) => encoded(code, accept, &value),
        Err(error) => status(accept, &Status::internal(error)),
    }
}

/// Adds `Warning: 299` headers.
pub fn warn(response: &mut Response, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace(['\n', '\r'], " ");
        if let Ok(value) = header::HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes())
        {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
