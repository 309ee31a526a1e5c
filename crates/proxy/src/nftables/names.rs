//! Names of what is in our tables.

use knarr_nft::{Family, Table};

use crate::service::{Endpoint, IpFamily, ServicePort};

/// Name of our tables, one for each family.
pub const TABLE: &str = "knarr-proxy";
/// The bit of the packet mark that asks for masquerading.
pub const MASQUERADE_BIT: u32 = 0x4000;

/// Services with at most this many endpoints are routed by maps alone.
pub const MAPPED_ENDPOINTS: u32 = 16;

/// A set or map that Services add to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Map {
    /// Set of `ip . proto . port` of Services that are routed by maps.
    Mapped,
    /// `ip . proto . port . n` to the n-th endpoint of Services with this many.
    Endpoints(u32),
    /// As [`Map::Mapped`], of `proto . port` on every address of the node.
    MappedNodePorts,
    /// As [`Map::Endpoints`], for node ports.
    NodePortEndpoints(u32),
    /// Set of `ip . proto . port` whose clients are masqueraded.
    Masquerade,
    /// Set of `ip . ip` of endpoints, which are masqueraded when they reach themselves.
    Hairpin,
    /// `ip . proto . port` to the Service's chain, for Services that need one.
    ServiceIps,
    /// `proto . port` to the Service's chain, on every address of the node.
    NodePorts,
    /// Set of `ip . proto . port` that nobody can answer for: refused.
    Refused,
    /// As [`Map::Refused`], for node ports.
    RefusedNodePorts,
    /// Set of `ip . proto . port` that nobody here may answer for: dropped.
    Dropped,
    /// As [`Map::Dropped`], for node ports.
    DroppedNodePorts,
    /// `ip . proto . port` to the chain that checks who may use a load balancer's address.
    Firewall,
    /// Set of cluster IPs: ports of them that no Service has are refused.
    ClusterIps,
}

impl Map {
    pub fn all() -> impl Iterator<Item = Map> {
        let fixed = [
            Map::Mapped,
            Map::MappedNodePorts,
            Map::Masquerade,
            Map::Hairpin,
            Map::ServiceIps,
            Map::NodePorts,
            Map::Refused,
            Map::RefusedNodePorts,
            Map::Dropped,
            Map::DroppedNodePorts,
            Map::Firewall,
            Map::ClusterIps,
        ];
        let counted =
            (1..=MAPPED_ENDPOINTS).flat_map(|n| [Map::Endpoints(n), Map::NodePortEndpoints(n)]);
        fixed.into_iter().chain(counted)
    }

    pub fn name(self) -> String {
        let name = match self {
            Map::Endpoints(n) => return format!("endpoints-{n}"),
            Map::NodePortEndpoints(n) => return format!("node-port-endpoints-{n}"),
            Map::Mapped => "mapped",
            Map::MappedNodePorts => "mapped-node-ports",
            Map::Masquerade => "masquerade",
            Map::Hairpin => "hairpin",
            Map::ServiceIps => "service-ips",
            Map::NodePorts => "node-ports",
            Map::Refused => "refused",
            Map::RefusedNodePorts => "refused-node-ports",
            Map::Dropped => "dropped",
            Map::DroppedNodePorts => "dropped-node-ports",
            Map::Firewall => "firewall-ips",
            Map::ClusterIps => "cluster-ips",
        };
        name.to_owned()
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
