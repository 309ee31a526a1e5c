//! Authentication: the first of connection, client certificate and bearer token that tells who asks; then impersonation.

mod impersonate;
pub mod token;
pub mod x509;

use http::header;
use knarr_api::Status;

use crate::{
    Outcome, UserInfo,
    chain::{Call, Peer},
};

/// Paths that anyone may read without telling who they are.
const ANONYMOUS_PATHS: [&str; 3] = ["/livez", "/readyz", "/healthz"];

/// Sets the call's user.
///
/// # Errors
/// 401 for credentials that are none, 403 for impersonation that is not allowed.
pub(crate) fn authenticate(call: &mut Call, peer: &Peer) -> Outcome<()> {
    call.user = identify(call, peer)?;
    // Nobody behind a proxy or in a log needs to see the token.
    call.headers.remove(header::AUTHORIZATION);
    impersonate::apply(call)
}

fn identify(call: &Call, peer: &Peer) -> Outcome<UserInfo> {
    match peer {
        Peer::Local(user) => return Ok((**user).clone()),
        Peer::Remote {
            certified: Some(user),
        } => return Ok((**user).clone()),
        Peer::Remote { certified: None } => {}
    }
    if let Some(token) = bearer(call) {
        return by_token(call, &token);
    }
    let path = call.info.path.as_str();
    if ANONYMOUS_PATHS.contains(&path) {
        return Ok(UserInfo::anonymous());
    }
    Err(Status::unauthorized().into())
}

/// The token of the Authorization header, or of the WebSocket subprotocol that browsers use instead.
fn bearer(call: &Call) -> Option<String> {
    if let Some(value) = call.header(header::AUTHORIZATION) {
        let (scheme, token) = value.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().to_owned());
    }
    let protocols = call.header(header::SEC_WEBSOCKET_PROTOCOL)?;
    let encoded = protocols.split(',').find_map(|p| {
        p.trim()
            .strip_prefix("base64url.bearer.authorization.k8s.io.")
    })?;
    let bytes =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, encoded).ok()?;
    String::from_utf8(bytes).ok()
}

fn by_token(call: &Call, token: &str) -> Outcome<UserInfo> {
    if let Some((_, user)) = call
        .shared
        .static_tokens
        .iter()
        .find(|(known, _)| same(known, token))
    {
        return Ok(user.clone());
    }
    let tokens = call
        .shared
        .tokens
        .as_ref()
        .ok_or_else(Status::unauthorized)?;
    tokens
        .review(&call.shared.store, token, None)
        .map(|r| r.user)
        .map_err(|why| {
            tracing::debug!(%why, "bearer token refused");
            Status::unauthorized().into()
        })
}

/// Comparison whose time tells nothing about where two secrets differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}
