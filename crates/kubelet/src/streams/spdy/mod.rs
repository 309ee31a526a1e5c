//! SPDY/3.1 as kubectl and client-go use it for exec, attach and port-forward: the server's side of a session.

mod dictionary;
pub(super) mod frame;

use std::{collections::HashMap, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

pub use frame::Headers;
use frame::{Decoder, Encoder, Frame};

/// Streams that wait to be taken by whoever serves the session.
const OPENED: usize = 64;
/// Frames that wait to be written.
const OUT: usize = 64;
/// Chunks that wait to be read by a stream's owner.
const IN: usize = 256;
const BLOCK: usize = 32 * 1024;
/// Data larger than this goes in several frames.
const MAX_DATA: usize = 32 * 1024;
/// How long a peer may take to read what is left, and leave.
const LINGER: Duration = Duration::from_secs(30);
/// `REFUSED_STREAM` of `RST_STREAM`.
const REFUSED: u32 = 3;
/// `CANCEL` of `RST_STREAM`.
const CANCEL: u32 = 5;

/// One stream that the peer opened.
pub struct Stream {
    pub headers: Headers,
    /// What the peer sends; ends when it closes its half.
    pub incoming: mpsc::Receiver<Bytes>,
    pub outgoing: Outgoing,
}

/// The sending half of a stream. Dropping it closes the half.
pub struct Outgoing {
    id: u32,
    frames: mpsc::Sender<Frame>,
    open: bool,
}

impl Stream {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
}

impl Outgoing {
    /// Sends bytes. False when the session is over.
    pub async fn send(&mut self, mut bytes: Bytes) -> bool {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(MAX_DATA));
            if self
                .frames
                .send(Frame::Data {
                    stream: self.id,
                    fin: false,
                    bytes: chunk,
                })
                .await
                .is_err()
            {
                return false;
            }
        }
        true
    }

    /// Says that nothing more comes.
    pub async fn finish(mut self) {
        self.open = false;
        let _ = self
            .frames
            .send(Frame::Data {
                stream: self.id,
                fin: true,
                bytes: Bytes::new(),
            })
            .await;
    }

    /// Breaks the stream off.
    pub async fn reset(mut self) {
        self.open = false;
        let _ = self
            .frames
            .send(Frame::Reset {
                stream: self.id,
                status: CANCEL,
            })
            .await;
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let (frames, id) = (self.frames.clone(), self.id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = frames
                    .send(Frame::Data {
                        stream: id,
                        fin: true,
                        bytes: Bytes::new(),
                    })
                    .await;
            });
        }
    }
}

/// Serves a session on a connection; gives the streams as the peer opens them. Ends when the peer goes away, or when the
/// receiver and all streams are dropped.
pub fn serve<I>(io: I) -> mpsc::Receiver<Stream>
where
    I: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(io);
    let (frames, to_write) = mpsc::channel(OUT);
    let (streams, opened) = mpsc::channel(OPENED);
    let (gone, left) = oneshot::channel();
    tokio::spawn(write(writer, to_write, left));
    tokio::spawn(async move {
        let _gone: oneshot::Sender<()> = gone;
        if let Err(error) = read(reader, frames, streams).await {
            tracing::debug!(%error, "SPDY session ended");
        }
    });
    opened
}

/// Writes frames until nobody has more; then the peer may leave first, as clients lose what they have not read yet when the
/// connection ends under them.
async fn write(
    mut io: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Frame>,
    left: oneshot::Receiver<()>,
) {
    let mut encoder = Encoder::default();
    let mut out = BytesMut::new();
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            if encoder.encode(&frame, &mut out).is_err() {
                return;
            }
            next = if out.len() < BLOCK {
                frames.try_recv().ok()
            } else {
                None
            };
        }
        if io.write_all_buf(&mut out).await.is_err() || io.flush().await.is_err() {
            return;
        }
    }
    let _ = tokio::time::timeout(LINGER, left).await;
    let _ = io.shutdown().await;
}

