//! Names of what is in our tables.

use knarr_nft::{Family, Table};

use crate::service::{Endpoint, IpFamily, ServicePort};

/// Name of our tables, one for each family.
pub const TABLE: &str = "knarr-proxy";
/// The bit of the packet mark that asks for masquerading.
pub const MASQUERADE_BIT: u32 = 0x4000;

/// A map that Services add their addresses to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Map {
    /// `ip . proto . port` to the Service's chain.
    ServiceIps,
    /// `proto . port` to the Service's chain, on every address of the node.
    NodePorts,
    /// As [`Map::ServiceIps`], for Services that nobody can answer for.
    NoEndpoints,
    /// As [`Map::NodePorts`], for Services that nobody can answer for.
    NoEndpointsNodePorts,
    /// `ip . proto . port` to the chain that checks who may use a load balancer's address.
    Firewall,
    /// The set of cluster IPs: ports of them that no Service has are refused.
    ClusterIps,
}

impl Map {
    pub const ALL: [Map; 6] = [
        Map::ServiceIps,
        Map::NodePorts,
        Map::NoEndpoints,
        Map::NoEndpointsNodePorts,
        Map::Firewall,
        Map::ClusterIps,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Map::ServiceIps => "service-ips",
            Map::NodePorts => "node-ports",
            Map::NoEndpoints => "no-endpoints",
            Map::NoEndpointsNodePorts => "no-endpoints-node-ports",
            Map::Firewall => "firewall-ips",
            Map::ClusterIps => "cluster-ips",
        }
    }
}

/// The set of source addresses that count as inside the cluster.
pub const CLUSTER_CIDRS: &str = "cluster-cidrs";
/// Chain that refuses connections.
pub const REJECT: &str = "reject";
/// Chain of the lookups in [`Map::ServiceIps`] and [`Map::NodePorts`].
pub const SERVICES: &str = "services";

pub fn family(family: IpFamily) -> Family {
    match family {
        IpFamily::V4 => Family::Ipv4,
        IpFamily::V6 => Family::Ipv6,
    }
}

pub fn table(of: IpFamily) -> Table {
    Table::new(family(of), TABLE)
}

/// Chains of one Service port.
pub struct Chains {
    /// To endpoints of all nodes.
    pub cluster: String,
    /// To endpoints of this node.
    pub local: String,
    /// What external addresses and node ports lead to.
    pub external: String,
    pub firewall: String,
    id: String,
}

impl Chains {
    pub fn of(port: &ServicePort) -> Self {
        let id = port.id();
        Chains {
            cluster: format!("service-{id}"),
            local: format!("local-{id}"),
            external: format!("external-{id}"),
            firewall: format!("firewall-{id}"),
            id,
        }
    }

    // Colons of IPv6 addresses would need quotes in what `nft` prints.
    fn suffix(&self, endpoint: &Endpoint) -> String {
        format!(
            "{}-{}/{}",
            self.id,
            endpoint.ip.to_string().replace(':', "."),
            endpoint.port
        )
    }

    pub fn endpoint(&self, endpoint: &Endpoint) -> String {
        format!("endpoint-{}", self.suffix(endpoint))
    }

    /// The set of clients that keep this endpoint.
    pub fn affinity(&self, endpoint: &Endpoint) -> String {
        format!("affinity-{}", self.suffix(endpoint))
    }
}
