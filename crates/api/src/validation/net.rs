//! IP addresses and CIDR ranges, strict as new API fields are and lenient as old ones must stay.

use std::net::IpAddr;

use super::At;
use crate::field::{Error, Errors};

const BAD_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const BAD_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Parses an address, taking leading zeros in IPv4 octets as decimal as old releases did.
pub fn parse_ip_sloppy(s: &str) -> Option<IpAddr> {
    if let Ok(ip) = s.parse() {
        return Some(ip);
    }
    let octets: Vec<&str> = s.split('.').collect();
    let ok = |o: &&str| !o.is_empty() && o.len() <= 16 && o.bytes().all(|c| c.is_ascii_digit());
    if octets.len() != 4 || !octets.iter().all(ok) {
        return None;
    }
    let plain: Vec<String> = octets
        .iter()
        .map(|o| o.trim_start_matches('0'))
        .map(|o| if o.is_empty() { "0" } else { o }.to_owned())
        .collect();
    plain.join(".").parse().ok()
}

/// Parses a range leniently: host bits and leading zeros are accepted.
pub fn parse_cidr_sloppy(s: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = s.split_once('/')?;
    let ip = parse_ip_sloppy(ip)?;
    if bits.is_empty() || bits.len() > 8 || !bits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let bits: u32 = bits.parse().ok()?;
    let max = if ip.is_ipv4() { 32 } else { 128 };
    (bits <= max).then_some((ip, bits as u8))
}

fn has_leading_zeros(s: &str) -> bool {
    s.contains('.') && !s.contains(':') && s.split('.').any(|o| o.len() > 1 && o.starts_with('0'))
}

/// An address as any field accepts it that has existed for long.
pub fn ip(at: &At, errs: &mut Errors) {
    ip_text(at, at.str(), errs);
}

fn ip_text(at: &At, value: &str, errs: &mut Errors) -> Option<IpAddr> {
    let parsed = parse_ip_sloppy(value);
    if parsed.is_none() {
        errs.push(Error::invalid(&at.path, value, BAD_IP));
    }
    parsed
}

/// An address under the strict rule: no leading zeros, no IPv4 inside IPv6.
pub fn ip_strict(at: &At, errs: &mut Errors) -> Option<IpAddr> {
    let value = at.str();
    let parsed = ip_text(at, value, errs)?;
    if has_leading_zeros(value) {
        errs.push(Error::invalid(&at.path, value, "must not have leading 0s"));
    }
    if is_mapped(parsed) {
        errs.push(Error::invalid(
            &at.path,
            value,
            "must not be an IPv4-mapped IPv6 address",
        ));
    }
    Some(parsed)
}

/// An address that must be written the one right way.
pub fn ip_canonical(at: &At, errs: &mut Errors) -> Option<IpAddr> {
    let before = errs.len();
    let parsed = ip_strict(at, errs)?;
    if errs.len() == before && parsed.to_string() != at.str() {
        errs.push(at.invalid(format!("must be in canonical form (\"{parsed}\")")));
    }
    Some(parsed)
}

/// A range under the strict rule: no leading zeros, no host bits.
pub fn cidr_strict(at: &At, errs: &mut Errors) {
    cidr_text(at, at.str(), true, errs);
}

/// A range as fields accept it that have existed for long.
pub fn cidr(at: &At, errs: &mut Errors) {
    cidr_text(at, at.str(), false, errs);
}

/// A range given as `value`, reported at `at`.
pub fn cidr_text(at: &At, value: &str, strict: bool, errs: &mut Errors) {
    let Some((ip, bits)) = parse_cidr_sloppy(value) else {
        errs.push(Error::invalid(&at.path, value, BAD_CIDR));
        return;
    };
    if !strict {
        return;
    }
    let (head, len) = value.split_once('/').unwrap_or((value, ""));
    let words = if has_leading_zeros(head) || (len.len() > 1 && len.starts_with('0')) {
        "must not have leading 0s in IP or prefix length"
    } else if is_mapped(ip) {
        "must not have an IPv4-mapped IPv6 address"
    } else if network(ip, bits) != ip {
        "must not have bits set beyond the prefix length"
    } else {
        return;
    };
    errs.push(Error::invalid(&at.path, value, words));
}

/// A range that must be written the one right way.
pub fn cidr_canonical(at: &At, errs: &mut Errors) {
    let before = errs.len();
    cidr_strict(at, errs);
    let written = parse_cidr_sloppy(at.str()).map(|(ip, bits)| format!("{ip}/{bits}"));
    if let Some(right) = written.filter(|w| errs.len() == before && w != at.str()) {
        errs.push(at.invalid(format!("must be in canonical form (\"{right}\")")));
    }
}

