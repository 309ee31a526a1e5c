//! HTTPS: TLS with client certificates, HTTP/1.1 and HTTP/2 by ALPN, upgrades.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use parking_lot::Mutex;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    body::{BoxError, RequestBody, Response, ResponseBody},
    chain::{self, Peer, Remote},
    server::Shared,
    tls,
};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may go without a request, as the original's may; one of HTTP/1.1 must have the whole head of its
/// next request by then.
const IDLE: Duration = Duration::from_secs(90);
/// How long a connection that is asked to end may stay without a request.
const FAREWELL: Duration = Duration::from_secs(5);
/// Headers that a request of HTTP/1.1 may have: someone who acts for others names each of their groups in one. What they may
/// have together in bytes bounds both versions.
const HEADERS: usize = 512;
/// Bytes that the headers of a request of HTTP/2 may have, as the original allows.
const HEADER_BYTES: u32 = 1 << 20;
/// A client that is gone without a word holds watches and streams no longer than this.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_SECONDS: u32 = 30;
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(30);

/// What the server shows clients.
pub struct Tls {
    /// Leaf first.
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// Accepts connections until the server stops.
pub(crate) async fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    shown: Tls,
) -> Result<(), rustls::Error> {
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&shared, shown)?));
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let connection = connection(shared.clone(), acceptor.clone(), stream, address);
                shared.tasks.spawn(connection);
            }
            Err(error) => {
                // Out of descriptors, mostly: give others time to close some.
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// What every connection gets, those to backends, too. Streams may be quiet for hours: the kernel finds out when the other end
/// is gone without a word. An option that cannot be set costs no more than that.
pub(crate) fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &KEEP_ALIVE_SECONDS);
    let _ = setsockopt(stream, sockopt::TcpKeepInterval, &KEEP_ALIVE_SECONDS);
    let _ = setsockopt(stream, sockopt::TcpKeepCount, &3);
}

async fn connection(
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) {
    prepare(&stream);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake"),
        Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
    };
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let remote = Arc::new(Remote {
        address,
        certificate: shared.authorities.load().judge(shown),
        leave: tokio::sync::Notify::new(),
    });
    // What was agreed on is not guessed from bytes that may never come.
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => http::Version::HTTP_2,
        _ => http::Version::HTTP_11,
    };
    let (peer, stop) = (Peer::Remote(remote.clone()), shared.stop.clone());
    let answer =
        move |request: Request<RequestBody>| chain::handle(shared.clone(), request, peer.clone());
    let leave = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = remote.leave.notified() => {}
        }
    };
    if let Err(error) = converse(stream, version, IDLE, answer, leave).await {
        tracing::debug!(%address, %error, "connection ended");
    }
}

