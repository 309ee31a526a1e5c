//! HTTPS: TLS with client certificates, HTTP/1.1 and HTTP/2 by ALPN, upgrades.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
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

async fn connection(
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) {
    let _ = stream.set_nodelay(true);
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
        .max_concurrent_streams(1000)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    builder.http1().half_close(true);
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
