//! From one Service port to the chains, sets and map elements that route it. Pure.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use knarr_nft::{Field, Key, Rule, Verdict};

use super::names::{CLUSTER_CIDRS, Chains, MASQUERADE_BIT, Map, REJECT, family};
use crate::service::{Endpoint, Routing, ServicePort};

/// An element that a Service port wants in one of the shared maps. Others may want the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub map: Map,
    pub key: Key,
    /// `None` in sets.
    pub verdict: Option<Verdict>,
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
    c.endpoints();
    c.cluster_ip();
    c.external();
    c.firewall();
    c.piece
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

    fn claim(&mut self, map: Map, key: Key, verdict: Option<Verdict>) {
        self.piece.claims.push(Claim { map, key, verdict });
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
        rules.push(match endpoints {
            [one] => self.rule().verdict(goto(one)),
            several => self.rule().random(several.iter().map(goto).collect()),
        });
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
        self.claim(Map::ClusterIps, Key::new().ip(self.port.cluster_ip), None);
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
        let (routed, refused) = match node_port {
            true => (Map::NodePorts, Map::NoEndpointsNodePorts),
            false => (Map::ServiceIps, Map::NoEndpoints),
        };
        match routing {
            Routing::To(_) => self.claim(routed, key, Some(to)),
            Routing::Drop => self.claim(refused, key, Some(Verdict::Drop)),
            Routing::Reject => self.claim(refused, key, Some(Verdict::Goto(REJECT.to_owned()))),
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
                Some(Verdict::Goto(name.clone())),
            );
        }
    }
}