/// IPv4 inside IPv6.
fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// An address as Go writes it: without the IPv6 around a mapped one.
fn plain(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// Warns of an address that is accepted but not written as it should be.
pub fn ip_warning(at: &At, out: &mut Vec<String>) {
    let (path, value) = (&at.path, at.str());
    let Some(ip) = parse_ip_sloppy(value) else {
        return;
    };
    if has_leading_zeros(value) || is_mapped(ip) {
        let right = plain(ip).to_string();
        out.push(format!(
            "{path}: non-standard IP address {value:?} will be considered invalid in a future Kubernetes release: use {right:?}"
        ));
    } else if ip.is_ipv6() && ip.to_string() != value {
        let right = ip.to_string();
        out.push(format!(
            "{path}: IPv6 address {value:?} should be in RFC 5952 canonical format ({right:?})"
        ));
    }
}

/// Warns of a range that is accepted but not written as it should be.
pub fn cidr_warning(at: &At, out: &mut Vec<String>) {
    let (path, value) = (&at.path, at.str());
    let Some((ip, bits)) = parse_cidr_sloppy(value) else {
        return;
    };
    let (head, len) = value.split_once('/').unwrap_or((value, ""));
    let whole = format!("{}/{bits}", network(ip, bits));
    let before = out.len();
    if network(ip, bits) != ip {
        let alone = format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
        out.push(format!(
            "{path}: CIDR value {value:?} is ambiguous in this context (should be {whole:?} or {alone:?}?)"
        ));
    }
    if has_leading_zeros(head) || (len.len() > 1 && len.starts_with('0')) || is_mapped(ip) {
        out.push(format!(
            "{path}: non-standard CIDR value {value:?} will be considered invalid in a future Kubernetes release: use {whole:?}"
        ));
    }
    if out.len() == before && ip.is_ipv6() && whole != value {
        out.push(format!(
            "{path}: IPv6 CIDR value {value:?} should be in RFC 5952 canonical format ({whole:?})"
        ));
    }
}

/// The first address of the range.
pub fn network(ip: IpAddr, bits: u8) -> IpAddr {
    ipnet::IpNet::new(ip, bits).map_or(ip, |n| n.network())
}

/// An address that an endpoint may have: not loopback, link-local, multicast or unspecified.
pub fn endpoint_ip(at: &At, ip: IpAddr, errs: &mut Errors) {
    let value = ip.to_string();
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0) == 0xfe80,
    };
    let link_multicast = match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => (v6.segments()[0] & 0xff0f) == 0xff02,
    };
    let checks = [
        (
            ip.is_unspecified(),
            format!("may not be unspecified ({value})"),
        ),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
        ),
        (
            link_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
        ),
    ];
    for (bad, words) in checks {
        if bad {
            errs.push(at.invalid(words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn addresses_and_ranges() {
        type Check = fn(&At, &mut Errors);
        let cases: &[(Check, &str, &[&str])] = &[
            (ip, "010.1.1.1", &[]),
            (ip, "1.1.1", &[BAD_IP]),
            (
                |a, e| {
                    ip_strict(a, e);
                },
                "010.1.1.1",
                &["must not have leading 0s"],
            ),
            (
                |a, e| {
                    ip_canonical(a, e);
                },
                "2001:DB8:0::1",
                &["must be in canonical form (\"2001:db8::1\")"],
            ),
            (cidr, "10.1.1.1/8", &[]),
            (cidr, "10.0.0.0/33", &[BAD_CIDR]),
            (
                cidr_strict,
                "192.168.7.7/24",
                &["must not have bits set beyond the prefix length"],
            ),
            (
                cidr_strict,
                "192.168.007.0/24",
                &["must not have leading 0s in IP or prefix length"],
            ),
            (
                cidr_strict,
                "::ffff:1.2.3.4/100",
                &["must not have an IPv4-mapped IPv6 address"],
            ),
            (cidr_strict, "2001:DB8::/64", &[]),
            (
                cidr_canonical,
                "2001:DB8::/64",
                &["must be in canonical form (\"2001:db8::/64\")"],
            ),
        ];
        for (check, value, want) in cases {
            let v = json!(value);
            let mut errs = Errors::new();
            check(&At::new(&v, "x"), &mut errs);
            assert_eq!(
                errs.iter().map(|e| e.detail.as_str()).collect::<Vec<_>>(),
                *want,
                "{value}"
            );
        }
    }

    #[test]
    fn values_that_are_written_oddly() {
        type Warn = fn(&At, &mut Vec<String>);
        let cases: &[(Warn, &str, &[&str])] = &[
            (ip_warning, "10.0.0.1", &[]),
            (ip_warning, "2001:db8::1", &[]),
            (
                ip_warning,
                "2001:DB8::1",
                &[
                    "x: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
                ],
            ),
            (
                cidr_warning,
                "2001:db8:0::/64",
                &[
                    "x: IPv6 CIDR value \"2001:db8:0::/64\" should be in RFC 5952 canonical format (\"2001:db8::/64\")",
                ],
            ),
            (
                cidr_warning,
                "10.1.1.1/8",
                &[
                    "x: CIDR value \"10.1.1.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.1.1.1/32\"?)",
                ],
            ),
        ];
        for (warn, value, want) in cases {
            let (v, mut out) = (json!(value), Vec::new());
            warn(&At::new(&v, "x"), &mut out);
            assert_eq!(out, *want, "{value}");
        }
    }
}
