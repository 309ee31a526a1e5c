//! Streams of clients that are almost right.

#[path = "../../../api/tests/common/fuzz.rs"]
mod bytes;

use ::bytes::{Bytes, BytesMut};
use futures::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{
    remote::{WEBSOCKET, on_websocket},
    spdy, ws,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// What a client of an exec sends over SPDY.
fn session() -> Vec<u8> {
    use spdy::frame::{Encoder, Frame};
    let headers = |kind: &str| {
        vec![
            ("streamtype".to_owned(), kind.to_owned()),
            ("port".to_owned(), "80".to_owned()),
        ]
    };
    let (mut encoder, mut out) = (Encoder::default(), BytesMut::new());
    let open = |stream, kind| Frame::Open {
        stream,
        fin: false,
        headers: headers(kind),
    };
    let data = |stream, fin, bytes| Frame::Data { stream, fin, bytes };
    for frame in [
        open(1, "error"),
        open(3, "stdin"),
        open(5, "resize"),
        data(3, false, Bytes::from_static(b"input")),
        data(
            5,
            false,
            Bytes::from_static(b"{\"Width\":80,\"Height\":24}"),
        ),
        Frame::Ping(1),
        data(3, true, Bytes::new()),
        Frame::Reset {
            stream: 5,
            status: 5,
        },
        Frame::GoAway,
    ] {
        encoder.encode(&frame, &mut out).unwrap();
    }
    out.to_vec()
}

#[test]
fn spdy_frames() {
    let words: &[&[u8]] = &[
        &[0x80, 3, 0, 1, 0, 0, 0, 10],
        &[0x80, 3, 0, 8, 0, 0xff, 0xff, 0xff],
        &[0, 0, 0, 3, 1, 0, 0, 0],
        &[0x80, 2],
        &[0xff; 4],
        &[0x78, 0xbb],
    ];
    bytes::run(&[&session()], words, |input| {
        let mut decoder = spdy::frame::Decoder::default();
        let mut buffer = BytesMut::from(input);
        let mut frames = 0;
        while let Ok(Some(_)) = decoder.next(&mut buffer) {
            frames += 1;
            assert!(frames <= input.len(), "each frame takes bytes");
        }
    });
}

#[test]
fn spdy_sessions() {
    bytes::run(&[&session()], &[&[0x80, 3, 0, 6, 0, 0, 0, 4]], |input| {
        runtime().block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let mut opened = spdy::serve(server);
            client.write_all(input).await.unwrap();
            client.shutdown().await.unwrap();
            // All at once, as they are read elsewhere: a stream that nobody reads holds up those that come after it.
            while let Some(mut stream) = opened.recv().await {
                tokio::spawn(async move { while stream.incoming.recv().await.is_some() {} });
            }
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
        });
    });
}

/// What a client of an exec sends over a WebSocket, frames and all.
fn messages(base64: bool) -> Vec<u8> {
    runtime().block_on(async {
        let (client, mut wire) = tokio::io::duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let sent = match base64 {
            true => vec![
                Message::text("0aGk="),
                Message::text("4eyJXaWR0aCI6ODAsIkhlaWdodCI6MjR9"),
            ],
            false => vec![
                Message::Binary(Bytes::from_static(b"\x00input")),
                Message::Binary(Bytes::from_static(b"\x04{\"Width\":80,\"Height\":24}")),
                Message::Ping(Bytes::from_static(b"p")),
                Message::Binary(Bytes::from_static(b"\xff\x00")),
            ],
        };
        for message in sent {
            client.send(message).await.unwrap();
        }
        let _ = client.close(None).await;
        drop(client);
        let mut out = Vec::new();
        wire.read_to_end(&mut out).await.unwrap();
        out
    })
}

#[test]
fn websocket_frames() {
    let seeds = [messages(false), messages(true)];
    let words: &[&[u8]] = &[
        &[0x82, 0xff],
        &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x82, 0xfe, 0, 3],
        &[0x00, 0x80, 0, 0, 0, 0],
        &[0x89, 0x80, 0, 0, 0, 0],
        &[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8],
        &[0xf2, 0x81],
        &[0x81, 0x84],
    ];
    let at = std::cell::Cell::new(0);
    bytes::run(&[&seeds[0], &seeds[1]], words, |input| {
        at.set(at.get() + 1);
        let protocol = WEBSOCKET[at.get() % WEBSOCKET.len()];
        runtime().block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let mut remote = on_websocket(ws::server(server).await, protocol);
            client.write_all(input).await.unwrap();
            client.shutdown().await.unwrap();
            while remote.stdin.recv().await.is_some() {}
            while remote.resize.recv().await.is_some() {}
            drop(remote.out);
            drop(client);
            let _ = remote.writer.await;
        });
    });
}

#[test]
fn websocket_tunnels() {
    let seed = messages(false);
    bytes::run(&[&seed], &[&[0x82, 0xfe, 0, 3]], |input| {
        runtime().block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let mut tunnel = ws::Tunnel::new(ws::server(server).await);
            client.write_all(input).await.unwrap();
            client.shutdown().await.unwrap();
            let mut out = Vec::new();
            let _ = tunnel.read_to_end(&mut out).await;
        });
    });
}
