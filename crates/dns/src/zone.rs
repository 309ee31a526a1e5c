//! The cluster zone: which names there are and what they lead to. Pure; kept current one Service at a time.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};

/// A port with the names that SRV records carry it under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Empty for an unnamed port.
    pub name: String,
    /// `tcp`, `udp`, `sctp`.
    pub protocol: String,
    pub number: u16,
}

/// An address behind a headless Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The endpoint's hostname, else its address with dashes.
    pub label: String,
    pub address: IpAddr,
    pub ports: Vec<Port>,
}

/// What a Service's name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    ClusterIp {
        addresses: Vec<IpAddr>,
        ports: Vec<Port>,
    },
    Headless(Vec<Endpoint>),
    /// Another name, as the Service gives it.
    ExternalName(String),
}

/// What one question in the zone leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Addresses(Vec<IpAddr>),
    /// Target name relative to the zone, its port, and its addresses.
    Services(Vec<(String, u16, Vec<IpAddr>)>),
    Alias(String),
    /// `dns-version`.
    Version,
    /// The name is there, but only as a node of the tree.
    Empty,
    Nothing,
}

type ServiceKey = (String, String);

/// Names and addresses of the cluster.
#[derive(Debug, Default)]
pub struct Zone {
    /// The labels of the domain, lower case.
    domain: Vec<String>,
    services: HashMap<String, HashMap<String, Arc<Entry>>>,
    /// Address → names relative to the zone, for PTR.
    reverse: HashMap<IpAddr, Vec<(ServiceKey, String)>>,
}

impl Zone {
    pub fn new(domain: &str) -> Self {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        Zone {
            domain: domain.split('.').map(str::to_owned).collect(),
            ..Zone::default()
        }
    }

    /// `cluster.local`.
    pub fn domain(&self) -> String {
        self.domain.join(".")
    }

    /// Replaces what one Service's name leads to; `None` takes the name away.
    pub fn set(&mut self, namespace: &str, name: &str, entry: Option<Entry>) {
        let key = (namespace.to_owned(), name.to_owned());
        let old = self
            .services
            .get_mut(namespace)
            .and_then(|names| names.remove(name));
        if let Some(old) = old {
            for (address, _) in reverse_names(&key, &old) {
                if let Some(names) = self.reverse.get_mut(&address) {
                    names.retain(|(k, _)| *k != key);
                    if names.is_empty() {
                        self.reverse.remove(&address);
                    }
                }
            }
        }
        match entry {
            Some(entry) => {
                for (address, target) in reverse_names(&key, &entry) {
                    self.reverse
                        .entry(address)
                        .or_default()
                        .push((key.clone(), target));
                }
                self.services
                    .entry(namespace.to_owned())
                    .or_default()
                    .insert(name.to_owned(), Arc::new(entry));
            }
            None => {
                if self.services.get(namespace).is_some_and(HashMap::is_empty) {
                    self.services.remove(namespace);
                }
            }
        }
    }

    /// The labels of a name below the zone, or `None` when it lies outside. Labels must be lower case.
    pub fn relative<'a, 'b>(&self, labels: &'a [&'b str]) -> Option<&'a [&'b str]> {
        let split = labels.len().checked_sub(self.domain.len())?;
        (labels[split..]
            .iter()
            .zip(&self.domain)
            .all(|(a, b)| a == b))
        .then(|| &labels[..split])
    }

    /// What a name relative to the zone leads to.
    pub fn find(&self, relative: &[&str]) -> Found {
        match relative {
            [] => Found::Empty,
            ["dns-version"] => Found::Version,
            ["svc"] | ["pod"] => Found::Empty,
            [rest @ .., "pod"] => pod(rest),
            [rest @ .., namespace, "svc"] => self.find_service(namespace, rest),
            _ => Found::Nothing,
        }
    }

    fn find_service(&self, namespace: &str, rest: &[&str]) -> Found {
        let Some(names) = self.services.get(namespace) else {
            return Found::Nothing;
        };
        let Some((name, rest)) = rest.split_last() else {
            return Found::Empty;
        };
        let Some(entry) = names.get(*name) else {
            return Found::Nothing;
        };
        let own = format!("{name}.{namespace}.svc");
        match (rest, &**entry) {
            ([], Entry::ExternalName(target)) => Found::Alias(target.clone()),
            ([], Entry::ClusterIp { addresses, .. }) => Found::Addresses(addresses.clone()),
            ([], Entry::Headless(endpoints)) => {
                Found::Addresses(unique(endpoints.iter().map(|e| e.address)))
            }
            ([port, protocol], entry) if port.starts_with('_') && protocol.starts_with('_') => {
                services(entry, &own, |p| {
                    p.name == port[1..] && p.protocol == protocol[1..]
                })
            }
            ([protocol], entry) if protocol.starts_with('_') => {
                let known = entry.ports().any(|p| p.protocol == protocol[1..]);
                if known { Found::Empty } else { Found::Nothing }
            }
            ([label], Entry::Headless(endpoints)) => {
                let found = unique(
                    endpoints
                        .iter()
                        .filter(|e| e.label == *label)
                        .map(|e| e.address),
                );
                if found.is_empty() {
                    Found::Nothing
                } else {
                    Found::Addresses(found)
                }
            }
            _ => Found::Nothing,
        }
    }

    /// SRV records of a Service's own name: one for each of its ports.
    pub fn find_all_ports(&self, relative: &[&str]) -> Found {
        let [name, namespace, "svc"] = relative else {
            return Found::Empty;
        };
        let entry = self
            .services
            .get(*namespace)
            .and_then(|names| names.get(*name));
        entry.map_or(Found::Nothing, |entry| {
            services(entry, &format!("{name}.{namespace}.svc"), |_| true)
        })
    }

    /// Names relative to the zone that an address belongs to.
    pub fn find_reverse(&self, address: IpAddr) -> Vec<String> {
        self.reverse
            .get(&address)
            .map(|names| names.iter().map(|(_, n)| n.clone()).collect())
            .unwrap_or_default()
    }
}

