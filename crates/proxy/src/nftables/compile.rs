//! From one Service port to the chains, sets and map elements that route it. Pure.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use knarr_nft::{Field, Key, Rule, Verdict};

use super::names::{CLUSTER_CIDRS, Chains, MAPPED_ENDPOINTS, MASQUERADE_BIT, Map, family};
use crate::service::{Endpoint, Routing, ServicePort};

/// With more endpoints than this a random number is looked up in a map; up to this, rules are tried one after the other.
/// The kernel's cost of making a rule's own map grows with the number of all such maps, so they are kept for where they
/// are worth it.
const MAP_FROM: usize = 8;

/// What an element holds besides its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing: an element of a set.
    Member,
    Verdict(Verdict),
    /// Address and port of an endpoint.
    Target(Endpoint),
}

/// An element that a Service port wants in one of the shared maps. Others may want the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub map: Map,
    pub key: Key,
    pub value: Value,
}

/// What one Service port needs in its family's table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    pub chains: BTreeMap<String, Vec<Rule>>,
    /// Sets of clients with affinity, and how long they are kept.
    pub affinity: BTreeMap<String, Duration>,
    pub claims: Vec<Claim>,
}

/// `masquerade_outside` is whether cluster CIDRs are known, so that clients outside of them can be told.
pub fn compile(port: &ServicePort, masquerade_outside: bool) -> Piece {
    let mut c = Compiler {
        port,
        chains: Chains::of(port),
        masquerade_outside,
        piece: Piece::default(),
    };
    c.claim(
        Map::ClusterIps,
        Key::new().ip(port.cluster_ip),
        Value::Member,
    );
    match mapped_endpoints(port) {
        Some(endpoints) => c.mapped(endpoints),
        None => c.chained(),
    }
    c.firewall();
    c.piece
}

/// The endpoints of a Service that needs no chain of its own: all its connections go to any of them. Its changes are
/// changes of map elements only, which the kernel takes without looking at all other rules again.
fn mapped_endpoints(port: &ServicePort) -> Option<&[Endpoint]> {
    let local = port.internal_local || (port.external_local && port.is_external());
    match &port.cluster {
        Routing::To(all)
            if !local && port.affinity.is_none() && all.len() <= MAPPED_ENDPOINTS as usize =>
        {
            Some(all)
        }
        _ => None,
    }
}

struct Compiler<'a> {
    port: &'a ServicePort,
    chains: Chains,
    masquerade_outside: bool,
    piece: Piece,
}