async fn read(
    mut io: impl AsyncRead + Unpin,
    frames: mpsc::Sender<Frame>,
    streams: mpsc::Sender<Stream>,
) -> anyhow::Result<()> {
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::with_capacity(BLOCK);
    let mut open: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    // Only a weak hold: the writer ends when the streams' owners have no more to say.
    let writer = frames.downgrade();
    let mut keep = Some(frames);
    loop {
        while let Some(frame) = decoder.next(&mut buffer)? {
            match frame {
                Frame::Open {
                    stream,
                    fin,
                    headers,
                } => {
                    let Some(frames) = keep.clone().or_else(|| writer.upgrade()) else {
                        return Ok(());
                    };
                    let place = match streams.try_reserve() {
                        Ok(place) => Some(place),
                        // Streams that nobody takes must not hold up those that are served.
                        Err(mpsc::error::TrySendError::Full(())) => {
                            let status = REFUSED;
                            frames.send(Frame::Reset { stream, status }).await?;
                            continue;
                        }
                        Err(mpsc::error::TrySendError::Closed(())) => None,
                    };
                    let (sender, incoming) = mpsc::channel(IN);
                    if !fin {
                        open.insert(stream, sender);
                    }
                    frames
                        .send(Frame::Reply {
                            stream,
                            fin: false,
                            headers: Headers::new(),
                        })
                        .await?;
                    let outgoing = Outgoing {
                        id: stream,
                        frames,
                        open: true,
                    };
                    match place {
                        Some(place) => place.send(Stream {
                            headers,
                            incoming,
                            outgoing,
                        }),
                        None => keep = None,
                    }
                }
                Frame::Data { stream, fin, bytes } => {
                    if let Some(sender) = open.get(&stream).filter(|_| !bytes.is_empty()) {
                        // An owner that stopped listening does not keep the others from being served.
                        let _ = sender.send(bytes).await;
                    }
                    if fin {
                        open.remove(&stream);
                    }
                }
                Frame::Reset { stream, .. } => drop(open.remove(&stream)),
                Frame::Ping(id) => {
                    if let Some(frames) = writer.upgrade() {
                        frames.send(Frame::Ping(id)).await?;
                    }
                }
                Frame::GoAway | Frame::Reply { .. } | Frame::Other => {}
            }
        }
        tokio::select! {
            n = io.read_buf(&mut buffer) => if n? == 0 { return Ok(()) },
            () = streams.closed(), if keep.is_some() => keep = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn streams_carry_bytes_both_ways() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let mut opened = serve(server);
        let (mut reader, mut writer) = tokio::io::split(client);
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let mut out = BytesMut::new();
        let headers = vec![("streamtype".to_owned(), "data".to_owned())];
        for frame in [
            Frame::Open {
                stream: 1,
                fin: false,
                headers,
            },
            Frame::Data {
                stream: 1,
                fin: false,
                bytes: Bytes::from_static(b"ping"),
            },
            Frame::Data {
                stream: 1,
                fin: true,
                bytes: Bytes::new(),
            },
        ] {
            encoder.encode(&frame, &mut out).expect("encode");
        }
        writer.write_all(&out).await.expect("write");
        let mut stream = opened.recv().await.expect("a stream");
        assert_eq!(stream.header("StreamType"), Some("data"));
        assert_eq!(stream.incoming.recv().await.as_deref(), Some(&b"ping"[..]));
        assert_eq!(stream.incoming.recv().await, None);
        assert!(stream.outgoing.send(Bytes::from_static(b"pong")).await);
        stream.outgoing.finish().await;
        drop(opened);
        let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
        while reader.read_buf(&mut buffer).await.expect("read") > 0 {
            while let Some(frame) = decoder.next(&mut buffer).expect("decode") {
                got.push(frame);
            }
            if got.len() == 3 {
                break;
            }
        }
        let want = [
            Frame::Reply {
                stream: 1,
                fin: false,
                headers: Headers::new(),
            },
            Frame::Data {
                stream: 1,
                fin: false,
                bytes: Bytes::from_static(b"pong"),
            },
            Frame::Data {
                stream: 1,
                fin: true,
                bytes: Bytes::new(),
            },
        ];
        assert_eq!(got, want);
    }

    #[tokio::test]
    async fn streams_that_nobody_takes_are_refused_and_hold_up_no_other() {
        let (client, server) = tokio::io::duplex(1 << 20);
        let mut opened = serve(server);
        let (mut reader, mut writer) = tokio::io::split(client);
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let mut out = BytesMut::new();
        let too_many = 3;
        for number in 0..OPENED as u32 + too_many {
            let open = Frame::Open {
                stream: 2 * number + 1,
                fin: false,
                headers: Headers::new(),
            };
            encoder.encode(&open, &mut out).expect("encode");
        }
        let last = Frame::Data {
            stream: 1,
            fin: false,
            bytes: Bytes::from_static(b"heard"),
        };
        encoder.encode(&last, &mut out).expect("encode");
        writer.write_all(&out).await.expect("write");
        let (mut buffer, mut refused) = (BytesMut::new(), 0);
        while refused < too_many {
            assert!(reader.read_buf(&mut buffer).await.expect("read") > 0);
            while let Some(frame) = decoder.next(&mut buffer).expect("decode") {
                refused +=
                    u32::from(matches!(frame, Frame::Reset { status, .. } if status == REFUSED));
            }
        }
        let mut first = opened.recv().await.expect("a stream");
        assert_eq!(first.incoming.recv().await.as_deref(), Some(&b"heard"[..]));
    }
}
