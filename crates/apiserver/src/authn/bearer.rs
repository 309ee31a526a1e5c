//! Where bearer tokens stand: in the Authorization header, or among the subprotocols of a WebSocket, as browsers cannot set
//! the header.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};

use super::text_of;

/// What a subprotocol that carries a token begins with.
const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The token of a request. Subprotocols count on a `websocket` only.
///
/// # Errors
/// What is wrong with the subprotocols.
pub fn token(headers: &HeaderMap, websocket: bool) -> Result<Option<String>, &'static str> {
    if let Some(token) = headers.get(header::AUTHORIZATION).and_then(of_header) {
        return Ok(Some(token));
    }
    if !websocket {
        return Ok(None);
    }
    let all = protocols(headers);
    let mut carried = all.iter().filter_map(|p| p.strip_prefix(PROTOCOL));
    let Some(encoded) = carried.next() else {
        return Ok(None);
    };
    if carried.next().is_some() {
        return Err("multiple base64.bearer.authorization tokens specified");
    }
    let token = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| "invalid base64.bearer.authorization token encoding")?;
    let token =
        String::from_utf8(token).map_err(|_| "invalid base64.bearer.authorization token")?;
    match all.iter().any(|p| !p.starts_with(PROTOCOL)) {
        // The server must have another one to choose, as it never chooses this.
        false if !token.is_empty() => Err("missing additional subprotocol"),
        _ => Ok(Some(token).filter(|t| !t.is_empty())),
    }
}

fn of_header(value: &HeaderValue) -> Option<String> {
    let value = text_of(value);
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

fn protocols(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let all = all.map(text_of).collect::<Vec<_>>().join(",");
    all.split(',').map(|p| p.trim().to_owned()).collect()
}

/// Takes tokens out of the headers: nobody behind a proxy or in a log needs to see them.
pub fn strip(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let all = protocols(headers);
    let rest: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .filter(|p| !p.starts_with(PROTOCOL))
        .collect();
    if rest.len() == all.len() {
        return;
    }
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(rest) = HeaderValue::from_str(&rest.join(","))
        && !rest.is_empty()
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let mut out = HeaderMap::new();
        for (name, value) in list {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            out.append(name, value.parse().unwrap());
        }
        out
    }

    #[test]
    fn tokens_are_found_where_they_may_stand() {
        let protocol = |list: &str| headers(&[("sec-websocket-protocol", list)]);
        let with = |token: &str| format!("{PROTOCOL}{token}");
        let table = [
            (
                headers(&[("authorization", "Bearer t ")]),
                false,
                Ok(Some("t")),
            ),
            (headers(&[("authorization", "bearer")]), false, Ok(None)),
            (headers(&[("authorization", "Basic t")]), true, Ok(None)),
            (
                protocol(&format!("v5.channel.k8s.io, {}", with("dA"))),
                true,
                Ok(Some("t")),
            ),
            (protocol(&format!("x,{}", with("dA"))), false, Ok(None)),
            (protocol("x,y"), true, Ok(None)),
            (
                protocol(&with("dA")),
                true,
                Err("missing additional subprotocol"),
            ),
            (
                protocol(&format!("x,{0},{0}", with("dA"))),
                true,
                Err("multiple base64.bearer.authorization tokens specified"),
            ),
            (
                protocol(&format!("x,{}", with("*"))),
                true,
                Err("invalid base64.bearer.authorization token encoding"),
            ),
        ];
        for (headers, websocket, want) in table {
            let got = token(&headers, websocket);
            assert_eq!(
                got.as_ref().map(Option::as_deref),
                want.as_ref().copied(),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn tokens_are_taken_out_and_the_rest_stays() {
        let token = format!("{PROTOCOL}dA");
        let mut sent = headers(&[
            ("authorization", "Bearer t"),
            ("sec-websocket-protocol", &format!("a, {token}")),
            ("sec-websocket-protocol", "b"),
        ]);
        strip(&mut sent);
        assert_eq!(sent, headers(&[("sec-websocket-protocol", "a,b")]));
        let mut alone = headers(&[("sec-websocket-protocol", &token)]);
        strip(&mut alone);
        assert!(alone.is_empty());
        let mut others = headers(&[("sec-websocket-protocol", "a, b")]);
        strip(&mut others);
        assert_eq!(others["sec-websocket-protocol"], "a, b");
    }
}
