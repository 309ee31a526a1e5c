//! `/exec`, `/attach` and `/run`: commands in running containers, and their own standard streams.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use knarr_runtime::{ContainerStatus, ExecConfig, Streams};

use super::{Body, Query, Server, text};
use crate::{
    context::Context,
    streams::{
        remote::{self, Channel, Remote, Wanted, exit_status},
        spdy, ws,
    },
};

/// How long `/run` waits for a command.
const RUN: Duration = Duration::from_secs(600);

/// Which of the two is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Exec,
    Attach,
}

fn config(query: &Query) -> ExecConfig {
    ExecConfig {
        command: query.all("command"),
        tty: query.is_set(&["tty"]),
        stdin: query.is_set(&["input", "stdin"]),
        stdout: query.is_set(&["output", "stdout"]),
        stderr: query.is_set(&["error", "stderr"]),
    }
}

fn wanted(config: &ExecConfig) -> Wanted {
    Wanted {
        stdin: config.stdin,
        stdout: config.stdout,
        stderr: config.stderr,
        tty: config.tty,
    }
}

/// Upgrades the request and connects the client with the process.
pub async fn answer(
    server: &Server,
    mut request: Request<Incoming>,
    namespace: &str,
    pod: &str,
    container: &str,
    mode: Mode,
) -> Response<Body> {
    let config = config(&Query::of(&request));
    if !(config.stdin || config.stdout || config.stderr) {
        return text(
            StatusCode::BAD_REQUEST,
            "you must specify at least 1 of stdin, stdout, stderr",
        );
    }
    let container = match server.container(namespace, pod, container) {
        Ok(container) => container,
        Err(response) => return response,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let headers = request.headers().clone();
    let (response, carrier) = match negotiate(&headers) {
        Ok(agreed) => agreed,
        Err(response) => return response,
    };
    let ctx = server.ctx.clone();
    tokio::spawn(async move {
        let io = match upgrade.await {
            Ok(io) => TokioIo::new(io),
            Err(error) => return tracing::debug!(%error, "connection not upgraded"),
        };
        let remote = match carrier {
            Carrier::WebSocket(protocol) => {
                Some(remote::on_websocket(ws::server(io).await, protocol))
            }
            Carrier::Spdy => remote::on_spdy(spdy::serve(io), wanted(&config)).await,
        };
        if let Some(remote) = remote {
            run_streams(&ctx, &container, &config, mode, remote).await;
        }
    });
    response
}

async fn run_streams(
    ctx: &Context,
    container: &ContainerStatus,
    config: &ExecConfig,
    mode: Mode,
    remote: Remote,
) {
    let streams: knarr_runtime::Result<Streams> = match mode {
        Mode::Exec => ctx.runtime().exec(&container.id, config).await,
        Mode::Attach => ctx.runtime().attach(&container.id, config).await,
    };
    match streams {
        Ok(streams) => remote::carry(streams, remote).await,
        Err(error) => {
            let Remote { out, writer, .. } = remote;
            let _ = out
                .send((Channel::Error, exit_status(Err(format!("{error:#}")))))
                .await;
            drop(out);
            let _ = writer.await;
        }
    }
}

/// What the streams travel on.
enum Carrier {
    WebSocket(&'static str),
    Spdy,
}

fn negotiate(headers: &HeaderMap) -> Result<(Response<Body>, Carrier), Response<Body>> {
    if ws::is_upgrade(headers) {
        let offered = headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
        let protocol = ws::protocol(headers, &remote::WEBSOCKET);
        return match protocol {
            Some(protocol) => Ok((
                ws::accept(headers, Some(protocol)),
                Carrier::WebSocket(protocol),
            )),
            None if !offered => Ok((
                ws::accept(headers, None),
                Carrier::WebSocket("channel.k8s.io"),
            )),
            None => Err(text(
                StatusCode::BAD_REQUEST,
                "none of the offered subprotocols is spoken here",
            )),
        };
    }
    if is_spdy(headers) {
        return match spdy_protocol(headers, &remote::SPDY) {
            Some(protocol) => Ok((accept_spdy(protocol), Carrier::Spdy)),
            None => Err(text(
                StatusCode::FORBIDDEN,
                "unable to upgrade: unable to negotiate protocol",
            )),
        };
    }
    Err(text(StatusCode::BAD_REQUEST, "Upgrade request required"))
}

/// Whether a request asks for SPDY.
pub fn is_spdy(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"SPDY/3.1"))
}

/// The first of the protocols that the client offers and this server speaks.
pub fn spdy_protocol<'a>(headers: &HeaderMap, spoken: &[&'a str]) -> Option<&'a str> {
    let offers = headers
        .get_all("x-stream-protocol-version")
        .into_iter()
        .filter_map(|v| v.to_str().ok());
    let mut offers = offers.flat_map(|v| v.split(',')).map(str::trim);
    offers.find_map(|o| spoken.iter().find(|s| **s == o).copied())
}

/// The answer that begins a SPDY session.
pub fn accept_spdy(protocol: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(
        "x-stream-protocol-version",
        HeaderValue::from_static(protocol),
    );
    response
}

/// Runs a command to its end and answers with its output.
pub async fn run(
    server: &Server,
    query: &Query,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Response<Body> {
    let container = match server.container(namespace, pod, container) {
        Ok(container) => container,
        Err(response) => return response,
    };
    let command: Vec<String> = query
        .get("cmd")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    match server
        .ctx
        .runtime()
        .exec_sync(&container.id, &command, RUN)
        .await
    {
        Ok(out) => {
            let mut all = out.stdout;
            all.extend(out.stderr);
            let status = if out.exit_code == 0 {
                StatusCode::OK
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            let mut response = text(status, String::new());
            *response.body_mut() = super::full(Bytes::from(all));
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}