impl Entry {
    fn ports(&self) -> Box<dyn Iterator<Item = &Port> + '_> {
        match self {
            Entry::ClusterIp { ports, .. } => Box::new(ports.iter()),
            Entry::Headless(endpoints) => Box::new(endpoints.iter().flat_map(|e| &e.ports)),
            Entry::ExternalName(_) => Box::new(std::iter::empty()),
        }
    }
}

fn services(entry: &Entry, own: &str, wanted: impl Fn(&Port) -> bool) -> Found {
    let found: Vec<_> = match entry {
        Entry::ClusterIp { addresses, ports } => ports
            .iter()
            .filter(|p| wanted(p))
            .map(|p| (own.to_owned(), p.number, addresses.clone()))
            .collect(),
        Entry::Headless(endpoints) => {
            let mut targets: BTreeMap<(String, u16), Vec<IpAddr>> = BTreeMap::new();
            for endpoint in endpoints {
                for port in endpoint.ports.iter().filter(|p| wanted(p)) {
                    targets
                        .entry((format!("{}.{own}", endpoint.label), port.number))
                        .or_default()
                        .push(endpoint.address);
                }
            }
            targets
                .into_iter()
                .map(|((target, port), addresses)| (target, port, addresses))
                .collect()
        }
        Entry::ExternalName(_) => Vec::new(),
    };
    if found.is_empty() {
        Found::Nothing
    } else {
        Found::Services(found)
    }
}

/// `10-244-0-7.default`: the address is in the name itself.
fn pod(rest: &[&str]) -> Found {
    match rest {
        [_namespace] => Found::Empty,
        [dashed, _namespace] => match undash(dashed) {
            Some(address) => Found::Addresses(vec![address]),
            None => Found::Nothing,
        },
        _ => Found::Nothing,
    }
}

fn undash(label: &str) -> Option<IpAddr> {
    label
        .replace('-', ".")
        .parse::<std::net::Ipv4Addr>()
        .map(IpAddr::V4)
        .ok()
        .or_else(|| {
            label
                .replace('-', ":")
                .parse::<std::net::Ipv6Addr>()
                .map(IpAddr::V6)
                .ok()
        })
}

/// An address as a label.
pub fn dash(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

fn reverse_names(key: &ServiceKey, entry: &Entry) -> Vec<(IpAddr, String)> {
    let own = format!("{}.{}.svc", key.1, key.0);
    match entry {
        Entry::ClusterIp { addresses, .. } => addresses.iter().map(|a| (*a, own.clone())).collect(),
        Entry::Headless(endpoints) => endpoints
            .iter()
            .map(|e| (e.address, format!("{}.{own}", e.label)))
            .collect(),
        Entry::ExternalName(_) => Vec::new(),
    }
}

fn unique(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut seen = HashSet::new();
    addresses.filter(|a| seen.insert(*a)).collect()
}

/// What a Service's name leads to, from the Service and its slices. `None` when it has no address yet.
pub fn entry<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice>,
) -> Option<Entry> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return spec.external_name.clone().map(Entry::ExternalName);
    }
    let ips: Vec<&String> = match &spec.cluster_ips {
        Some(list) if !list.is_empty() => list.iter().collect(),
        _ => spec.cluster_ip.iter().collect(),
    };
    if ips.iter().any(|ip| *ip == "None") {
        return Some(Entry::Headless(slices.flat_map(endpoints).collect()));
    }
    let addresses: Vec<IpAddr> = ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    let ports = spec.ports.iter().flatten().map(|p| Port {
        name: p.name.clone().unwrap_or_default(),
        protocol: p.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
        number: u16::try_from(p.port).unwrap_or_default(),
    });
    (!addresses.is_empty()).then(|| Entry::ClusterIp {
        addresses,
        ports: ports.collect(),
    })
}

