//! Connections of HTTP/2 that write in large pieces.
//!
//! HTTP/2 is written frame by frame, and each is flushed on its own: an answer, or 16 KB of a list, would be a TLS record or
//! two and a system call. What a connection writes in one turn is kept together instead, and goes out at the turn's end.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are kept together at most.
const MOST: usize = 64 * 1024;
/// A buffer beyond this is given back when it is empty: most connections are quiet.
const KEPT: usize = 16 * 1024;

/// A stream whose writes are kept together until [`Together::turn_ends`]; clones are the same stream.
pub(crate) struct Together<S>(Arc<Mutex<Inner<S>>>);

struct Inner<S> {
    stream: S,
    /// Whether anything is kept, or all of it handed on at once.
    keeps: bool,
    out: Vec<u8>,
    /// Bytes of `out` that are written.
    written: usize,
    failed: Option<io::ErrorKind>,
}

impl<S> Clone for Together<S> {
    fn clone(&self) -> Self {
        Together(self.0.clone())
    }
}

impl<S: AsyncWrite + Unpin> Together<S> {
    /// `keeps` tells whether writes are kept together; if not, someone else than the caller may use the stream.
    pub fn new(stream: S, keeps: bool) -> Self {
        Together(Arc::new(Mutex::new(Inner {
            stream,
            keeps,
            out: Vec::new(),
            written: 0,
            failed: None,
        })))
    }

    /// Does `work` on the stream, and sends what it wrote each time that it pauses.
    pub async fn drive<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        std::future::poll_fn(|cx| {
            let done = work.as_mut().poll(cx);
            self.turn_ends(cx);
            done
        })
        .await
    }

    fn turn_ends(&self, cx: &mut Context<'_>) {
        let mut inner = self.0.lock();
        if inner.out.is_empty() || inner.failed.is_some() {
            return;
        }
        if let Poll::Ready(Err(error)) = inner.send(cx) {
            // Whoever writes next is told.
            inner.failed = Some(error.kind());
            cx.waker().wake_by_ref();
        }
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    /// Writes and flushes what is kept.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        self.written = 0;
        self.out.clear();
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Makes room for more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if self.out.len() < MOST {
            return Poll::Ready(Ok(()));
        }
        self.send(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Together<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Together<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.lock();
        if !inner.keeps {
            return Pin::new(&mut inner.stream).poll_write_vectored(cx, slices);
        }
        ready!(inner.poll_room(cx))?;
        let before = inner.out.len();
        for slice in slices {
            inner.out.extend_from_slice(slice);
        }
        Poll::Ready(Ok(inner.out.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        let inner = self.0.lock();
        inner.keeps || inner.stream.is_write_vectored()
    }

    /// What is kept waits for the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        match (inner.keeps, inner.failed) {
            (false, _) => Pin::new(&mut inner.stream).poll_flush(cx),
            (true, Some(kind)) => Poll::Ready(Err(kind.into())),
            (true, None) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        if inner.failed.is_none() {
            ready!(inner.send(cx))?;
        }
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn written(keeps: bool, pieces: &[usize]) -> (Vec<u8>, Vec<u8>) {
        // A pipe that takes little at a time.
        let (near, mut far) = tokio::io::duplex(1000);
        let together = Together::new(near, keeps);
        let (mut writer, pieces) = (together.clone(), pieces.to_vec());
        let sent: Vec<u8> = (0..pieces.iter().sum()).map(|n: usize| n as u8).collect();
        let all = sent.clone();
        let writing = tokio::spawn(async move {
            let work = async {
                let mut rest = &all[..];
                for piece in pieces {
                    let (now, later) = rest.split_at(piece);
                    writer.write_all(now).await.unwrap();
                    writer.flush().await.unwrap();
                    rest = later;
                }
                // It pauses, as a connection does; what it wrote is there by then.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                writer.shutdown().await.unwrap();
            };
            tokio::pin!(work);
            together.drive(work).await;
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        (sent, got)
    }

    #[tokio::test]
    async fn everything_goes_out_in_order() {
        for pieces in [
            &[][..],
            &[1],
            &[300; 50],
            &[MOST + 5, 3, MOST, 1],
            &[2000, 0, 7],
        ] {
            for keeps in [true, false] {
                let (sent, got) = written(keeps, pieces).await;
                assert!(sent == got, "{pieces:?} {keeps}");
            }
        }
    }

    #[tokio::test]
    async fn writes_of_a_turn_are_one() {
        let (near, mut far) = tokio::io::duplex(MOST);
        let together = Together::new(near, true);
        let mut writer = together.clone();
        let work = async {
            for _ in 0..10 {
                writer.write_all(b"frame").await.unwrap();
                writer.flush().await.unwrap();
            }
            assert_eq!(writer.0.lock().out.len(), 50);
            tokio::task::yield_now().await;
            assert!(writer.0.lock().out.is_empty());
        };
        tokio::pin!(work);
        together.drive(work).await;
        let mut got = [0; 50];
        assert_eq!(far.read(&mut got).await.unwrap(), 50);
    }

    #[tokio::test]
    async fn whoever_writes_to_what_is_gone_is_told() {
        let (near, far) = tokio::io::duplex(64);
        drop(far);
        let together = Together::new(near, true);
        let mut writer = together.clone();
        let work = async {
            writer.write_all(b"lost").await.unwrap();
            tokio::task::yield_now().await;
            writer.flush().await.unwrap_err();
            writer.write_all(b"more").await.unwrap_err().kind()
        };
        tokio::pin!(work);
        assert_eq!(together.drive(work).await, io::ErrorKind::BrokenPipe);
    }
}
