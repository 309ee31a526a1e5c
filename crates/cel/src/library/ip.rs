//! Addresses and networks.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Answer, Native, err, no_overload};
use crate::value::{Opaque, Value};

/// A network: an address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "ip" => |args| match args {
            [Value::String(text)] => {
                address(text.as_str()).map_or_else(err, |ip| Ok(Value::Opaque(Opaque::Ip(ip))))
            }
            [Value::Opaque(Opaque::Cidr(cidr))] => Ok(Value::Opaque(Opaque::Ip(cidr.address))),
            _ => no_overload(),
        },
        "isIP" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(address(text.as_str()).is_ok())),
            _ => no_overload(),
        },
        "ip.isCanonical" => |args| match args {
            [Value::String(text)] => {
                let text = text.as_str();
                address(text).map_or_else(err, |ip| Ok(Value::Bool(ip.to_string() == text)))
            }
            _ => no_overload(),
        },
        "family" => |args| test(args, |ip| Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => |args| test(args, |ip| Value::Bool(ip.is_unspecified())),
        "isLoopback" => |args| test(args, |ip| Value::Bool(ip.is_loopback())),
        "isLinkLocalMulticast" => |args| test(args, |ip| Value::Bool(link_local_multicast(ip))),
        "isLinkLocalUnicast" => |args| test(args, |ip| Value::Bool(link_local_unicast(ip))),
        "isGlobalUnicast" => |args| test(args, |ip| Value::Bool(global_unicast(ip))),
        "cidr" => |args| match args {
            [Value::String(text)] => {
                network(text.as_str()).map_or_else(err, |c| Ok(Value::Opaque(Opaque::Cidr(c))))
            }
            _ => no_overload(),
        },
        "isCIDR" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(network(text.as_str()).is_ok())),
            _ => no_overload(),
        },
        "containsIP" => contains_ip,
        "containsCIDR" => contains_cidr,
        "prefixLength" => |args| match args {
            [Value::Opaque(Opaque::Cidr(cidr))] => Ok(Value::Int(cidr.prefix.into())),
            _ => no_overload(),
        },
        "masked" => |args| match args {
            [Value::Opaque(Opaque::Cidr(cidr))] => Ok(Value::Opaque(Opaque::Cidr(Cidr {
                address: masked(cidr.address, cidr.prefix),
                prefix: cidr.prefix,
            }))),
            _ => no_overload(),
        },
        _ => return None,
    })
}

fn test<'a>(args: &[Value<'a>], f: fn(&IpAddr) -> Value<'static>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Ip(ip))] => Ok(f(ip)),
        _ => no_overload(),
    }
}

/// The bytes of an address.
pub(crate) fn octets(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    if let Some((before, _)) = text.split_once('%')
        && before.parse::<Ipv6Addr>().is_ok()
    {
        return Err(format!(
            "IP address {text:?} with zone value is not allowed"
        ));
    }
    let parsed: Result<IpAddr, _> = text.parse();
    let ip = parsed.map_err(|_| {
        format!("IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP")
    })?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn network(text: &str) -> Result<Cidr, String> {
    let bad = |why: &str| {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}"
        )
    };
    let (ip, prefix) = text.split_once('/').ok_or_else(|| bad("no '/'"))?;
    let parsed: Result<IpAddr, _> = ip.parse();
    let address = parsed.map_err(|_| bad("unable to parse IP"))?;
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(format!("IPv4-mapped IPv6 address {ip:?} is not allowed"));
    }
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits_only = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    if !digits_only || (prefix.len() > 1 && prefix.starts_with('0')) {
        return Err(bad(&format!("bad bits after slash: {prefix:?}")));
    }
    let prefix = prefix.parse().ok().filter(|p| *p <= most);
    let prefix = prefix.ok_or_else(|| bad("prefix length out of range"))?;
    Ok(Cidr { address, prefix })
}

fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask))
        }
    }
}

impl Cidr {
    fn has(&self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4()
            && masked(self.address, self.prefix) == masked(ip, self.prefix)
    }
}

fn contains_ip<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [
            Value::Opaque(Opaque::Cidr(cidr)),
            Value::Opaque(Opaque::Ip(ip)),
        ] => Ok(Value::Bool(cidr.has(*ip))),
        [Value::Opaque(Opaque::Cidr(cidr)), Value::String(text)] => {
            address(text.as_str()).map_or_else(err, |ip| Ok(Value::Bool(cidr.has(ip))))
        }
        _ => no_overload(),
    }
}

fn contains_cidr<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let within = |a: &Cidr, b: &Cidr| Value::Bool(a.prefix <= b.prefix && a.has(b.address));
    match args {
        [
            Value::Opaque(Opaque::Cidr(a)),
            Value::Opaque(Opaque::Cidr(b)),
        ] => Ok(within(a, b)),
        [Value::Opaque(Opaque::Cidr(a)), Value::String(text)] => {
            network(text.as_str()).map_or_else(err, |b| Ok(within(a, &b)))
        }
        _ => no_overload(),
    }
}

fn link_local_multicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_local_unicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn global_unicast(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !broadcast
        && !ip.is_unspecified()
        && !ip.is_loopback()
        && !ip.is_multicast()
        && !link_local_unicast(ip)
}
