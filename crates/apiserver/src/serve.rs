//! HTTPS: TLS with client certificates, HTTP/1.1 and HTTP/2 by ALPN, upgrades.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{
    chain::{self, Peer, Remote},
    server::Shared,
    tls,
};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection of HTTP/1.1 may wait for the whole head of its next request, as the original's may.
const IDLE: Duration = Duration::from_secs(90);
/// Headers that a request of HTTP/1.1 may have: someone who acts for others names each of their groups in one. What they may
/// have together in bytes bounds both versions.
const HEADERS: usize = 512;
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
    let peer = Peer::Remote(remote.clone());
    let stop = shared.stop.clone();
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let (shared, peer) = (shared.clone(), peer.clone());
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        async move { Ok::<_, std::convert::Infallible>(chain::handle(shared, request, peer).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .max_concurrent_streams(1000)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(HEADERS)
        .half_close(true);
    // What was agreed on is not guessed from bytes that may never come.
    let builder = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => builder.http2_only(),
        _ => builder.http1_only(),
    };
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = remote.leave.notified() => {}
            }
        } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended");
    }
}
