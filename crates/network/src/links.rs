//! Interfaces, addresses and routes, over rtnetlink.

use std::{io, net::IpAddr, os::fd::RawFd};

use anyhow::Context;
use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    Error, Handle, LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{
            AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
        },
        link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
        route::{RouteAttribute, RouteMessage, RouteScope},
    },
};

/// A connection to the kernel's routing subsystem, for the network namespace of the thread that opens it. The current
/// runtime drives it.
pub fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

/// The positive errno of a refused request.
pub fn errno(error: &Error) -> Option<i32> {
    match error {
        Error::NetlinkError(message) => Some(-message.raw_code()),
        _ => None,
    }
}

/// Turns one expected errno into success.
pub fn unless(result: Result<(), Error>, expected: i32) -> Result<(), Error> {
    match result {
        Err(e) if errno(&e) == Some(expected) => Ok(()),
        other => other,
    }
}

/// An interface, as far as we look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub controller: Option<u32>,
    pub is_bridge: bool,
    pub up: bool,
    /// Bytes.
    pub mtu: u32,
}

impl Link {
    fn of(message: &LinkMessage) -> Self {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            controller: None,
            is_bridge: false,
            up: message.header.flags.contains(LinkFlags::Up),
            mtu: 0,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::LinkInfo(info) => {
                    link.is_bridge = info
                        .iter()
                        .any(|i| matches!(i, LinkInfo::Kind(InfoKind::Bridge)));
                }
                _ => {}
            }
        }
        link
    }
}

pub async fn by_name(handle: &Handle, name: &str) -> Result<Option<Link>, Error> {
    let mut found = handle.link().get().match_name(name).execute();
    match found.try_next().await {
        Ok(message) => Ok(message.as_ref().map(Link::of)),
        Err(e) if errno(&e) == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

pub async fn all(handle: &Handle) -> Result<Vec<Link>, Error> {
    let messages: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    Ok(messages.iter().map(Link::of).collect())
}

/// Succeeds when the interface is gone already.
pub async fn delete(handle: &Handle, index: u32) -> Result<(), Error> {
    unless(handle.link().del(index).execute().await, libc::ENODEV)
}

/// A locally administered hardware address that follows from an address, so that it stays the same.
pub fn mac_for(ip: IpAddr) -> Vec<u8> {
    let tail: [u8; 4] = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let o = ip.octets();
            [o[12], o[13], o[14], o[15]]
        }
    };
    [&[0x0a, 0x58][..], &tail].concat()
}

pub async fn create_bridge(
    handle: &Handle,
    name: &str,
    mac: Vec<u8>,
    mtu: u32,
) -> Result<(), Error> {
    let bridge = LinkBridge::new(name).address(mac).mtu(mtu).build();
    unless(handle.link().add(bridge).execute().await, libc::EEXIST)
}

pub async fn set_up(handle: &Handle, index: u32) -> Result<(), Error> {
    handle
        .link()
        .set(LinkUnspec::new_with_index(index).up().build())
        .execute()
        .await
}

/// What a veth pair between the bridge and a sandbox is made of.
pub struct Veth<'a> {
    pub name: &'a str,
    pub bridge: u32,
    /// Bytes.
    pub mtu: u32,
    /// The sandbox's namespace.
    pub netns: RawFd,
    pub peer: &'a str,
    pub peer_mac: Vec<u8>,
}

/// Makes the pair in one request: one end a port of the bridge, the other inside the sandbox under its final name.
pub async fn create_veth(handle: &Handle, veth: Veth<'_>) -> Result<(), Error> {
    // The peer cannot be up before the pair is complete; that comes with its addresses.
    let peer = LinkUnspec::new_with_name(veth.peer)
        .address(veth.peer_mac)
        .mtu(veth.mtu)
        .setns_by_fd(veth.netns)
        .build();
    let link = LinkVeth::new(veth.name, veth.peer)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .mtu(veth.mtu)
        .controller(veth.bridge)
        .up()
        .build();
    handle.link().add(link).execute().await
}

