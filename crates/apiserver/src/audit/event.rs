//! The form of an audit event.

use std::net::IpAddr;

use jiff::Timestamp;
use knarr_json::{Map, Value, json};

use super::policy::Level;
use crate::{authz::Attributes, chain::Call};

/// Time with microseconds, as events have it.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// What is known of a request before it is worked on. Parts that come later are put in by their names.
pub fn of(call: &Call, ask: &Attributes, level: Level, received: Timestamp) -> Map {
    let mut event = Map::new();
    let mut put = |key: &str, value: Value| {
        event.insert(key.to_owned(), value);
    };
    put("kind", "Event".into());
    put("apiVersion", "audit.k8s.io/v1".into());
    put("level", level.as_str().into());
    put("auditID", call.audit_id.as_str().into());
    put("stage", Value::Null);
    let uri = call.uri.path_and_query().map_or("/", |p| p.as_str());
    put("requestURI", uri.into());
    put("verb", ask.verb.as_str().into());
    put("user", ask.user.to_json());
    let ips = source_ips(call);
    if !ips.is_empty() {
        put("sourceIPs", ips.into());
    }
    if let Some(agent) = call
        .header(http::header::USER_AGENT)
        .filter(|a| !a.is_empty())
    {
        put("userAgent", agent.into());
    }
    if ask.is_resource {
        put("objectRef", reference(ask));
    }
    put("requestReceivedTimestamp", time(received).into());
    event
}

fn reference(ask: &Attributes) -> Value {
    let mut out = Map::new();
    for (key, value) in [
        ("resource", &ask.resource),
        ("namespace", &ask.namespace),
        ("name", &ask.name),
        ("apiGroup", &ask.group),
        ("apiVersion", &ask.version),
        ("subresource", &ask.subresource),
    ] {
        if !value.is_empty() {
            out.insert(key, value.as_str().into());
        }
    }
    out.into()
}

/// What proxies say of where a request came from, then where it did come from.
fn source_ips(call: &Call) -> Vec<String> {
    let header = |name: &str| call.headers.get(name).and_then(|v| v.to_str().ok());
    let mut out: Vec<String> = Vec::new();
    let forwarded = header("x-forwarded-for").unwrap_or_default();
    for part in forwarded.split(',').map(str::trim) {
        if part.parse::<IpAddr>().is_ok() {
            out.push(part.to_owned());
        }
    }
    let real = header("x-real-ip").filter(|ip| ip.parse::<IpAddr>().is_ok());
    if let Some(ip) = real.filter(|ip| !out.iter().any(|o| o == ip)) {
        out.push(ip.to_owned());
    }
    if let Some(address) = call.source {
        let ip = address.ip().to_canonical().to_string();
        if out.last() != Some(&ip) {
            out.push(ip);
        }
    }
    out
}

/// An object as it is told: of the type that it has, without its managed fields where the policy says so.
pub fn object(bytes: &[u8], omit_managed_fields: bool) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    if omit_managed_fields {
        strip(&mut value);
    }
    value
        .is_object()
        .then_some(value)
        .or_else(|| serde_json::from_slice(bytes).ok())
}

fn strip(value: &mut Value) {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    for item in value["items"].as_array_mut().into_iter().flatten() {
        if let Some(metadata) = item["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
    }
}

/// The status of an answer that is no Status itself.
pub fn plain_status(code: u16) -> Value {
    json!({"metadata": {}, "code": code})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds() {
        let at = "2026-01-02T03:04:05.000007Z".parse().unwrap();
        assert_eq!(time(at), "2026-01-02T03:04:05.000007Z");
    }

    #[test]
    fn managed_fields_are_left_out() {
        let bytes = br#"{"metadata":{"name":"a","managedFields":[]},"items":[{"metadata":{"managedFields":[]}}]}"#;
        let got = object(bytes, true).unwrap();
        assert_eq!(
            got,
            json!({"metadata": {"name": "a"}, "items": [{"metadata": {}}]})
        );
        assert_eq!(object(b"rubbish", true), None);
        assert_eq!(object(b"[1]", false), Some(json!([1])));
    }
}
