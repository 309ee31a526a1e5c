//! Requests on their way to whoever serves their group.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use hyper::body::Incoming;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::Remote;
use crate::{
    UserInfo,
    body::{RequestBody, Response},
    chain::Call,
    proxy::{backend, forward},
    request::RequestInfo,
    respond, serve,
    server::Shared,
    webhook,
};

/// The remote that answers a request, when one does.
pub(crate) fn find(shared: &Shared, info: &RequestInfo) -> Option<Arc<Remote>> {
    let mut parts = info.path.trim_matches('/').split('/');
    let (Some("apis"), Some(group), Some(version)) = (parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    shared.aggregator.get(group, version)
}

/// Sends a request on as it is, with the user's name on it.
pub(crate) async fn answer(call: &Call, remote: &Remote, body: RequestBody) -> Response {
    if !remote.available {
        return failed(503, "service unavailable");
    }
    if let Err(error) = &remote.connector {
        return failed(500, error);
    }
    let path = call.uri.path_and_query().map_or("/", |p| p.as_str());
    let mut headers = forward::passed_on(call, &remote.server_name());
    identify(&mut headers, &call.user);
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.headers_mut() = headers;
    match path.parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return failed(400, "the path cannot be sent on"),
    }
    match send(&call.shared, remote, request).await {
        Ok(response) => forward::returned(call, response),
        Err(error) => failed(503, &format!("error trying to reach service: {error}")),
    }
}

/// A refusal as the aggregation layer words it: plain text.
fn failed(code: u16, text: &str) -> Response {
    let mut response = respond::text(code, format!("{text}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Says who asks, in the headers that a front proxy is believed by; what a client sent under these names is gone.
pub(super) fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|n| n.as_str().starts_with("x-remote-"))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
    headers.remove(header::AUTHORIZATION);
    let mut tell = |name: &str, value: &str| {
        let name = HeaderName::try_from(name);
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    };
    tell("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        tell("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        tell("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        for value in values {
            tell(&name, value);
        }
    }
}

/// A key as a header's name can hold it: what a name cannot hold is percent-encoded.
fn escaped(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(char::from(byte.to_ascii_lowercase()));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// # Errors
/// Why there was no answer, in the original's words where they are known.
pub(super) async fn send(
    shared: &Shared,
    remote: &Remote,
    request: Request<RequestBody>,
) -> Result<http::Response<Incoming>, String> {
    let connector = remote.connector.as_ref().map_err(Clone::clone)?;
    exchange(shared, remote, connector, request).await
}

/// # Errors
/// As [`send`].
pub(super) async fn exchange(
    shared: &Shared,
    remote: &Remote,
    connector: &tokio_rustls::TlsConnector,
    request: Request<RequestBody>,
) -> Result<http::Response<Incoming>, String> {
    let (host, port) = webhook::resolve(
        &shared.store,
        &remote.namespace,
        &remote.service,
        remote.port,
    )?;
    let dial = TcpStream::connect((host.as_str(), port));
    let stream = match tokio::time::timeout(backend::DIAL, dial).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let why = webhook::dial_words(&error);
            return Err(format!("dial tcp {host}:{port}: {why}"));
        }
        Err(_) => return Err(format!("dial tcp {host}:{port}: i/o timeout")),
    };
    serve::prepare(&stream);
    let name = ServerName::try_from(remote.server_name()).map_err(|e| e.to_string())?;
    let shaken = tokio::time::timeout(backend::HANDSHAKE, connector.connect(name, stream)).await;
    let stream = shaken
        .map_err(|_| backend::HANDSHAKE_TIMEOUT.to_owned())?
        .map_err(|e| webhook::connect_words(&e))?;
    backend::exchange(stream, request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_and_clients_cannot_pretend() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("x-remote-extra-x", HeaderValue::from_static("y"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        let mut user = UserInfo::new("ali", ["forty"]);
        user.extra
            .insert("example.com/Scope".into(), vec!["a".into()]);
        identify(&mut headers, &user);
        assert_eq!(headers["x-remote-user"], "ali");
        let groups: Vec<_> = headers.get_all("x-remote-group").iter().collect();
        assert_eq!(groups, ["forty", "system:authenticated"]);
        assert_eq!(headers["x-remote-extra-example.com%2Fscope"], "a");
        assert!(
            !headers.contains_key("x-remote-extra-x")
                && !headers.contains_key(header::AUTHORIZATION)
        );
    }
}
