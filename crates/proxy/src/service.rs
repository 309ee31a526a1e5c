//! What the proxy routes: ports of Services with the endpoints that this node should use for them.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

/// IPv4 or IPv6; a dual-stack Service is routed once for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpFamily {
    V4,
    V6,
}

impl IpFamily {
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() {
            IpFamily::V4
        } else {
            IpFamily::V6
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As the API names it; TCP when it does not.
    pub fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(_) => None,
        }
    }

    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// Where a connection can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub ip: IpAddr,
    pub port: u16,
}

/// What becomes of connections to a Service's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// To one of these, by chance. Never empty.
    To(Vec<Endpoint>),
    /// The Service has endpoints, but the traffic policy allows none of them here: others may answer in our place.
    Drop,
    /// Nobody can answer.
    Reject,
}

impl Routing {
    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            Routing::To(endpoints) => endpoints,
            _ => &[],
        }
    }
}

/// One port of one Service in one address family, as this node should route it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    pub namespace: String,
    pub service: String,
    /// Name of the port; empty when it has none.
    pub port_name: String,
    pub family: IpFamily,
    pub protocol: Protocol,
    pub cluster_ip: IpAddr,
    pub port: u16,
    pub external_ips: Vec<IpAddr>,
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer's addresses. Empty means everyone.
    pub source_ranges: Vec<IpNet>,
    pub node_port: Option<u16>,
    /// How long a client keeps its endpoint after its last connection.
    pub affinity: Option<Duration>,
    /// Endpoints of all nodes, after topology.
    pub cluster: Routing,
    /// Endpoints of this node.
    pub local: Routing,
    /// Traffic to the cluster IP stays on this node.
    pub internal_local: bool,
    /// Traffic from outside stays on this node and keeps its source address.
    pub external_local: bool,
}

impl ServicePort {
    /// For connections to the cluster IP.
    pub fn internal(&self) -> &Routing {
        if self.internal_local {
            &self.local
        } else {
            &self.cluster
        }
    }

    /// For connections from outside to external addresses and node ports.
    pub fn external(&self) -> &Routing {
        if self.external_local {
            &self.local
        } else {
            &self.cluster
        }
    }

    /// External addresses, those of load balancers included.
    pub fn all_external_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.external_ips
            .iter()
            .chain(&self.load_balancer_ips)
            .copied()
    }

    pub fn is_external(&self) -> bool {
        self.node_port.is_some() || self.all_external_ips().next().is_some()
    }

    /// Every endpoint that some connection can be sent to.
    pub fn all_endpoints(&self) -> Vec<Endpoint> {
        let mut all = [self.cluster.endpoints(), self.local.endpoints()].concat();
        all.sort();
        all.dedup();
        all
    }

    /// `namespace/service/protocol/port`: unique within a family.
    pub fn id(&self) -> String {
        format!(
            "{}/{}/{}/{}",
            self.namespace,
            self.service,
            self.protocol.name(),
            self.port
        )
    }
}
