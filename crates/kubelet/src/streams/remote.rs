//! Exec and attach over the wire: standard streams, terminal size and the final word, on WebSockets or SPDY.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use knarr_runtime::{BoxRead, Streams};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::spdy;

/// Protocols on WebSockets, best first.
pub const WEBSOCKET: [&str; 5] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "base64.channel.k8s.io",
    "channel.k8s.io",
];
/// Protocols on SPDY, best first.
pub const SPDY: [&str; 4] = [
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
];

const STDIN: u8 = 0;
const RESIZE: u8 = 4;
/// Says (v5) that a channel's sender has no more.
const CLOSE: u8 = 255;
const QUEUE: usize = 64;
const BLOCK: usize = 32 * 1024;
/// How long a client may take to open all its SPDY streams.
const OPENING: Duration = Duration::from_secs(30);
/// After a process ended, how long its output is waited for: its children may hold the pipes.
const DRAIN: Duration = Duration::from_secs(2);

/// Where bytes for the client go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Stdout = 1,
    Stderr = 2,
    Error = 3,
}

/// The client's end of an exec or attach.
pub struct Remote {
    /// Ends when the client closes its standard input or goes away.
    pub stdin: mpsc::Receiver<Bytes>,
    /// Columns and rows.
    pub resize: mpsc::Receiver<(u16, u16)>,
    pub out: mpsc::Sender<(Channel, Bytes)>,
    /// Ends when all was written.
    pub writer: JoinHandle<()>,
}

/// Which of the standard streams are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    width: u16,
    #[serde(rename = "Height")]
    height: u16,
}

/// Takes terminal sizes out of a stream of JSON texts; leaves what is incomplete.
fn sizes(buffer: &mut BytesMut) -> Vec<(u16, u16)> {
    let mut all = serde_json::Deserializer::from_slice(buffer).into_iter::<Size>();
    let mut out = Vec::new();
    let mut used = 0;
    while let Some(Ok(size)) = all.next() {
        out.push((size.width, size.height));
        used = all.byte_offset();
    }
    let _ = buffer.split_to(used);
    out
}

/// The final word: how a process ended, as a Status.
pub fn exit_status(result: Result<i32, String>) -> Bytes {
    let status = match result {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}}),
        Err(message) => {
            json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500, "message": message,
            "details": {"causes": [{"message": message}]}})
        }
    };
    Bytes::from(status.to_string())
}

/// A remote on a WebSocket that speaks `protocol`.
pub fn on_websocket<I>(socket: WebSocketStream<I>, protocol: &'static str) -> Remote
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let base64 = protocol.contains("base64");
    let (mut sink, mut source) = socket.split();
    let (stdin_tx, stdin) = mpsc::channel(QUEUE);
    let (resize_tx, resize) = mpsc::channel(QUEUE);
    let (out, mut to_write) = mpsc::channel::<(Channel, Bytes)>(QUEUE);
    let (pong_tx, mut pongs) = mpsc::channel::<Bytes>(4);
    let (gone_tx, mut gone) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                // Nobody reads any more: `out` closes with this task.
                _ = &mut gone => return,
                next = to_write.recv() => match next {
                    Some((channel, bytes)) => encode(channel, &bytes, base64),
                    None => break,
                },
                Some(ping) = pongs.recv() => Message::Pong(ping),
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let normal = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let _ = sink.send(Message::Close(Some(normal))).await;
        let _ = sink.close().await;
    });
    tokio::spawn(async move {
        let _gone = gone_tx;
        let mut stdin_tx = Some(stdin_tx);
        // Opening frames on every channel are empty: they say nothing.
        while let Some(Ok(message)) = source.next().await {
            if let Message::Ping(bytes) = &message {
                let _ = pong_tx.try_send(bytes.clone());
            }
            match decode(message, base64) {
                Some((STDIN, bytes)) => {
                    if let Some(tx) = stdin_tx.as_ref().filter(|_| !bytes.is_empty()) {
                        let _ = tx.send(bytes).await;
                    }
                }
                Some((RESIZE, bytes)) => {
                    for size in sizes(&mut BytesMut::from(bytes)) {
                        let _ = resize_tx.try_send(size);
                    }
                }
                Some((CLOSE, bytes)) if bytes.first() == Some(&STDIN) => stdin_tx = None,
                _ => {}
            }
        }
    });
    Remote {
        stdin,
        resize,
        out,
        writer,
    }
}

