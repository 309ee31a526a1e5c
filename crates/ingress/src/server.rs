//! The listeners: HTTP and HTTPS on the node's own addresses.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Config,
    certificate::{self, Certificates},
    proxy::{Peer, Proxy},
};

const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take for the head of a request, idle connections included.
const HEAD: Duration = Duration::from_secs(75);

/// What the listeners serve, shared with what keeps it current.
#[derive(Clone)]
pub(crate) struct State {
    pub proxy: Arc<Proxy>,
    pub certificates: Arc<Certificates>,
}

/// Bound listeners, ready to serve.
pub struct Server {
    http: TcpListener,
    https: TcpListener,
    state: State,
}

/// Binds both listeners.
///
/// # Errors
/// When an address cannot be bound.
pub async fn bind(config: &Config) -> Result<Server> {
    let listen = async |address: SocketAddr| {
        TcpListener::bind(address)
            .await
            .with_context(|| format!("Ingress cannot listen on {address}"))
    };
    let certificates = Arc::new(Certificates::new()?);
    Ok(Server {
        http: listen(config.http).await?,
        https: listen(config.https).await?,
        state: State {
            proxy: Arc::default(),
            certificates,
        },
    })
}

impl Server {
    pub(crate) fn state(&self) -> State {
        self.state.clone()
    }

    /// Where it listens: HTTP, HTTPS.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.http.local_addr()?, self.https.local_addr()?))
    }

    pub(crate) async fn serve(self) -> Result<()> {
        let acceptor = TlsAcceptor::from(Arc::new(certificate::server_config(
            self.state.certificates.clone(),
        )?));
        let (http, https) = self.addresses()?;
        let plain = accept(&self.http, |stream, from| {
            let peer = Peer {
                address: from,
                tls: false,
                port: http.port(),
            };
            tokio::spawn(connection(stream, self.state.proxy.clone(), peer));
        });
        let secure = accept(&self.https, |stream, from| {
            let peer = Peer {
                address: from,
                tls: true,
                port: https.port(),
            };
            let (acceptor, proxy) = (acceptor.clone(), self.state.proxy.clone());
            tokio::spawn(async move {
                if let Ok(Ok(stream)) =
                    tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await
                {
                    connection(stream, proxy, peer).await;
                }
            });
        });
        tokio::join!(plain, secure);
        Ok(())
    }
}

async fn accept(listener: &TcpListener, start: impl Fn(TcpStream, IpAddr)) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let _ = stream.set_nodelay(true);
                start(stream, from.ip().to_canonical());
            }
            // Out of descriptors, mostly: give others time to close some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    proxy: Arc<Proxy>,
    peer: Peer,
) {
    let begun = Arc::new(Notify::new());
    let first = begun.clone();
    let service = service_fn(move |request| {
        first.notify_one();
        let proxy = proxy.clone();
        async move { Ok::<_, std::convert::Infallible>(proxy.handle(request, peer).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        // A connection that breaks off is the client's affair.
        _ = connection => {}
        () = nothing_in(HEAD, &begun) => {}
    }
}

/// Waits until so much time has gone by without a beginning; for ever when there is one. Which HTTP a client speaks is told by
/// its first bytes, and waiting for those has no end of its own.
async fn nothing_in(time: Duration, begun: &Notify) {
    if tokio::time::timeout(time, begun.notified()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_end_only_when_they_never_begin() {
        let (silent, begun) = (Notify::new(), Notify::new());
        let short = Duration::from_millis(20);
        nothing_in(short, &silent).await;
        begun.notify_one();
        let waited = tokio::time::timeout(short * 5, nothing_in(short, &begun)).await;
        assert!(waited.is_err());
    }
}
