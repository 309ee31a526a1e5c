//! UDP has no end of a connection: a client that keeps its socket keeps its flow, and with it an endpoint that is gone.
//! Such flows are taken out of the connection tracking table; the client's next packet finds its way anew.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use knarr_nft::{
    Connection,
    conntrack::{Flow, Tuple},
};

use crate::{
    backend::Diff,
    nftables_family,
    service::{Endpoint, IpFamily, Protocol, ServicePort},
};

const UDP: u8 = 17;

/// Where clients send to, with the endpoints that are right for it.
#[derive(Debug, Default)]
struct Fronts {
    by_ip: HashMap<(IpAddr, u16), HashSet<Endpoint>>,
    by_node_port: HashMap<u16, HashSet<Endpoint>>,
}

impl Fronts {
    /// The UDP addresses of changed Services. Those that only the old state has lead nowhere.
    fn of(diff: &Diff, family: IpFamily) -> Self {
        let mut fronts = Fronts::default();
        let udp = |p: &&ServicePort| p.protocol == Protocol::Udp && p.family == family;
        for change in diff.changes.iter().filter(|c| c.old != c.new) {
            change
                .old
                .iter()
                .filter(udp)
                .for_each(|p| fronts.add(p, &[]));
            change
                .new
                .iter()
                .filter(udp)
                .for_each(|p| fronts.add(p, &p.all_endpoints()));
        }
        fronts
    }

    fn add(&mut self, port: &ServicePort, endpoints: &[Endpoint]) {
        for ip in port.all_external_ips().chain([port.cluster_ip]) {
            self.by_ip
                .entry((ip, port.port))
                .or_default()
                .extend(endpoints);
        }
        if let Some(node_port) = port.node_port {
            self.by_node_port
                .entry(node_port)
                .or_default()
                .extend(endpoints);
        }
    }

    fn is_empty(&self) -> bool {
        self.by_ip.is_empty() && self.by_node_port.is_empty()
    }

    /// Whether a flow goes to one of these addresses but not to one of its endpoints.
    fn is_stale(&self, orig: &Tuple, reply: &Tuple, local: &HashSet<IpAddr>) -> bool {
        if orig.proto != UDP {
            return false;
        }
        let by_node_port = || {
            self.by_node_port
                .get(&orig.dst_port)
                .filter(|_| local.contains(&orig.dst))
        };
        let endpoints = self
            .by_ip
            .get(&(orig.dst, orig.dst_port))
            .or_else(by_node_port);
        endpoints.is_some_and(|e| {
            !e.contains(&Endpoint {
                ip: reply.src,
                port: reply.src_port,
            })
        })
    }
}

/// Forgets the flows that a change of rules has left behind. Failing here is no reason to undo the change.
pub fn forget_stale(nft: &mut Connection, families: &[IpFamily], diff: &Diff) {
    for family in families {
        let fronts = Fronts::of(diff, *family);
        if fronts.is_empty() {
            continue;
        }
        if let Err(error) = forget(nft, *family, &fronts) {
            tracing::warn!(%error, "cannot forget UDP flows to endpoints that are gone");
        }
    }
}

fn forget(nft: &mut Connection, family: IpFamily, fronts: &Fronts) -> knarr_nft::Result<()> {
    let local = if fronts.by_node_port.is_empty() {
        HashSet::new()
    } else {
        local_addresses()
    };
    let stale: Vec<Flow> = nft
        .flows(nftables_family(family))?
        .into_iter()
        .filter(|f| fronts.is_stale(&f.orig, &f.reply, &local))
        .collect();
    stale.iter().try_for_each(|flow| nft.delete_flow(flow))
}

fn local_addresses() -> HashSet<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return HashSet::new();
    };
    interfaces
        .filter_map(|i| {
            let address = i.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect()
}