fn encode(channel: Channel, bytes: &[u8], base64: bool) -> Message {
    if base64 {
        return Message::text(format!("{}{}", channel as u8, STANDARD.encode(bytes)));
    }
    let mut out = BytesMut::with_capacity(bytes.len() + 1);
    out.extend_from_slice(&[channel as u8]);
    out.extend_from_slice(bytes);
    Message::Binary(out.freeze())
}

fn decode(message: Message, base64: bool) -> Option<(u8, Bytes)> {
    match message {
        Message::Text(text) if base64 && !text.is_empty() => {
            let channel = text.as_bytes()[0].checked_sub(b'0')?;
            Some((channel, STANDARD.decode(&text.as_bytes()[1..]).ok()?.into()))
        }
        // Some clients send what is text as such, under the protocols for bytes too.
        Message::Binary(bytes) => first_byte(bytes),
        Message::Text(text) => first_byte(text.into()),
        _ => None,
    }
}

fn first_byte(mut bytes: Bytes) -> Option<(u8, Bytes)> {
    (!bytes.is_empty()).then(|| (bytes.split_to(1)[0], bytes))
}

/// A remote on a SPDY session. None when the client did not open its streams in time.
pub async fn on_spdy(mut streams: mpsc::Receiver<spdy::Stream>, wanted: Wanted) -> Option<Remote> {
    let (stdin_tx, mut stdin) = mpsc::channel(1);
    let (resize_tx, resize) = mpsc::channel(QUEUE);
    let (out, mut to_write) = mpsc::channel::<(Channel, Bytes)>(QUEUE);
    let (mut error, mut stdout, mut stderr) = (None, None, None);
    // Closed at the end only: to clients it means that no input is wanted any more.
    let mut input = None;
    let expected = 1 + [
        wanted.stdin,
        wanted.stdout,
        wanted.stderr && !wanted.tty,
        wanted.tty,
    ]
    .iter()
    .filter(|w| **w)
    .count();
    for _ in 0..expected {
        let stream = tokio::time::timeout(OPENING, streams.recv()).await.ok()??;
        match stream.header("streamtype").unwrap_or_default() {
            "error" => error = Some(stream.outgoing),
            "stdout" => stdout = Some(stream.outgoing),
            "stderr" => stderr = Some(stream.outgoing),
            "stdin" => {
                stdin = stream.incoming;
                input = Some(stream.outgoing);
            }
            "resize" => drop(tokio::spawn(forward_sizes(
                stream.incoming,
                resize_tx.clone(),
            ))),
            _ => stream.outgoing.reset().await,
        }
    }
    drop(stdin_tx);
    let writer = tokio::spawn(async move {
        while let Some((channel, bytes)) = to_write.recv().await {
            let stream = match channel {
                Channel::Stdout => &mut stdout,
                Channel::Stderr => &mut stderr,
                Channel::Error => &mut error,
            };
            if let Some(stream) = stream
                && !stream.send(bytes).await
            {
                return;
            }
        }
        for stream in [input, stdout, stderr, error].into_iter().flatten() {
            stream.finish().await;
        }
        drop(streams);
    });
    Some(Remote {
        stdin,
        resize,
        out,
        writer,
    })
}

async fn forward_sizes(mut incoming: mpsc::Receiver<Bytes>, to: mpsc::Sender<(u16, u16)>) {
    let mut buffer = BytesMut::new();
    while let Some(bytes) = incoming.recv().await {
        buffer.extend_from_slice(&bytes);
        for size in sizes(&mut buffer) {
            let _ = to.send(size).await;
        }
    }
}

