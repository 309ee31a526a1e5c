//! Requests that lead out of the API: logs, exec, attach and port-forward to kubelets; proxies to nodes, pods, services.

pub(crate) mod backend;
mod connect;
pub(crate) mod forward;
mod logs;
mod nodes;
mod pods;
mod services;
mod streams;

use std::net::IpAddr;

use http::Method;

pub(crate) use backend::Kubelets;

use crate::{
    Outcome,
    body::{RequestBody, Response},
    chain::Call,
    respond,
    rest::Target,
};

/// Whether such a subresource takes this method.
pub fn takes(name: &str, method: &Method) -> bool {
    match name {
        "log" => method == Method::GET,
        "exec" | "attach" | "portforward" => matches!(*method, Method::GET | Method::POST),
        _ => true,
    }
}

/// # Errors
/// 400, 404, 500, 503: what is wrong with the request, or with where it leads.
pub async fn answer(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let name = target.subresource.as_ref().map_or("", |s| s.name);
    if name != "log" {
        connect::admit(call, target).await?;
    }
    match (target.resource.plural.as_str(), name) {
        ("pods", "log") => logs::answer(call, target).await,
        ("pods", "exec" | "attach" | "portforward") => {
            streams::answer(call, target, name, body).await
        }
        ("nodes", "proxy") => nodes::answer(call, target, body).await,
        ("pods", "proxy") => pods::answer(call, target, body).await,
        ("services", "proxy") => services::answer(call, target, body).await,
        _ => Err(respond::no_such_resource().into()),
    }
}

/// Whether a request may be sent on to an address that an object names: not to this machine itself, nor to what only its
/// own network segment knows.
pub(crate) fn is_allowed(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            !(ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_link_local())
        }
        Ok(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => is_allowed(&ip.to_string()),
            None => {
                !(ip.is_unspecified()
                    || ip.is_loopback()
                    || ip.is_multicast()
                    || ip.is_unicast_link_local())
            }
        },
        Err(_) => false,
    }
}

/// `name`, `name:port` or `scheme:name:port`, as proxies name what they lead to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub scheme: &'a str,
    pub name: &'a str,
    /// Empty when it is not told.
    pub port: &'a str,
}

impl<'a> Named<'a> {
    /// None when there is more to it.
    pub fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme @ ("" | "http" | "https"), name, port] => (scheme, name, port),
            _ => return None,
        };
        (!name.is_empty()).then_some(Named { scheme, name, port })
    }

    pub fn is_https(&self) -> bool {
        self.scheme == "https"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_no_address_of_this_machines_own() {
        for (host, want) in [
            ("10.1.2.3", true),
            ("192.0.2.7", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::1", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("0.0.0.0", false),
            ("localhost", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(host), want, "{host}");
        }
    }

    #[test]
    fn names_hold_scheme_and_port() {
        let named = |scheme, name, port| Some(Named { scheme, name, port });
        assert_eq!(Named::parse("a"), named("", "a", ""));
        assert_eq!(Named::parse("a:web"), named("", "a", "web"));
        assert_eq!(Named::parse("https:a:443"), named("https", "a", "443"));
        for bad in ["a:b:c", "a:b:c:d", ""] {
            assert_eq!(Named::parse(bad), None, "{bad}");
        }
    }
}
