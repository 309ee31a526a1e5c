//! Which addresses this node is known by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Interfaces that container software makes: their addresses are not the node's.
const VIRTUAL: [&str; 9] = [
    "knarr", "knv", "docker", "br-", "veth", "cni", "flannel", "virbr", "cali",
];

/// The node's addresses, at most one of each family, primary first: what the default route uses as source, else the
/// first global address of an interface that is up. Empty when there is nothing but loopback.
pub fn node_addresses() -> Vec<IpAddr> {
    let v4 = source(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let v6 = source(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
    let routed: Vec<IpAddr> = [v4, v6].into_iter().flatten().collect();
    if !routed.is_empty() {
        return routed;
    }
    let all = interface_addresses();
    let first = |v4: bool| all.iter().copied().find(|ip| ip.is_ipv4() == v4);
    [first(true), first(false)].into_iter().flatten().collect()
}

/// The source address of packets to `target`, an address that is documented to belong to nobody. Nothing is sent.
fn source(target: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((target, 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    is_global(ip).then_some(ip)
}

fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

fn interface_addresses() -> Vec<IpAddr> {
    use nix::net::if_::InterfaceFlags;
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter(|i| {
            i.flags.contains(InterfaceFlags::IFF_UP)
                && !i.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .filter(|i| {
            !VIRTUAL
                .iter()
                .any(|prefix| i.interface_name.starts_with(prefix))
        })
        .filter_map(|i| {
            let address = i.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .filter(|ip| is_global(*ip))
        .collect()
}
