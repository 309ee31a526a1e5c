//! The table `knarr-network`: masquerading of what leaves the cluster, host ports, and protection of the host's loopback.
//! There is one table for IPv4 and one for IPv6, of the same shape.

use std::net::IpAddr;

use ipnet::IpNet;
use knarr_nft::{Batch, Chain, Element, Family, Field, Hook, Key, KeyType, Rule, Set, Table};
use knarr_runtime::{PortMapping, Protocol};

use crate::record::Record;

/// Name of our tables.
pub const TABLE: &str = "knarr-network";

/// `proto . port` on any address of the node.
const HOST_PORTS: &str = "host-ports";
/// `ip . proto . port` on one address of the node.
const HOST_PORTS_AT: &str = "host-ports-at";
/// Pods with host ports, as `ip . ip`: their way to themselves must look like it came from outside.
const HAIRPIN: &str = "hairpin";

pub fn table(family: Family) -> Table {
    Table::new(family, TABLE)
}

pub fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// Everything of one family, in place of whatever was there.
pub fn rebuild(
    batch: &mut Batch,
    family: Family,
    bridge: &str,
    pods: &[IpNet],
    cluster: &[IpNet],
    records: &[Record],
) {
    let table = table(family);
    let of_family = |nets: &[IpNet]| -> Vec<IpNet> {
        nets.iter()
            .copied()
            .filter(|net| Family::of(net.addr()) == family)
            .collect()
    };
    let pods = of_family(pods);
    let mut inside = of_family(cluster);
    inside.extend(&pods);
    inside.extend(not_outside(family));

    batch.clear_table(&table);
    batch.add_table(&table);
    add_sets(batch, &table, &pods, &inside);
    add_chains(batch, &table, bridge);
    for record in records {
        add_ports(batch, record, family);
    }
}

/// Multicast and broadcast are never masqueraded.
fn not_outside(family: Family) -> Vec<IpNet> {
    let nets: &[&str] = if family == Family::Ipv6 {
        &["ff00::/8"]
    } else {
        &["224.0.0.0/4", "255.255.255.255/32"]
    };
    nets.iter().filter_map(|n| n.parse().ok()).collect()
}

fn add_sets(batch: &mut Batch, table: &Table, pods: &[IpNet], inside: &[IpNet]) {
    let ip = KeyType::address(table.family);
    let target = [ip, KeyType::Port];
    batch.add_set(table, &Set::new("pods", &[ip]).interval());
    batch.add_elements(table, "pods", &Element::networks(pods));
    batch.add_set(table, &Set::new("inside", &[ip]).interval());
    batch.add_elements(table, "inside", &Element::networks(inside));
    batch.add_set(
        table,
        &Set::map(HOST_PORTS, &[KeyType::Proto, KeyType::Port], &target),
    );
    batch.add_set(
        table,
        &Set::map(HOST_PORTS_AT, &[ip, KeyType::Proto, KeyType::Port], &target),
    );
    batch.add_set(table, &Set::new(HAIRPIN, &[ip, ip]));
}

fn add_chains(batch: &mut Batch, table: &Table, bridge: &str) {
    let rule = || Rule::new(table.family);
    let v4 = table.family == Family::Ipv4;

    batch.add_chain(table, &Chain::regular("host-ports"));
    let at = [Field::Daddr, Field::L4proto, Field::Dport];
    let any = [Field::L4proto, Field::Dport];
    batch.add_rule(table, "host-ports", &rule().dnat_map(&at, HOST_PORTS_AT));
    batch.add_rule(table, "host-ports", &rule().dnat_map(&any, HOST_PORTS));

    // After the service proxy's chains, which are at -100: a NodePort wins over a host port.
    batch.add_chain(table, &Chain::nat("prerouting", Hook::Prerouting, -99));
    batch.add_rule(
        table,
        "prerouting",
        &rule().daddr_local().jump("host-ports"),
    );
    batch.add_chain(table, &Chain::nat("output", Hook::Output, -99));
    batch.add_rule(table, "output", &rule().daddr_local().jump("host-ports"));

    batch.add_chain(table, &Chain::nat("postrouting", Hook::Postrouting, 101));
    batch.add_rule(
        table,
        "postrouting",
        &rule()
            .is_in(&[Field::Saddr, Field::Daddr], HAIRPIN)
            .masquerade(),
    );
    if let (true, Ok(loopback)) = (v4, "127.0.0.0/8".parse::<IpNet>()) {
        batch.add_rule(
            table,
            "postrouting",
            &rule().saddr(loopback).oifname(bridge).masquerade(),
        );
        // The bridge routes loopback addresses so that 127.0.0.1:<port> leads to pods; pods must not use that.
        batch.add_chain(table, &Chain::filter("loopback", Hook::Prerouting, -300));
        batch.add_rule(
            table,
            "loopback",
            &rule().iifname(bridge).daddr(loopback).drop(),
        );
        batch.add_rule(
            table,
            "loopback",
            &rule().iifname(bridge).saddr(loopback).drop(),
        );
    }
    let outside = rule()
        .is_in(&[Field::Saddr], "pods")
        .is_not_in(&[Field::Daddr], "inside")
        .oifname_not(bridge);
    batch.add_rule(table, "postrouting", &outside.masquerade());
}

/// One host port of one pod address, as elements of the two maps.
enum Target {
    Anywhere(Element),
    At(Element),
}

fn target(port: &PortMapping, pod: IpAddr) -> Option<Target> {
    let proto = protocol_number(port.protocol);
    let value = Key::new().ip(pod).port(port.container_port);
    match port.host_ip.filter(|ip| !ip.is_unspecified()) {
        None => Some(Target::Anywhere(Element::value(
            &Key::new().proto(proto).port(port.host_port),
            value,
        ))),
        Some(ip) if ip.is_ipv4() == pod.is_ipv4() => Some(Target::At(Element::value(
            &Key::new().ip(ip).proto(proto).port(port.host_port),
            value,
        ))),
        Some(_) => None,
    }
}

/// The host port elements of a record in one family: (everywhere, at one address, hairpin).
fn elements(record: &Record, family: Family) -> (Vec<Element>, Vec<Element>, Vec<Element>) {
    let (mut anywhere, mut at, mut hairpin) = (Vec::new(), Vec::new(), Vec::new());
    for ip in record
        .ips
        .iter()
        .copied()
        .filter(|ip| Family::of(*ip) == family)
    {
        for port in record.ports.iter().filter(|p| p.host_port != 0) {
            match target(port, ip) {
                Some(Target::Anywhere(e)) => anywhere.push(e),
                Some(Target::At(e)) => at.push(e),
                None => {}
            }
        }
        if !anywhere.is_empty() || !at.is_empty() {
            hairpin.push(Element::key(&Key::new().ip(ip).ip(ip)));
        }
    }
    (anywhere, at, hairpin)
}

pub fn add_ports(batch: &mut Batch, record: &Record, family: Family) {
    let (anywhere, at, hairpin) = elements(record, family);
    let table = table(family);
    batch.add_elements(&table, HOST_PORTS, &anywhere);
    batch.add_elements(&table, HOST_PORTS_AT, &at);
    batch.add_elements(&table, HAIRPIN, &hairpin);
}

pub fn remove_ports(batch: &mut Batch, record: &Record, family: Family) {
    let (anywhere, at, hairpin) = elements(record, family);
    let table = table(family);
    batch.delete_elements(&table, HOST_PORTS, &anywhere);
    batch.delete_elements(&table, HOST_PORTS_AT, &at);
    batch.delete_elements(&table, HAIRPIN, &hairpin);
}