impl Compiler<'_> {
    fn rule(&self) -> Rule {
        Rule::new(family(self.port.family))
    }

    fn masquerade(&self, rule: Rule) -> Rule {
        rule.set_mark(MASQUERADE_BIT)
    }

    fn chain(&mut self, name: &str, rules: Vec<Rule>) {
        self.piece.chains.insert(name.to_owned(), rules);
    }

    fn claim(&mut self, map: Map, key: Key, value: Value) {
        self.piece.claims.push(Claim { map, key, value });
    }

    fn ip_key(&self, ip: IpAddr) -> Key {
        Key::new()
            .ip(ip)
            .proto(self.port.protocol.number())
            .port(self.port.port)
    }

    fn node_port_key(&self, node_port: u16) -> Key {
        Key::new()
            .proto(self.port.protocol.number())
            .port(node_port)
    }

    /// Elements for every address, and for every endpoint of it.
    fn mapped(&mut self, endpoints: &[Endpoint]) {
        let many = endpoints.len() as u32;
        let external: Vec<Key> = self
            .port
            .all_external_ips()
            .map(|ip| self.ip_key(ip))
            .collect();
        for key in external
            .iter()
            .cloned()
            .chain([self.ip_key(self.port.cluster_ip)])
        {
            self.claim(Map::Mapped, key.clone(), Value::Member);
            self.each_target(Map::Endpoints(many), &key, endpoints);
        }
        for key in external {
            self.claim(Map::Masquerade, key, Value::Member);
        }
        if let Some(key) = self.port.node_port.map(|p| self.node_port_key(p)) {
            self.claim(Map::MappedNodePorts, key.clone(), Value::Member);
            self.each_target(Map::NodePortEndpoints(many), &key, endpoints);
        }
        for endpoint in endpoints {
            self.claim(
                Map::Hairpin,
                Key::new().ip(endpoint.ip).ip(endpoint.ip),
                Value::Member,
            );
        }
    }

    fn each_target(&mut self, map: Map, key: &Key, endpoints: &[Endpoint]) {
        for (n, endpoint) in endpoints.iter().enumerate() {
            // With one endpoint there is nothing to choose.
            let key = if endpoints.len() == 1 {
                key.clone()
            } else {
                key.clone().number(n as u32)
            };
            self.claim(map, key, Value::Target(*endpoint));
        }
    }

    fn chained(&mut self) {
        self.endpoints();
        self.cluster_ip();
        self.external();
    }

    fn endpoints(&mut self) {
        for endpoint in self.port.all_endpoints() {
            let rules = self.endpoint_rules(&endpoint);
            let name = self.chains.endpoint(&endpoint);
            self.chain(&name, rules);
            if let Some(timeout) = self.port.affinity {
                self.piece
                    .affinity
                    .insert(self.chains.affinity(&endpoint), timeout);
            }
        }
    }

    fn endpoint_rules(&self, endpoint: &Endpoint) -> Vec<Rule> {
        let mut rules = Vec::new();
        // An endpoint that reaches itself would otherwise see its own address as the client's.
        rules.push(self.masquerade(self.rule().saddr(IpNet::from(endpoint.ip))));
        if self.port.affinity.is_some() {
            rules.push(
                self.rule()
                    .update(&[Field::Saddr], &self.chains.affinity(endpoint)),
            );
        }
        rules.push(
            self.rule()
                .l4proto(self.port.protocol.number())
                .dnat(endpoint.ip, Some(endpoint.port)),
        );
        rules
    }

    /// The rules that choose among endpoints: the client's last one if it has affinity, else any.
    fn choice(&self, endpoints: &[Endpoint]) -> Vec<Rule> {
        let goto = |e: &Endpoint| Verdict::Goto(self.chains.endpoint(e));
        let mut rules: Vec<Rule> = Vec::new();
        if self.port.affinity.is_some() {
            let sticky = |e| {
                self.rule()
                    .is_in(&[Field::Saddr], &self.chains.affinity(e))
                    .verdict(goto(e))
            };
            rules.extend(endpoints.iter().map(sticky));
        }
        if endpoints.len() > MAP_FROM {
            rules.push(self.rule().random(endpoints.iter().map(goto).collect()));
            return rules;
        }
        for (n, endpoint) in endpoints.iter().enumerate() {
            let rest = (endpoints.len() - n) as u32;
            let rule = if rest > 1 {
                self.rule().once_in(rest)
            } else {
                self.rule()
            };
            rules.push(rule.verdict(goto(endpoint)));
        }
        rules
    }

    /// Chains for the cluster's and, where a policy asks for them, the node's endpoints; the maps for the cluster IP.
    fn cluster_ip(&mut self) {
        let cluster_chain_used = !self.port.internal_local || self.port.is_external();
        if let (Routing::To(endpoints), true) = (&self.port.cluster, cluster_chain_used) {
            let (name, mut rules) = (self.chains.cluster.clone(), self.choice(endpoints));
            rules.splice(
                ..0,
                self.masquerade_clients_outside(!self.port.internal_local),
            );
            self.chain(&name, rules);
        }
        let local_chain_used =
            self.port.internal_local || (self.port.external_local && self.port.is_external());
        if let (Routing::To(endpoints), true) = (&self.port.local, local_chain_used) {
            let (name, mut rules) = (self.chains.local.clone(), self.choice(endpoints));
            rules.splice(
                ..0,
                self.masquerade_clients_outside(self.port.internal_local),
            );
            self.chain(&name, rules);
        }
        let internal = if self.port.internal_local {
            &self.chains.local
        } else {
            &self.chains.cluster
        };
        let verdict = Verdict::Goto(internal.clone());
        self.route(
            self.ip_key(self.port.cluster_ip),
            verdict,
            self.port.internal().clone(),
            false,
        );
    }

    /// Clients outside of the cluster that use the cluster IP get answers by this node only when it masquerades.
    fn masquerade_clients_outside(&self, reached_by_cluster_ip: bool) -> Option<Rule> {
        (reached_by_cluster_ip && self.masquerade_outside).then(|| {
            let to_cluster_ip = self.rule().daddr(IpNet::from(self.port.cluster_ip));
            self.masquerade(to_cluster_ip.is_not_in(&[Field::Saddr], CLUSTER_CIDRS))
        })
    }

    /// Puts one address or node port where it belongs.
    fn route(&mut self, key: Key, to: Verdict, routing: Routing, node_port: bool) {
        let (routed, dropped, refused) = match node_port {
            true => (Map::NodePorts, Map::DroppedNodePorts, Map::RefusedNodePorts),
            false => (Map::ServiceIps, Map::Dropped, Map::Refused),
        };
        match routing {
            Routing::To(_) => self.claim(routed, key, Value::Verdict(to)),
            Routing::Drop => self.claim(dropped, key, Value::Member),
            Routing::Reject => self.claim(refused, key, Value::Member),
        }
    }

    fn external(&mut self) {
        if !self.port.is_external() {
            return;
        }
        let reachable = matches!(self.port.cluster, Routing::To(_))
            || matches!(self.port.local, Routing::To(_));
        if reachable {
            let name = self.chains.external.clone();
            let rules = self.external_rules();
            self.chain(&name, rules);
        }
        let verdict = Verdict::Goto(self.chains.external.clone());
        // With policy Local, clients inside the cluster are served by other nodes' endpoints also where this node has
        // none: the chain is entered, and outside clients are dropped at its end.
        let routing = match (&self.port.cluster, self.port.external_local) {
            (Routing::To(all), true) => Routing::To(all.clone()),
            _ => self.port.external().clone(),
        };
        let ips: Vec<IpAddr> = self.port.all_external_ips().collect();
        for ip in ips {
            self.route(self.ip_key(ip), verdict.clone(), routing.clone(), false);
        }
        if let Some(node_port) = self.port.node_port {
            self.route(self.node_port_key(node_port), verdict, routing, true);
        }
    }

    fn external_rules(&self) -> Vec<Rule> {
        let cluster = matches!(self.port.cluster, Routing::To(_));
        if !self.port.external_local {
            let mut rules = vec![self.masquerade(self.rule())];
            rules.extend(cluster.then(|| self.rule().goto(&self.chains.cluster)));
            return rules;
        }
        let mut rules = Vec::new();
        if cluster {
            if self.masquerade_outside {
                rules.push(
                    self.rule()
                        .is_in(&[Field::Saddr], CLUSTER_CIDRS)
                        .goto(&self.chains.cluster),
                );
            }
            rules.push(self.masquerade(self.rule().saddr_local()));
            rules.push(self.rule().saddr_local().goto(&self.chains.cluster));
        }
        rules.push(match self.port.local {
            Routing::To(_) => self.rule().goto(&self.chains.local),
            _ => self.rule().drop(),
        });
        rules
    }

    fn firewall(&mut self) {
        if self.port.source_ranges.is_empty() || self.port.load_balancer_ips.is_empty() {
            return;
        }
        let mut rules: Vec<Rule> = self
            .port
            .source_ranges
            .iter()
            .map(|net| self.rule().saddr(*net).verdict(Verdict::Return))
            .collect();
        // A node that balances load itself uses the address from itself.
        rules.push(self.rule().saddr_local().verdict(Verdict::Return));
        rules.push(self.rule().drop());
        let name = self.chains.firewall.clone();
        self.chain(&name, rules);
        for ip in self.port.load_balancer_ips.clone() {
            self.claim(
                Map::Firewall,
                self.ip_key(ip),
                Value::Verdict(Verdict::Goto(name.clone())),
            );
        }
    }
}
