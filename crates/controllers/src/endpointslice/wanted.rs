//! The endpoints that a Service should have, from its pods; or those that hand-made Endpoints tell of. Pure.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::{
    core::v1::{EndpointAddress, EndpointSubset, Endpoints, Node, Pod, Service},
    discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone},
};

use super::plan::{Group, sorted};
use crate::{backends, pod};

const ZONE: &str = "topology.kubernetes.io/zone";
/// Addresses of one subset of hand-made Endpoints that are mirrored.
const MIRRORED: usize = 1000;

/// The families that the Service has addresses in.
fn families(service: &Service) -> Vec<&'static str> {
    let named = service.spec.as_ref().and_then(|s| s.ip_families.as_ref());
    let known = |f: &String| match f.as_str() {
        "IPv4" => Some("IPv4"),
        "IPv6" => Some("IPv6"),
        _ => None,
    };
    let families: Vec<_> = named.into_iter().flatten().filter_map(known).collect();
    if families.is_empty() {
        vec!["IPv4"]
    } else {
        families
    }
}

fn family(ip: &IpAddr) -> &'static str {
    if ip.is_ipv6() { "IPv6" } else { "IPv4" }
}

/// The groups of a Service; for a family without endpoints an empty one, which stands for a slice all the same.
/// `node` looks a node up by name.
pub fn groups(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> Vec<Group> {
    let usable: Vec<_> = pods
        .iter()
        .filter(|p| backends::may_be_endpoint(p, true))
        .collect();
    let mut out = Vec::new();
    for address_type in families(service) {
        let mut by_ports: BTreeMap<String, Group> = BTreeMap::new();
        for p in &usable {
            let own = backends::addresses(p)
                .into_iter()
                .filter(|ip| family(ip) == address_type);
            let addresses: Vec<String> = own.map(|ip| ip.to_string()).collect();
            let node = node(pod::node(p));
            // A node that is not known (yet) cannot be routed to.
            if addresses.is_empty() || (node.is_none() && !backends::publishes_unready(service)) {
                continue;
            }
            let ports = ports(service, p);
            let group = || Group {
                address_type,
                ports: ports.clone(),
                endpoints: Vec::new(),
            };
            let group = by_ports.entry(format!("{ports:?}")).or_insert_with(group);
            group
                .endpoints
                .push(endpoint(service, p, addresses, node.as_deref()));
        }
        if by_ports.is_empty() {
            out.push(Group {
                address_type,
                ports: Vec::new(),
                endpoints: Vec::new(),
            });
        }
        out.extend(by_ports.into_values());
    }
    for group in &mut out {
        // In order of age and name, so that what is written does not depend on the order of a hash map.
        group
            .endpoints
            .sort_by(|a, b| a.addresses.cmp(&b.addresses));
    }
    out
}

fn endpoint(service: &Service, p: &Pod, addresses: Vec<String>, node: Option<&Node>) -> Endpoint {
    let serving = pod::ready(p);
    let terminating = p.metadata.deletion_timestamp.is_some();
    let ready = backends::publishes_unready(service) || (serving && !terminating);
    let zone = node.and_then(|n| n.metadata.labels.as_ref()?.get(ZONE).cloned());
    let node_name = Some(pod::node(p).to_owned()).filter(|n| !n.is_empty());
    Endpoint {
        hints: hints(service, ready, zone.as_deref(), node_name.as_deref()),
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: backends::hostname(p, service),
        node_name,
        target_ref: Some(backends::target_ref(p)),
        zone,
        ..Endpoint::default()
    }
}

/// Where traffic to a ready endpoint should come from, when the Service wants it kept near.
fn hints(
    service: &Service,
    ready: bool,
    zone: Option<&str>,
    node: Option<&str>,
) -> Option<EndpointHints> {
    let wish = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    if !ready {
        return None;
    }
    let for_zones = zone.map(|z| vec![ForZone { name: z.to_owned() }]);
    let for_nodes = node.map(|n| vec![ForNode { name: n.to_owned() }]);
    let hints = match wish {
        "PreferClose" | "PreferSameZone" => EndpointHints {
            for_zones,
            for_nodes: None,
        },
        "PreferSameNode" => EndpointHints {
            for_zones,
            for_nodes,
        },
        _ => return None,
    };
    (hints.for_zones.is_some() || hints.for_nodes.is_some()).then_some(hints)
}

fn ports(service: &Service, p: &Pod) -> Vec<EndpointPort> {
    let all = service
        .spec
        .as_ref()
        .and_then(|s| s.ports.as_deref())
        .unwrap_or_default();
    let found = all.iter().filter_map(|port| {
        Some(EndpointPort {
            port: Some(backends::target_port(p, port)?),
            name: Some(port.name.clone().unwrap_or_default()),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    });
    sorted(Some(found.collect()))
}

/// The groups of Endpoints that somebody made by hand.
pub fn mirrored(endpoints: &Endpoints) -> Vec<Group> {
    let mut by_ports: BTreeMap<String, Group> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = mirrored_ports(subset);
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let unready = subset
            .not_ready_addresses
            .iter()
            .flatten()
            .map(|a| (a, false));
        for (address, ready) in ready.chain(unready).take(MIRRORED) {
            let Ok(ip) = address.ip.parse::<IpAddr>() else {
                continue;
            };
            let address_type = family(&ip);
            let group = || Group {
                address_type,
                ports: ports.clone(),
                endpoints: Vec::new(),
            };
            let group = by_ports
                .entry(format!("{address_type}{ports:?}"))
                .or_insert_with(group);
            group.endpoints.push(mirrored_endpoint(address, &ip, ready));
        }
    }
    by_ports.into_values().collect()
}

fn mirrored_ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let port = |p: &k8s_openapi::api::core::v1::EndpointPort| EndpointPort {
        name: Some(p.name.clone().unwrap_or_default()),
        port: Some(p.port),
        protocol: Some(p.protocol.clone().unwrap_or_else(|| "TCP".into())),
        app_protocol: p.app_protocol.clone(),
    };
    sorted(Some(subset.ports.iter().flatten().map(port).collect()))
}

fn mirrored_endpoint(address: &EndpointAddress, ip: &IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone().filter(|h| !h.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backends::tests::service,
        pod::tests::{pod as from_json, running},
    };
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
    use serde_json::json;

    fn node(name: &str) -> Option<Arc<Node>> {
        let labels = json!({ZONE: "z1"});
        let node = json!({"metadata": {"name": name, "labels": labels}});
        (name == "n").then(|| Arc::new(serde_json::from_value(node).unwrap()))
    }

    fn pod(name: &str, ips: &[&str], ready: bool) -> Arc<Pod> {
        let mut p = running(name, "n", ready.then_some(1));
        let ips: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        p.status.as_mut().unwrap().pod_ips = serde_json::from_value(json!(ips)).unwrap();
        Arc::new(p)
    }

    fn words(groups: &[Group]) -> Vec<String> {
        let condition = |c: &EndpointConditions| {
            let mark = |b: Option<bool>, c| if b == Some(true) { c } else { "-" };
            [
                mark(c.ready, "r"),
                mark(c.serving, "s"),
                mark(c.terminating, "t"),
            ]
            .concat()
        };
        let endpoint = |e: &Endpoint| {
            format!(
                "{} {}",
                e.addresses.join("+"),
                condition(e.conditions.as_ref().unwrap())
            )
        };
        let group = |g: &Group| {
            let ports: Vec<_> = g
                .ports
                .iter()
                .map(|p| p.port.unwrap().to_string())
                .collect();
            let endpoints: Vec<_> = g.endpoints.iter().map(endpoint).collect();
            format!(
                "{} {}: {}",
                g.address_type,
                ports.join(","),
                endpoints.join(", ")
            )
        };
        groups.iter().map(group).collect()
    }

    #[test]
    fn conditions_and_families() {
        let mut going = Pod::clone(&pod("c", &["10.0.0.3"], true));
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let pods = [
            pod("a", &["10.0.0.1", "fd00::1"], true),
            pod("b", &["10.0.0.2"], false),
            Arc::new(going),
            pod("none", &[], true),
        ];
        let both = service(
            json!({"selector": {}, "ipFamilies": ["IPv4", "IPv6"], "ports": [{"port": 80}]}),
        );
        let want = [
            "IPv4 80: 10.0.0.1 rs-, 10.0.0.2 ---, 10.0.0.3 -st",
            "IPv6 80: fd00::1 rs-",
        ];
        assert_eq!(words(&groups(&both, &pods, node)), want);
        let early = service(
            json!({"selector": {}, "publishNotReadyAddresses": true, "ports": [{"port": 80}]}),
        );
        assert_eq!(
            words(&groups(&early, &pods, node)),
            ["IPv4 80: 10.0.0.1 rs-, 10.0.0.2 r--, 10.0.0.3 rst"]
        );
        assert_eq!(words(&groups(&both, &[], node)), ["IPv4 : ", "IPv6 : "]);
    }

    #[test]
    fn a_pod_on_an_unknown_node_waits_for_the_node() {
        let mut away = Pod::clone(&pod("a", &["10.0.0.1"], true));
        away.spec.as_mut().unwrap().node_name = Some("other".into());
        let svc = service(json!({"selector": {}, "ports": [{"port": 80}]}));
        assert_eq!(words(&groups(&svc, &[Arc::new(away)], node)), ["IPv4 : "]);
    }

    #[test]
    fn zones_hints_and_host_names() {
        let mut p = Pod::clone(&pod("a", &["10.0.0.1"], true));
        let named = from_json(
            json!({"spec": {"hostname": "db-0", "subdomain": "web", "nodeName": "n", "containers": []}}),
        );
        p.spec = named.spec;
        let pods = [Arc::new(p), pod("b", &["10.0.0.2"], false)];
        let svc = service(json!({"selector": {}, "trafficDistribution": "PreferSameNode"}));
        let made = groups(&svc, &pods, node);
        let [a, b] = made[0].endpoints.as_slice() else {
            panic!("two endpoints")
        };
        assert_eq!(
            (
                a.hostname.as_deref(),
                a.zone.as_deref(),
                a.node_name.as_deref()
            ),
            (Some("db-0"), Some("z1"), Some("n"))
        );
        let hints = a.hints.as_ref().unwrap();
        assert_eq!(hints.for_zones.as_ref().unwrap()[0].name, "z1");
        assert_eq!(hints.for_nodes.as_ref().unwrap()[0].name, "n");
        assert_eq!((&b.hints, &b.hostname), (&None, &None));
    }

    #[test]
    fn hand_made_endpoints_are_mirrored_by_family() {
        let endpoints: Endpoints = serde_json::from_value(json!({"subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
             "ports": [{"name": "x", "port": 443}]},
            {"addresses": [{"ip": "10.0.0.9"}], "ports": [{"name": "x", "port": 443, "protocol": "TCP"}]},
        ]}))
        .unwrap();
        let want = [
            "IPv4 443: 10.0.0.1 r--, 10.0.0.2 ---, 10.0.0.9 r--",
            "IPv6 443: fd00::1 r--",
        ];
        assert_eq!(words(&mirrored(&endpoints)), want);
    }
}
