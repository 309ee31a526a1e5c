//! Answers in gzip for clients that take it, when they are large: made on threads of their own while they are sent.

use std::{
    io::Write,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, Method, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::{
    body::{BoxError, Response, ResponseBody},
    chain::Call,
};

/// Objects and lists are compressed from this size on, in bytes, as the original does.
const LARGE: u64 = 128 * 1024;
/// Documents that compress well are from this size on.
const DOCUMENT: u64 = 1400;
/// Bytes that are compressed in one go.
const PIECE: usize = 256 * 1024;
/// Pieces that wait for a slow client.
const AHEAD: usize = 2;

/// Compresses the body of an answer when client, size and content ask for it.
pub(crate) fn answer(call: &Call, response: Response) -> Response {
    if !is_wanted(call) || !is_worth(call, &response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let headers = &mut parts.headers;
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(run(body, sender));
    Response::from_parts(parts, Received(receiver).boxed_unsync())
}

fn is_wanted(call: &Call) -> bool {
    let accepted = call.header(header::ACCEPT_ENCODING).unwrap_or_default();
    let gzip = accepted.split(',').any(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|p| p == "q=0" || p == "q=0.0")
    });
    gzip && call.method != Method::HEAD
}

fn is_worth(call: &Call, response: &Response) -> bool {
    let path = call.info.path.as_str();
    let document = path.starts_with("/openapi/") || path.starts_with("/metrics");
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let object = matches!(
        content_type.split(';').next(),
        Some("application/json" | "application/yaml" | "application/vnd.kubernetes.protobuf")
    ) && !content_type.contains("stream=watch");
    let told = response.headers().get(header::CONTENT_LENGTH);
    let told = told.and_then(|v| v.to_str().ok()?.parse().ok());
    // What does not tell its length is a stream, as watches are.
    let size = response.body().size_hint().exact().or(told).unwrap_or(0);
    response.status().is_success()
        && !response.headers().contains_key(header::CONTENT_ENCODING)
        && size > if document { DOCUMENT } else { LARGE }
        && (object || document)
}

/// Compresses a body piece by piece until its end, or until nobody reads any more.
async fn run(mut body: ResponseBody, to: mpsc::Sender<Result<Bytes, BoxError>>) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    while let Some(frame) = body.frame().await {
        let mut data = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => return drop(to.send(Err(error)).await),
        };
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            let done = tokio::task::spawn_blocking(move || {
                let written = encoder.write_all(&piece);
                (encoder, written)
            });
            let Ok((back, Ok(()))) = done.await else {
                return;
            };
            encoder = back;
            let out = std::mem::take(encoder.get_mut());
            if !out.is_empty() && to.send(Ok(out.into())).await.is_err() {
                return;
            }
        }
    }
    let rest = encoder.finish().map(Bytes::from).map_err(Into::into);
    let _ = to.send(rest).await;
}

/// What was compressed so far.
struct Received(mpsc::Receiver<Result<Bytes, BoxError>>);

impl Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0
            .poll_recv(cx)
            .map(|got| got.map(|r| r.map(Frame::data)))
    }
}
