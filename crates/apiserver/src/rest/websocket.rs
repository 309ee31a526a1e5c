//! A watch on a WebSocket: each change is a message, text for JSON and binary for protobuf.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{frames, watch::Stream};
use crate::{
    accept::Format,
    body::{self, Response},
    chain::Call,
};

/// Clients have nothing to say: what they send is read and forgotten.
const LARGEST_MESSAGE: usize = 64 * 1024;

/// Whether a request wants to go on as a WebSocket.
pub fn is_asked(call: &Call) -> bool {
    let has = |name, word: &str| {
        call.header(name)
            .is_some_and(|v| v.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Answers with the change of protocol and carries the watch; none when the request cannot change protocol.
pub fn answer(call: &Call, stream: Stream) -> Option<Response> {
    let key = call.headers.get(header::SEC_WEBSOCKET_KEY)?;
    let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?;
    let upgrade = call.upgrade.lock().take()?;
    let stop = call.shared.stop.clone();
    call.shared.tasks.spawn(async move {
        match upgrade.await {
            Ok(io) => {
                let config = WebSocketConfig::default()
                    .max_message_size(Some(LARGEST_MESSAGE))
                    .max_frame_size(Some(LARGEST_MESSAGE));
                let socket =
                    WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config))
                        .await;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = carry(socket, stream) => {}
                }
            }
            Err(error) => tracing::debug!(%error, "connection not upgraded"),
        }
    });
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    // There is nothing to choose from: who offers one protocol is taken at his word.
    let offered = call.headers.get(header::SEC_WEBSOCKET_PROTOCOL);
    if let Some(one) = offered.filter(|v| !v.as_bytes().contains(&b',')) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, one.clone());
    }
    Some(response)
}

async fn carry<S>(socket: WebSocketStream<S>, mut stream: Stream)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let format = stream.format();
    let (mut sink, mut source) = socket.split();
    loop {
        let mut piece = tokio::select! {
            piece = stream.next() => match piece {
                Some(piece) => piece,
                None => break,
            },
            heard = source.next() => match heard {
                // Pings are answered below this.
                Some(Ok(message)) if !message.is_close() => continue,
                _ => break,
            },
        };
        while let Some(frame) = frames::split(format, &mut piece) {
            let Some(message) = message(format, frame) else {
                continue;
            };
            if sink.feed(message).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

fn message(format: Format, frame: Bytes) -> Option<Message> {
    match format {
        Format::Protobuf => Some(Message::Binary(frame)),
        Format::Json | Format::Yaml => frame.try_into().ok().map(Message::Text),
    }
}