/// Carries everything between a process and its client until the process ends or the client goes away.
pub async fn carry(streams: Streams, remote: Remote) {
    let Remote {
        mut stdin,
        mut resize,
        out,
        writer,
    } = remote;
    let Streams {
        stdin: to_process,
        stdout,
        stderr,
        resize: sizes,
        exit,
    } = streams;
    let input = tokio::spawn(async move {
        let Some(mut to_process) = to_process else {
            return;
        };
        while let Some(bytes) = stdin.recv().await {
            if to_process.write_all(&bytes).await.is_err() || to_process.flush().await.is_err() {
                return;
            }
        }
        let _ = to_process.shutdown().await;
    });
    let resizing = tokio::spawn(async move {
        while let Some(size) = resize.recv().await {
            let _ = sizes.send(size).await;
        }
        // Held, so that the process's side stays open.
        std::future::pending::<()>().await;
    });
    let outputs = [(stdout, Channel::Stdout), (stderr, Channel::Stderr)];
    let outputs: Vec<_> = outputs
        .into_iter()
        .filter_map(|(s, c)| Some(tokio::spawn(copy(s?, c, out.clone()))))
        .collect();
    let ended = tokio::select! {
        ended = exit => Some(ended),
        () = out.closed() => None,
    };
    if let Some(ended) = ended {
        let _ = tokio::time::timeout(DRAIN, futures::future::join_all(outputs)).await;
        let result = match ended {
            Ok(Ok(code)) => Ok(code),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err("the runtime lost the process".to_owned()),
        };
        let _ = out.send((Channel::Error, exit_status(result))).await;
    }
    input.abort();
    resizing.abort();
    drop(out);
    let _ = tokio::time::timeout(DRAIN, writer).await;
}

async fn copy(mut from: BoxRead, channel: Channel, to: mpsc::Sender<(Channel, Bytes)>) {
    let mut buffer = BytesMut::with_capacity(BLOCK);
    loop {
        buffer.reserve(BLOCK);
        match from.read_buf(&mut buffer).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        if to.send((channel, buffer.split().freeze())).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_pieces() {
        let mut buffer = BytesMut::from(&b"{\"Width\":80,\"Height\":24}\n{\"Width\":1"[..]);
        assert_eq!(sizes(&mut buffer), [(80, 24)]);
        buffer.extend_from_slice(b"00,\"Height\":50}");
        assert_eq!(sizes(&mut buffer), [(100, 50)]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn channels() {
        let message = encode(Channel::Stderr, b"hi", true);
        assert_eq!(message, Message::text("2aGk="));
        assert_eq!(
            decode(Message::text("0aGk="), true),
            Some((0, Bytes::from_static(b"hi")))
        );
        assert_eq!(
            decode(Message::Binary(Bytes::from_static(b"\x00hi")), false),
            Some((0, Bytes::from_static(b"hi")))
        );
        assert_eq!(
            decode(Message::text("\0hi"), false),
            Some((0, Bytes::from_static(b"hi")))
        );
        assert_eq!(decode(Message::Binary(Bytes::new()), false), None);
        assert_eq!(decode(Message::text("\u{1}"), true), None);
    }

    #[tokio::test]
    async fn a_process_over_a_websocket() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let socket = super::super::ws::server(server).await;
        let mut client = WebSocketStream::from_raw_socket(
            client,
            tokio_tungstenite::tungstenite::protocol::Role::Client,
            None,
        )
        .await;
        let remote = on_websocket(socket, "v5.channel.k8s.io");
        let (to_process, mut process_in) = tokio::io::duplex(1024);
        let (process_out, from_process) = tokio::io::duplex(1024);
        let (resize, mut resized) = mpsc::channel(1);
        let (exit_tx, exit) = tokio::sync::oneshot::channel();
        let streams = Streams {
            stdin: Some(Box::new(to_process)),
            stdout: Some(Box::new(from_process)),
            stderr: None,
            resize,
            exit,
        };
        let task = tokio::spawn(carry(streams, remote));
        client
            .send(Message::Binary(Bytes::from_static(b"\x00in")))
            .await
            .expect("send");
        client
            .send(Message::Binary(Bytes::from_static(
                b"\x04{\"Width\":80,\"Height\":24}",
            )))
            .await
            .expect("send");
        client
            .send(Message::Binary(Bytes::from_static(b"\xff\x00")))
            .await
            .expect("send");
        let mut got = String::new();
        process_in.read_to_string(&mut got).await.expect("read");
        assert_eq!(got, "in");
        assert_eq!(resized.recv().await, Some((80, 24)));
        let mut process_out = process_out;
        process_out.write_all(b"out").await.expect("write");
        drop(process_out);
        exit_tx.send(Ok(3)).expect("exit");
        let first = client.next().await.expect("message").expect("message");
        assert_eq!(first.into_data(), Bytes::from_static(b"\x01out"));
        let last = client
            .next()
            .await
            .expect("message")
            .expect("message")
            .into_data();
        assert!(last[0] == 3 && String::from_utf8_lossy(&last).contains("\"message\":\"3\""));
        task.await.expect("task");
    }
}
