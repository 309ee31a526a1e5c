//! Bodies of requests and answers, whoever carries them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use knarr_api::Status;
use knarr_store::Stored;

use crate::Outcome;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// The body of a request, from a socket or from a client in this process.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

pub type Response = http::Response<ResponseBody>;

/// Bytes that a request may have at most.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// Bytes of a list are handed on in pieces of about this size.
const PIECE: usize = 128 * 1024;
/// After so many pieces a list lets others of its thread go on: a connection takes what there is, and 100 MB take a while.
const TURN: u32 = 4;

pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub fn empty() -> ResponseBody {
    full(Bytes::new())
}

/// Reads a request's body whole.
///
/// # Errors
/// 413 beyond [`LIMIT`], 400 when the client breaks off.
pub async fn read(mut body: RequestBody) -> Outcome<Bytes> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Box::new(Status::bad_request(format!("reading the body: {e}"))))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + more.len() + data.len() > LIMIT {
            drain(body).await;
            let message = format!("Request entity too large: limit is {LIMIT}");
            return Err(Status::failure(413, "RequestEntityTooLarge", message).into());
        }
        // Most bodies come in one frame and are not copied.
        if first.is_empty() {
            first = data;
        } else {
            more.put_slice(&data);
        }
    }
    if more.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + more.len());
    whole.put_slice(&first);
    whole.put_slice(&more);
    Ok(whole.freeze())
}

/// Lets a client that sends too much finish, within reason: one that is cut off never reads the answer.
async fn drain(mut body: RequestBody) {
    let mut left = 8 * LIMIT;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
            return;
        };
        left = rest;
    }
}

/// A list as the bytes of its objects, joined as they are read by the client.
pub struct ListBody {
    head: Bytes,
    items: std::vec::IntoIter<Arc<Stored>>,
    /// Bytes at the start of each item that a list leaves out (`{"apiVersion":…,"kind":…,`), when it has them.
    prefix: Bytes,
    tail: Bytes,
    left: u64,
    first: bool,
    done: bool,
    /// Pieces handed on in this turn.
    turn: u32,
}

impl ListBody {
    /// `head` ends with the opening bracket of the items, `tail` starts with the closing one.
    pub fn new(head: Bytes, items: Vec<Arc<Stored>>, prefix: Bytes, tail: Bytes) -> Self {
        let mut left = (head.len() + tail.len() + items.len().saturating_sub(1)) as u64;
        for item in &items {
            left += shown(&item.json, &prefix)
                .iter()
                .map(|part| part.len() as u64)
                .sum::<u64>();
        }
        ListBody {
            head,
            items: items.into_iter(),
            prefix,
            tail,
            left,
            first: true,
            done: false,
            turn: 0,
        }
    }

    fn piece(&mut self) -> Bytes {
        let mut out =
            BytesMut::with_capacity(PIECE.min(usize::try_from(self.left).unwrap_or(PIECE)));
        out.put_slice(&std::mem::take(&mut self.head));
        while out.len() < PIECE {
            let Some(item) = self.items.next() else {
                out.put_slice(&self.tail);
                self.done = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                out.put_u8(b',');
            }
            for part in shown(&item.json, &self.prefix) {
                out.put_slice(part);
            }
        }
        self.left = self.left.saturating_sub(out.len() as u64);
        out.freeze()
    }
}

/// An item as a list shows it: without the type that the list already tells.
fn shown<'a>(json: &'a [u8], prefix: &[u8]) -> [&'a [u8]; 2] {
    match json.strip_prefix(prefix) {
        Some(rest) if !prefix.is_empty() => [b"{", rest],
        _ => [json, b""],
    }
}

impl Body for ListBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if self.turn == TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.turn += 1;
        let piece = self.piece();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lists_are_joined_without_the_items_type() {
        let item = |json: &str| {
            Arc::new(Stored {
                key: "k".into(),
                revision: 1,
                created: 1,
                json: Bytes::copy_from_slice(json.as_bytes()),
                hole: 0,
                head: Default::default(),
            })
        };
        let items = vec![item(r#"{"kind":"A","x":1}"#), item(r#"{"y":2}"#)];
        let body = ListBody::new(
            "{\"items\":[".into(),
            items,
            "{\"kind\":\"A\",".into(),
            "]}".into(),
        );
        let len = body.left;
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes, r#"{"items":[{"x":1},{"y":2}]}"#);
        assert_eq!(len, bytes.len() as u64);
    }
}