/// Lets a bridge port send frames back to where they came from.
pub async fn set_hairpin(handle: &Handle, port: u32) -> Result<(), Error> {
    handle
        .link()
        .set_port(LinkBridgePort::new(port).hairpin(true).build())
        .execute()
        .await
}

/// Addresses of an interface, with those of link scope.
pub async fn addresses(handle: &Handle, index: u32) -> Result<Vec<AddressMessage>, Error> {
    handle
        .address()
        .get()
        .set_link_index_filter(index)
        .execute()
        .try_collect()
        .await
}

pub fn net_of(message: &AddressMessage) -> Option<IpNet> {
    let ip = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    })?;
    IpNet::new(ip, message.header.prefix_len).ok()
}

/// Usable at once: IPv6 does not first ask whether others have the address.
pub async fn add_address(handle: &Handle, index: u32, net: IpNet) -> Result<(), Error> {
    let mut request = handle.address().add(index, net.addr(), net.prefix_len());
    if net.addr().is_ipv6() {
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    unless(request.execute().await, libc::EEXIST)
}

/// Brings the addresses of an interface of ours to exactly `wanted`; the kernel's own link-local address stays.
pub async fn keep_addresses(handle: &Handle, index: u32, wanted: &[IpNet]) -> Result<(), Error> {
    for message in addresses(handle, index).await? {
        let link_local = message.header.scope == AddressScope::Link;
        if !link_local && net_of(&message).is_some_and(|net| !wanted.contains(&net)) {
            unless(
                handle.address().del(message).execute().await,
                libc::EADDRNOTAVAIL,
            )?;
        }
    }
    for net in wanted {
        add_address(handle, index, *net).await?;
    }
    Ok(())
}

fn route(net: IpNet, index: u32) -> anyhow::Result<RouteMessageBuilder<IpAddr>> {
    let builder = RouteMessageBuilder::<IpAddr>::new().output_interface(index);
    builder
        .destination_prefix(net.addr(), net.prefix_len())
        .context("bad destination of a route")
}

/// `net` is reached directly on the interface; `source` is what the host's own packets come from.
pub async fn add_link_route(
    handle: &Handle,
    net: IpNet,
    index: u32,
    source: Option<IpAddr>,
) -> anyhow::Result<()> {
    let mut builder = route(net, index)?;
    if net.addr().is_ipv4() {
        builder = builder.scope(RouteScope::Link);
    }
    if let Some(source) = source {
        builder = builder
            .pref_source(source)
            .context("bad source of a route")?;
    }
    unless(
        handle.route().add(builder.build()).execute().await,
        libc::EEXIST,
    )
    .with_context(|| format!("cannot add route to {net}"))
}

pub async fn add_default_route(handle: &Handle, gateway: IpAddr, index: u32) -> anyhow::Result<()> {
    let any = if gateway.is_ipv4() {
        "0.0.0.0/0"
    } else {
        "::/0"
    };
    let builder = route(any.parse()?, index)?
        .gateway(gateway)
        .context("bad gateway")?
        .onlink();
    unless(
        handle.route().add(builder.build()).execute().await,
        libc::EEXIST,
    )
    .with_context(|| format!("cannot add default route by {gateway}"))
}

/// The interface of the default route. IPv4 first.
pub async fn default_interface(handle: &Handle) -> Result<Option<u32>, Error> {
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut ask = RouteMessage::default();
        ask.header.address_family = family;
        let routes: Vec<RouteMessage> = handle.route().get(ask).execute().try_collect().await?;
        let default = routes
            .iter()
            .find(|r| r.header.destination_prefix_length == 0 && r.header.table == 254);
        let oif = default.and_then(|r| {
            r.attributes.iter().find_map(|a| match a {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            })
        });
        if oif.is_some() {
            return Ok(oif);
        }
    }
    Ok(None)
}
