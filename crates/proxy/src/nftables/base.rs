//! What our tables hold besides Services: hooks, shared maps and the way into them.

use ipnet::IpNet;
use knarr_nft::{
    Batch, Chain, CtState, Element, Field, Hook, KeyType, Reject, Rule, Set, Table, Verdict,
};

use super::names::{CLUSTER_CIDRS, MAPPED_ENDPOINTS, MASQUERADE_BIT, Map, REJECT, SERVICES, table};
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
    let ours = |net: &&IpNet| knarr_nft::Family::of(net.addr()) == table.family;
    let cidrs: Vec<IpNet> = cluster_cidrs.iter().filter(ours).copied().collect();
    add_sets(batch, &table, &cidrs);
    add_shared_chains(batch, &table, !cidrs.is_empty());
    add_filters(batch, &table);
    add_nat(batch, &table);
}

/// The shape of a shared set or map.
fn shape(map: Map, ip: KeyType) -> Set {
    let name = map.name();
    let address = [ip, KeyType::Proto, KeyType::Port];
    let node_port = [KeyType::Proto, KeyType::Port];
    let endpoint = [ip, KeyType::Port];
    match map {
        Map::ClusterIps => Set::new(name, &[ip]),
        Map::Hairpin => Set::new(name, &[ip, ip]),
        Map::Mapped | Map::Masquerade | Map::Refused | Map::Dropped => Set::new(name, &address),
        Map::MappedNodePorts | Map::RefusedNodePorts | Map::DroppedNodePorts => {
            Set::new(name, &node_port)
        }
        Map::ServiceIps | Map::Firewall => Set::verdict_map(name, &address),
        Map::NodePorts => Set::verdict_map(name, &node_port),
        Map::Endpoints(1) => Set::map(name, &address, &endpoint),
        Map::NodePortEndpoints(1) => Set::map(name, &node_port, &endpoint),
        Map::Endpoints(_) => Set::map(name, &[&address[..], &[KeyType::Mark]].concat(), &endpoint),
        Map::NodePortEndpoints(_) => Set::map(
            name,
            &[&node_port[..], &[KeyType::Mark]].concat(),
            &endpoint,
        ),
    }
}

fn add_sets(batch: &mut Batch, table: &Table, cluster_cidrs: &[IpNet]) {
    let ip = KeyType::address(table.family);
    Map::all().for_each(|map| batch.add_set(table, &shape(map, ip)));
    batch.add_set(table, &Set::new(CLUSTER_CIDRS, &[ip]).interval());
    batch.add_elements(table, CLUSTER_CIDRS, &Element::networks(cluster_cidrs));
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

fn add_shared_chains(batch: &mut Batch, table: &Table, masquerade_outside: bool) {
    let rule = || Rule::new(table.family);
    let to_node_port = || to_this_node(table);
    let reject = || Verdict::Goto(REJECT.to_owned());
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
    chain("choose", choices(table, &IP_KEY, Map::Endpoints));
    chain(
        "choose-by-node-port",
        choices(table, &PORT_KEY, Map::NodePortEndpoints),
    );
    let mut mapped_ip = vec![
        rule()
            .is_in(&IP_KEY, &Map::Masquerade.name())
            .set_mark(MASQUERADE_BIT),
    ];
    if masquerade_outside {
        let to_cluster_ip = rule().is_in(&[Field::Daddr], &Map::ClusterIps.name());
        mapped_ip.push(
            to_cluster_ip
                .is_not_in(&[Field::Saddr], CLUSTER_CIDRS)
                .set_mark(MASQUERADE_BIT),
        );
    }
    mapped_ip.push(rule().goto("choose"));
    chain("mapped-ip", mapped_ip);
    chain(
        "mapped-node-port",
        vec![
            rule().set_mark(MASQUERADE_BIT),
            rule().goto("choose-by-node-port"),
        ],
    );
    chain(
        SERVICES,
        vec![
            rule().is_in(&IP_KEY, &Map::Mapped.name()).goto("mapped-ip"),
            rule().vmap(&IP_KEY, &Map::ServiceIps.name()),
            to_node_port()
                .is_in(&PORT_KEY, &Map::MappedNodePorts.name())
                .goto("mapped-node-port"),
            to_node_port().vmap(&PORT_KEY, &Map::NodePorts.name()),
        ],
    );
    chain(
        "no-endpoints-check",
        vec![
            rule()
                .is_in(&IP_KEY, &Map::Refused.name())
                .verdict(reject()),
            rule().is_in(&IP_KEY, &Map::Dropped.name()).drop(),
        ],
    );
    chain(
        "node-ports-check",
        vec![
            to_node_port()
                .is_in(&PORT_KEY, &Map::RefusedNodePorts.name())
                .verdict(reject()),
            to_node_port()
                .is_in(&PORT_KEY, &Map::DroppedNodePorts.name())
                .drop(),
        ],
    );
    chain(
        "cluster-ips-check",
        vec![
            rule()
                .is_in(&[Field::Daddr], &Map::ClusterIps.name())
                .verdict(reject()),
        ],
    );
    chain(
        "firewall-check",
        vec![rule().vmap(&IP_KEY, &Map::Firewall.name())],
    );
}

/// One rule for each number of endpoints that a Service may have: only the one with its number finds it.
fn choices(table: &Table, key: &[Field], map: fn(u32) -> Map) -> Vec<Rule> {
    let rule = |n| {
        let key = if n == 1 {
            key.to_vec()
        } else {
            [key, &[Field::Random(n)]].concat()
        };
        Rule::new(table.family).dnat_map(&key, &map(n).name())
    };
    (1..=MAPPED_ENDPOINTS).map(rule).collect()
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
        if hook == Hook::Forward {
            // An answer that belongs to no connection would reach the client from the endpoint's own address, and the
            // client would reset the connection that it has with the Service.
            let strays = Rule::new(table.family).is_in(&[Field::Saddr], CLUSTER_CIDRS);
            batch.add_rule(table, name, &strays.ct_state(CtState::INVALID).drop());
        }
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
    let to_itself =
        Rule::new(table.family).is_in(&[Field::Saddr, Field::Daddr], &Map::Hairpin.name());
    batch.add_rule(table, "nat-postrouting", &to_itself.masquerade());
}
