//! Warnings about addresses and ranges that are fine but not written the one right way.

use std::net::IpAddr;

use super::{At, net};

/// Whether a stricter reader would take this address: no leading zeros, no IPv4 inside IPv6.
fn is_plain(text: &str) -> bool {
    text.parse::<IpAddr>()
        .is_ok_and(|ip| !matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()))
}

/// An address inside IPv6 as what it is.
fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        v4 => v4,
    }
}

/// Warns about an address.
pub fn ip(at: &At) -> Option<String> {
    let (value, path) = (at.str(), &at.path);
    let parsed = net::parse_ip_sloppy(value)?;
    if !is_plain(value) {
        let right = unmapped(parsed).to_string();
        return Some(format!(
            "{path}: non-standard IP address {value:?} will be considered invalid in a future Kubernetes release: use {right:?}"
        ));
    }
    let right = parsed.to_string();
    (parsed.is_ipv6() && right != value).then(|| {
        format!("{path}: IPv6 address {value:?} should be in RFC 5952 canonical format ({right:?})")
    })
}

/// Warns about a range.
pub fn cidr(at: &At) -> Vec<String> {
    let (value, path) = (at.str(), &at.path);
    let Some((ip, bits)) = net::parse_cidr_sloppy(value) else {
        return Vec::new();
    };
    let network = net::network(ip, bits);
    let range = format!("{network}/{bits}");
    let mut out = Vec::new();
    if network != ip {
        let single = format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
        out.push(format!(
            "{path}: CIDR value {value:?} is ambiguous in this context (should be {range:?} or {single:?}?)"
        ));
    }
    let (head, length) = value.split_once('/').unwrap_or((value, ""));
    if !is_plain(head) || (length.len() > 1 && length.starts_with('0')) {
        out.push(format!(
            "{path}: non-standard CIDR value {value:?} will be considered invalid in a future Kubernetes release: use {range:?}"
        ));
    }
    if out.is_empty() && ip.is_ipv6() && range != value {
        out.push(format!(
            "{path}: IPv6 CIDR value {value:?} should be in RFC 5952 canonical format ({range:?})"
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn what_is_not_canonical() {
        for (value, want) in [
            ("10.0.0.1", None),
            (
                "010.0.0.1",
                Some(
                    "non-standard IP address \"010.0.0.1\" will be considered invalid in a future Kubernetes release: use \"10.0.0.1\"",
                ),
            ),
            (
                "FD00::1",
                Some(
                    "IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
                ),
            ),
        ] {
            let v = json!(value);
            assert_eq!(ip(&At::new(&v, "x")), want.map(|w| format!("x: {w}")));
        }
        let v = json!("10.1.2.3/8");
        assert_eq!(
            cidr(&At::new(&v, "x")),
            [
                "x: CIDR value \"10.1.2.3/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.1.2.3/32\"?)"
            ]
        );
    }
}
