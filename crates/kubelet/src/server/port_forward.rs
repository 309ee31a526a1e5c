//! `/portForward`: TCP connections into a pod's network, as SPDY streams, directly or inside a WebSocket.

use std::{collections::HashMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use super::{
    Body, Server,
    exec::{accept_spdy, is_spdy, spdy_protocol},
    text,
};
use crate::{
    context::Context,
    streams::{
        spdy::{self, Outgoing, Stream},
        ws,
    },
};

const PLAIN: &str = "portforward.k8s.io";
const TUNNELED: &str = "SPDY/3.1+portforward.k8s.io";
const BLOCK: usize = 32 * 1024;

/// Upgrades the request and serves its streams.
pub async fn answer(
    server: &Server,
    mut request: Request<Incoming>,
    namespace: &str,
    pod: &str,
) -> Response<Body> {
    let Some(found) = server.pods.find(namespace, pod) else {
        return text(
            StatusCode::NOT_FOUND,
            format!("pod \"{pod}\" does not exist"),
        );
    };
    let uid = found.metadata.uid.as_deref().unwrap_or_default();
    let Some(sandbox) = server
        .ctx
        .view
        .observe(uid)
        .ready_sandbox()
        .map(|s| s.id.clone())
    else {
        return text(
            StatusCode::NOT_FOUND,
            format!("pod \"{pod}\" is not running"),
        );
    };
    let headers = request.headers().clone();
    let upgrade = hyper::upgrade::on(&mut request);
    let tunneled = ws::is_upgrade(&headers);
    let response = if tunneled {
        match ws::protocol(&headers, &[TUNNELED]) {
            Some(protocol) => ws::accept(&headers, Some(protocol)),
            None => {
                return text(
                    StatusCode::BAD_REQUEST,
                    format!("only the subprotocol {TUNNELED} is spoken here"),
                );
            }
        }
    } else if is_spdy(&headers) && spdy_protocol(&headers, &[PLAIN]).is_some() {
        accept_spdy(PLAIN)
    } else {
        return text(StatusCode::BAD_REQUEST, "Upgrade request required");
    };
    let ctx = server.ctx.clone();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(io) if tunneled => {
                serve(
                    ctx,
                    sandbox,
                    spdy::serve(ws::Tunnel::new(ws::server(TokioIo::new(io)).await)),
                )
                .await
            }
            Ok(io) => serve(ctx, sandbox, spdy::serve(TokioIo::new(io))).await,
            Err(error) => tracing::debug!(%error, "connection not upgraded"),
        }
    });
    response
}

/// Pairs the streams of each forwarded connection by their request id.
async fn serve(ctx: Arc<Context>, sandbox: String, mut streams: mpsc::Receiver<Stream>) {
    let mut halves: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = streams.recv().await {
        let port = stream.header("port").unwrap_or_default().to_owned();
        // Old clients send no id: then one port carries one connection at a time.
        let id = stream
            .header("requestid")
            .map_or_else(|| port.clone(), str::to_owned);
        let is_data = |s: &Stream| s.header("streamtype") == Some("data");
        let Some(other) = halves.remove(&id) else {
            halves.insert(id, stream);
            continue;
        };
        let (data, error) = match (is_data(&stream), is_data(&other)) {
            (true, false) => (stream, other),
            (false, true) => (other, stream),
            _ => {
                stream.outgoing.reset().await;
                other.outgoing.reset().await;
                continue;
            }
        };
        tokio::spawn(forward(ctx.clone(), sandbox.clone(), port, data, error));
    }
}

async fn forward(ctx: Arc<Context>, sandbox: String, port: String, data: Stream, error: Stream) {
    let mut tell = error.outgoing;
    let connected = match port.parse::<u16>() {
        Ok(number) => ctx
            .runtime()
            .port_forward(&sandbox, number)
            .await
            .map_err(|e| format!("{e:#}")),
        Err(_) => Err(format!("invalid port {port:?}")),
    };
    match connected {
        Ok(tcp) => {
            copy(tcp, data.incoming, data.outgoing).await;
            tell.finish().await;
        }
        Err(why) => {
            let message = format!("error forwarding port {port} to pod {sandbox}: {why}");
            tell.send(Bytes::from(message)).await;
            tell.finish().await;
            data.outgoing.reset().await;
        }
    }
}

async fn copy(tcp: TcpStream, mut from_client: mpsc::Receiver<Bytes>, mut to_client: Outgoing) {
    let _ = tcp.set_nodelay(true);
    let (mut reader, mut writer) = tcp.into_split();
    let up = async move {
        while let Some(bytes) = from_client.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    let down = async move {
        let mut buffer = BytesMut::with_capacity(BLOCK);
        loop {
            buffer.reserve(BLOCK);
            match reader.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => {}
                _ => break,
            }
            if !to_client.send(buffer.split().freeze()).await {
                return;
            }
        }
        to_client.finish().await;
    };
    // Once the server's side is done nobody listens to the client any more.
    let up = tokio::spawn(up);
    down.await;
    up.abort();
}