/// Answers the requests of a connection until its client leaves or has none for as long as `idle`, or `leave` is done.
///
/// What was agreed on by TLS is not guessed from bytes again: they may never come.
async fn converse<S, A, F>(
    stream: S,
    version: http::Version,
    idle: Duration,
    answer: A,
    leave: impl Future<Output = ()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response> + Send + 'static,
{
    match version {
        http::Version::HTTP_2 => over_http2(stream, idle, answer, leave).await,
        _ => over_http1(stream, idle, answer, leave).await,
    }
}

async fn over_http1<S, A, F>(
    stream: S,
    idle: Duration,
    answer: A,
    leave: impl Future<Output = ()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response> + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let answered = answer(request.map(boxed));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_headers(HEADERS)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = leave => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn over_http2<S, A, F>(
    stream: S,
    idle: Duration,
    answer: A,
    leave: impl Future<Output = ()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response> + Send + 'static,
{
    let open = Arc::new(Open::default());
    let service = service_fn(|request: Request<Incoming>| {
        let (answered, one) = (answer(request.map(boxed)), open.one());
        async move {
            let response = answered.await;
            Ok::<_, Infallible>(response.map(|body| Held { body, _one: one }))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .max_concurrent_streams(1000)
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = leave => {}
        () = open.none_for(idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => ended,
        // A client that never began, or does not answer.
        () = open.none_for(idle.min(FAREWELL)) => Ok(()),
    }
}

fn boxed(body: Incoming) -> RequestBody {
    body.map_err(Into::into).boxed_unsync()
}

/// The requests that a connection of HTTP/2 has open. On one of HTTP/1.1 the next head may be late; here nothing is.
struct Open {
    count: AtomicUsize,
    /// Since when it has none.
    none_since: Mutex<Instant>,
}

impl Default for Open {
    fn default() -> Self {
        Open {
            count: AtomicUsize::new(0),
            none_since: Mutex::new(Instant::now()),
        }
    }
}

impl Open {
    /// Counts a request as long as what this gives is kept.
    fn one(self: &Arc<Self>) -> One {
        self.count.fetch_add(1, Ordering::Relaxed);
        One(self.clone())
    }

    /// Waits until there was no request for so long, seen from now on or from the last one.
    async fn none_for(&self, long: Duration) {
        let mut until = Instant::now() + long;
        loop {
            tokio::time::sleep_until(until).await;
            let now = Instant::now();
            if self.count.load(Ordering::Relaxed) > 0 {
                until = now + long;
                continue;
            }
            until = *self.none_since.lock() + long;
            if until <= now {
                return;
            }
        }
    }
}

/// A request that is open.
struct One(Arc<Open>);

impl Drop for One {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.0.none_since.lock() = Instant::now();
        }
    }
}

/// The body of an answer, whose request is open until it is sent.
struct Held {
    body: ResponseBody,
    _one: One,
}

impl Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::Version;
    use http_body_util::{Empty, StreamBody};
    use hyper::client;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::JoinHandle,
    };

    use super::*;

    const IDLE: Duration = Duration::from_millis(300);

    /// Answers at once, or with a stream that tells nothing and does not end.
    async fn answer(request: Request<RequestBody>) -> Response {
        if request.uri().path() != "/watch" {
            return Response::new(crate::body::full(request.uri().path().to_owned()));
        }
        let nothing = futures::stream::pending::<Result<Frame<Bytes>, BoxError>>();
        Response::new(StreamBody::new(nothing).boxed_unsync())
    }

    fn serve(version: Version) -> (DuplexStream, JoinHandle<hyper::Result<()>>) {
        let (client, server) = duplex(1 << 16);
        let leave = std::future::pending();
        let served = converse(server, version, IDLE, answer, leave);
        (client, tokio::spawn(served))
    }

    /// The end of a connection, which must come.
    async fn ended(served: JoinHandle<hyper::Result<()>>) -> hyper::Result<()> {
        let end = tokio::time::timeout(IDLE * 60, served).await;
        end.expect("the connection ends").unwrap()
    }

    #[tokio::test]
    async fn who_says_nothing_is_left() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let (client, served) = serve(version);
            let _ = ended(served).await;
            drop(client);
        }
    }

    #[tokio::test]
    async fn who_says_too_little_is_left() {
        let (mut client, served) = serve(Version::HTTP_11);
        client.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        let trickle = async {
            while client.write_all(b"y").await.is_ok() {
                tokio::time::sleep(IDLE / 6).await;
            }
        };
        // It goes on with its head for ever, and is left all the same.
        tokio::select! {
            () = trickle => {}
            _ = ended(served) => {}
        }
    }

    #[tokio::test]
    async fn who_has_a_request_is_stayed_with() {
        let (client, served) = serve(Version::HTTP_2);
        let (mut sender, connection) =
            client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
                .await
                .unwrap();
        let client = tokio::spawn(connection);
        let get = |path: &str| Request::get(path).body(Empty::<Bytes>::new()).unwrap();
        let watch = sender.send_request(get("https://a/watch")).await.unwrap();
        tokio::time::sleep(IDLE * 4).await;
        assert!(!served.is_finished() && sender.is_ready());
        let other = sender.send_request(get("https://a/b")).await.unwrap();
        assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "/b");
        drop(watch);
        let _ = ended(served).await;
        let _ = client.await.unwrap();
    }

    #[tokio::test]
    async fn answers_come_in_the_order_of_requests() {
        let (mut client, served) = serve(Version::HTTP_11);
        let asked: String = (0..500)
            .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .collect();
        let (mut read, mut write) = tokio::io::split(&mut client);
        let sent = async {
            write.write_all(asked.as_bytes()).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut told = String::new();
        let (_, got) = tokio::join!(sent, read.read_to_string(&mut told));
        got.unwrap();
        let paths: Vec<&str> = told
            .lines()
            .filter_map(|line| line.strip_prefix('/'))
            .collect();
        let paths: Vec<&str> = paths
            .iter()
            .map(|p| p.trim_end_matches("HTTP/1.1 200 OK"))
            .collect();
        let wanted: Vec<String> = (0..500).map(|n| n.to_string()).collect();
        assert_eq!(paths, wanted);
        ended(served).await.unwrap();
    }
}