fn endpoints(slice: &EndpointSlice) -> Vec<Endpoint> {
    let ports: Vec<Port> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|p| {
            Some(Port {
                name: p.name.clone().unwrap_or_default(),
                protocol: p.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
                number: u16::try_from(p.port?).ok()?,
            })
        })
        .collect();
    let ready = slice
        .endpoints
        .iter()
        .flatten()
        .filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
    ready
        .flat_map(|e| e.addresses.iter().map(move |a| (e, a)))
        .filter_map(|(e, address)| {
            let address: IpAddr = address.parse().ok()?;
            let label = e
                .hostname
                .clone()
                .filter(|h| !h.is_empty())
                .unwrap_or_else(|| dash(address));
            Some(Endpoint {
                label,
                address,
                ports: ports.clone(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, number: u16) -> Port {
        Port {
            name: name.into(),
            protocol: "tcp".into(),
            number,
        }
    }

    fn zone() -> Zone {
        let mut zone = Zone::new("cluster.local.");
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        zone.set(
            "default",
            "web",
            Some(Entry::ClusterIp {
                addresses: vec![ip("10.96.0.7")],
                ports: vec![port("http", 80)],
            }),
        );
        let endpoint = |label: &str, a: &str| Endpoint {
            label: label.into(),
            address: ip(a),
            ports: vec![port("db", 5432)],
        };
        zone.set(
            "default",
            "db",
            Some(Entry::Headless(vec![
                endpoint("db-0", "10.244.0.3"),
                endpoint("db-1", "10.244.0.4"),
            ])),
        );
        zone.set(
            "default",
            "ext",
            Some(Entry::ExternalName("example.com".into())),
        );
        zone
    }

    fn find(name: &str) -> Found {
        let zone = zone();
        let labels: Vec<&str> = name.split('.').collect();
        zone.relative(&labels)
            .map_or(Found::Nothing, |r| zone.find(r))
    }

    #[test]
    fn names_lead_where_the_specification_says() {
        let addresses =
            |list: &[&str]| Found::Addresses(list.iter().map(|a| a.parse().unwrap()).collect());
        assert_eq!(
            find("web.default.svc.cluster.local"),
            addresses(&["10.96.0.7"])
        );
        assert_eq!(
            find("db.default.svc.cluster.local"),
            addresses(&["10.244.0.3", "10.244.0.4"])
        );
        assert_eq!(
            find("db-1.db.default.svc.cluster.local"),
            addresses(&["10.244.0.4"])
        );
        assert_eq!(
            find("ext.default.svc.cluster.local"),
            Found::Alias("example.com".into())
        );
        assert_eq!(
            find("10-244-0-9.default.pod.cluster.local"),
            addresses(&["10.244.0.9"])
        );
        assert_eq!(find("default.svc.cluster.local"), Found::Empty);
        assert_eq!(find("cluster.local"), Found::Empty);
        for missing in [
            "nope.default.svc.cluster.local",
            "web.other.svc.cluster.local",
            "db-2.db.default.svc.cluster.local",
            "x.pod.pod.cluster.local",
            "example.com",
        ] {
            assert_eq!(find(missing), Found::Nothing, "{missing}");
        }
    }

    #[test]
    fn ports_are_found_by_name_and_protocol() {
        let web: IpAddr = "10.96.0.7".parse().unwrap();
        assert_eq!(
            find("_http._tcp.web.default.svc.cluster.local"),
            Found::Services(vec![("web.default.svc".into(), 80, vec![web])])
        );
        let Found::Services(headless) = find("_db._tcp.db.default.svc.cluster.local") else {
            panic!("no SRV")
        };
        assert_eq!(
            headless.iter().map(|s| s.0.as_str()).collect::<Vec<_>>(),
            ["db-0.db.default.svc", "db-1.db.default.svc"]
        );
        assert_eq!(
            find("_http._udp.web.default.svc.cluster.local"),
            Found::Nothing
        );
        assert_eq!(find("_tcp.web.default.svc.cluster.local"), Found::Empty);
    }

    #[test]
    fn a_replaced_service_leaves_no_reverse_name() {
        let mut zone = zone();
        let web: IpAddr = "10.96.0.7".parse().unwrap();
        assert_eq!(zone.find_reverse(web), ["web.default.svc"]);
        zone.set("default", "web", None);
        assert!(zone.find_reverse(web).is_empty());
        assert_eq!(
            zone.find_reverse("10.244.0.3".parse().unwrap()),
            ["db-0.db.default.svc"]
        );
        for name in ["db", "ext"] {
            zone.set("default", name, None);
        }
        assert_eq!(zone.find(&["default", "svc"]), Found::Nothing);
        assert!(zone.reverse.is_empty());
    }
}
