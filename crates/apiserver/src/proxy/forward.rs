//! Sends a request on to a backend as it is, and its answer back; connections that change protocol are joined.

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;

use super::backend::{Backend, passed, uri};
use crate::{
    Outcome,
    body::{self, RequestBody, Response},
    chain::Call,
};

/// Headers between two neighbours, which are not passed on.
const HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Sends a proxy request: what follows `proxy` in its path is the backend's path.
pub async fn to(call: &Call, backend: &Backend, body: RequestBody) -> Outcome<Response> {
    if let Some(redirect) = to_root(call) {
        return Ok(redirect);
    }
    let rest = if call.info.rest.is_empty() {
        "/"
    } else {
        call.info.rest.as_str()
    };
    let query = call
        .uri
        .query()
        .map(|q| format!("?{q}"))
        .unwrap_or_default();
    send(call, backend, &format!("{}{query}", escape(rest)), body).await
}

/// Sends readers to the root of the backend by its slash, as relative links in what they read would lead astray without it.
fn to_root(call: &Call) -> Option<Response> {
    let reads = call.method == Method::GET || call.method == Method::HEAD;
    let upgrades = call.headers.contains_key(header::UPGRADE);
    let path = call.uri.path();
    if !reads || upgrades || !call.info.rest.is_empty() || path.ends_with('/') {
        return None;
    }
    let query = call.uri.query().map(|q| format!("?{q}"));
    let to = format!("{path}/{}", query.unwrap_or_default());
    let mut redirect = Response::new(body::empty());
    *redirect.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let headers = redirect.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_str(&to).ok()?);
    Some(redirect)
}

/// Sends the call to `path_and_query` of the backend.
pub async fn send(
    call: &Call,
    backend: &Backend,
    path_and_query: &str,
    body: RequestBody,
) -> Outcome<Response> {
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = uri(path_and_query)?;
    *request.headers_mut() = passed_on(call, &backend.authority());
    let response = backend.send(&call.shared.kubelets, request).await?;
    Ok(returned(call, response))
}

/// A backend's answer as this server's; connections that changed protocol are joined.
pub fn returned(call: &Call, mut response: http::Response<hyper::body::Incoming>) -> Response {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return join(call, response);
    }
    for name in HOP {
        response.headers_mut().remove(name);
    }
    passed(response)
}

/// The headers of a call for a backend.
pub fn passed_on(call: &Call, host: &str) -> HeaderMap {
    let upgrade = call.headers.get(header::UPGRADE);
    let mut headers = call.headers.clone();
    for name in HOP {
        headers.remove(name);
    }
    headers.remove(header::HOST);
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(header::HOST, host);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade.clone());
    }
    headers
}

/// Joins the client's connection with the backend's, byte for byte, until one of them ends.
fn join(call: &Call, mut response: http::Response<hyper::body::Incoming>) -> Response {
    let backend = hyper::upgrade::on(&mut response);
    let client = call.upgrade.lock().take();
    let stop = call.shared.stop.clone();
    if let Some(client) = client {
        call.shared.tasks.spawn(async move {
            let (client, backend) = match tokio::try_join!(client, backend) {
                Ok(both) => both,
                Err(error) => return tracing::debug!(%error, "upgrading a proxied connection"),
            };
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            tokio::select! {
                () = stop.cancelled() => {}
                ended = tokio::io::copy_bidirectional(&mut client, &mut backend) => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "proxied connection");
                    }
                }
            }
        });
    }
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, body::empty())
}

/// Path segments were decoded for routing; what a URI cannot hold is encoded again.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_again() {
        assert_eq!(escape("/a b/ü%?"), "/a%20b/%C3%BC%25%3F");
    }
}
