//! What our tables hold besides Services: hooks, shared maps and the way into them.

use ipnet::IpNet;
use knarr_nft::{
    Batch, Chain, CtState, Element, Field, Hook, KeyType, Reject, Rule, Set, Table, Verdict,
};

use super::names::{CLUSTER_CIDRS, MASQUERADE_BIT, Map, REJECT, SERVICES, table};
use crate::service::IpFamily;

/// Before destinations are changed (which is at -100), and after.
const BEFORE_DNAT: i32 = -110;
const DNAT: i32 = -100;
const AFTER_DNAT: i32 = -90;
const SNAT: i32 = 100;

const IP_KEY: [Field; 3] = [Field::Daddr, Field::L4proto, Field::Dport];
const PORT_KEY: [Field; 2] = [Field::L4proto, Field::Dport];

/// A new table of one family, in place of what was there.
pub fn rebuild(batch: &mut Batch, family: IpFamily, cluster_cidrs: &[IpNet]) {
    let table = table(family);
    batch.clear_table(&table);
    batch.add_table(&table);
    add_sets(batch, &table, cluster_cidrs);
    add_shared_chains(batch, &table);
    add_filters(batch, &table);
    add_nat(batch, &table);
}

fn add_sets(batch: &mut Batch, table: &Table, cluster_cidrs: &[IpNet]) {
    let ip = KeyType::address(table.family);
    for map in Map::ALL {
        batch.add_set(
            table,
            &match map {
                Map::ClusterIps => Set::new(map.name(), &[ip]),
                Map::NodePorts | Map::NoEndpointsNodePorts => {
                    Set::verdict_map(map.name(), &[KeyType::Proto, KeyType::Port])
                }
                _ => Set::verdict_map(map.name(), &[ip, KeyType::Proto, KeyType::Port]),
            },
        );
    }
    let ours = |net: &&IpNet| knarr_nft::Family::of(net.addr()) == table.family;
    let cidrs: Vec<IpNet> = cluster_cidrs.iter().filter(ours).copied().collect();
    batch.add_set(table, &Set::new(CLUSTER_CIDRS, &[ip]).interval());
    batch.add_elements(table, CLUSTER_CIDRS, &Element::networks(&cidrs));
}

/// A rule for packets to the node's own addresses. IPv6 loopback is left out: it cannot be routed to a pod, and a refused
/// connection lets clients go on to 127.0.0.1.
fn to_this_node(table: &Table) -> Rule {
    let rule = Rule::new(table.family);
    match (table.family, "::1/128".parse()) {
        (knarr_nft::Family::Ipv6, Ok(loopback)) => rule.daddr_not(loopback).daddr_local(),
        _ => rule.daddr_local(),
    }
}

fn add_shared_chains(batch: &mut Batch, table: &Table) {
    let rule = || Rule::new(table.family);
    let mut chain = |name: &str, rules: Vec<Rule>| {
        batch.add_chain(table, &Chain::regular(name));
        rules.iter().for_each(|r| batch.add_rule(table, name, r));
    };
    // A local client's TCP takes no notice of ICMP while it connects, but of a reset at once.
    chain(
        REJECT,
        vec![
            rule().l4proto(6).reject(Reject::TcpReset),
            rule().reject(Reject::PortUnreachable),
        ],
    );
    chain(
        SERVICES,
        vec![
            rule().vmap(&IP_KEY, Map::ServiceIps.name()),
            to_this_node(table).vmap(&PORT_KEY, Map::NodePorts.name()),
        ],
    );
    chain(
        "no-endpoints-check",
        vec![rule().vmap(&IP_KEY, Map::NoEndpoints.name())],
    );
    chain(
        "node-ports-check",
        vec![to_this_node(table).vmap(&PORT_KEY, Map::NoEndpointsNodePorts.name())],
    );
    chain(
        "cluster-ips-check",
        vec![
            rule()
                .is_in(&[Field::Daddr], Map::ClusterIps.name())
                .verdict(Verdict::Goto(REJECT.to_owned())),
        ],
    );
    chain(
        "firewall-check",
        vec![rule().vmap(&IP_KEY, Map::Firewall.name())],
    );
}

fn add_filters(batch: &mut Batch, table: &Table) {
    let hooks: [(&str, Hook, i32, &[&str]); 5] = [
        (
            "filter-prerouting",
            Hook::Prerouting,
            BEFORE_DNAT,
            &["firewall-check"],
        ),
        (
            "filter-input",
            Hook::Input,
            BEFORE_DNAT,
            &["node-ports-check", "no-endpoints-check"],
        ),
        (
            "filter-forward",
            Hook::Forward,
            BEFORE_DNAT,
            &["no-endpoints-check", "cluster-ips-check"],
        ),
        (
            "filter-output",
            Hook::Output,
            BEFORE_DNAT,
            &["no-endpoints-check", "firewall-check"],
        ),
        (
            "filter-output-after-dnat",
            Hook::Output,
            AFTER_DNAT,
            &["cluster-ips-check"],
        ),
    ];
    for (name, hook, priority, checks) in hooks {
        batch.add_chain(table, &Chain::filter(name, hook, priority));
        for check in checks {
            batch.add_rule(
                table,
                name,
                &Rule::new(table.family).ct_state(CtState::NEW).jump(check),
            );
        }
    }
}

fn add_nat(batch: &mut Batch, table: &Table) {
    for (name, hook) in [
        ("nat-prerouting", Hook::Prerouting),
        ("nat-output", Hook::Output),
    ] {
        batch.add_chain(table, &Chain::nat(name, hook, DNAT));
        batch.add_rule(table, name, &Rule::new(table.family).jump(SERVICES));
    }
    batch.add_chain(
        table,
        &Chain::nat("nat-postrouting", Hook::Postrouting, SNAT),
    );
    let marked = Rule::new(table.family)
        .mark(MASQUERADE_BIT)
        .clear_mark(MASQUERADE_BIT)
        .masquerade();
    batch.add_rule(table, "nat-postrouting", &marked);
}
