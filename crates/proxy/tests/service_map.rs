//! Which endpoints a Service has on a node, as tables.

use std::{net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use knarr_client::informer::Key;
use knarr_proxy::{HealthCheck, IpFamily, Node, Protocol, Routing, ServiceMap, ServicePort};
use proptest::prelude::*;
use serde_json::{Value, json};

fn service(name: &str, spec: Value) -> Arc<Service> {
    let object = json!({ "metadata": { "namespace": "default", "name": name }, "spec": spec });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn slice(name: &str, service: &str, endpoints: Value) -> Arc<EndpointSlice> {
    slice_of(
        name,
        service,
        "IPv4",
        endpoints,
        json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]),
    )
}

fn slice_of(
    name: &str,
    service: &str,
    family: &str,
    endpoints: Value,
    ports: Value,
) -> Arc<EndpointSlice> {
    let labels = json!({ "kubernetes.io/service-name": service });
    let metadata = json!({ "namespace": "default", "name": name, "labels": labels });
    let object = json!({ "metadata": metadata, "addressType": family, "endpoints": endpoints, "ports": ports });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn web() -> Value {
    json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "type": "ClusterIP",
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] })
}

fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    base
}

fn map() -> ServiceMap {
    ServiceMap::new(Node {
        name: "n1".into(),
        zone: Some("z1".into()),
    })
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn ready(ip: &str, node: &str) -> Value {
    json!({ "addresses": [ip], "nodeName": node, "conditions": { "ready": true, "serving": true, "terminating": false } })
}

fn ending(ip: &str, node: &str, serving: bool) -> Value {
    json!({ "addresses": [ip], "nodeName": node,
            "conditions": { "ready": false, "serving": serving, "terminating": true } })
}

fn hinted(ip: &str, zone: &str, node: Option<&str>) -> Value {
    let nodes = node.map(|n| json!([{ "name": n }])).unwrap_or(Value::Null);
    with(
        ready(ip, "other"),
        json!({ "hints": { "forZones": [{ "name": zone }], "forNodes": nodes } }),
    )
}

fn only_port(map: &ServiceMap, name: &str) -> ServicePort {
    let mut ports = map.ports(&key(name));
    assert_eq!(ports.len(), 1);
    ports.remove(0)
}

fn ips(routing: &Routing) -> Vec<String> {
    routing
        .endpoints()
        .iter()
        .map(|e| e.ip.to_string())
        .collect()
}

#[test]
fn endpoints_by_state_and_topology() {
    let cases: [(&str, Value, &[&str], &[&str]); 9] = [
        (
            "ready ones",
            json!([ready("10.0.0.1", "n1"), ready("10.0.0.2", "n2")]),
            &["10.0.0.1", "10.0.0.2"],
            &["10.0.0.1"],
        ),
        (
            "those that end are passed over",
            json!([ready("10.0.0.1", "n2"), ending("10.0.0.2", "n2", true)]),
            &["10.0.0.1"],
            &[],
        ),
        (
            "until there is no other",
            json!([
                ending("10.0.0.1", "n2", true),
                ending("10.0.0.2", "n2", false)
            ]),
            &["10.0.0.1"],
            &[],
        ),
        (
            "which each node decides for itself",
            json!([ending("10.0.0.1", "n1", true), ready("10.0.0.2", "n2")]),
            &["10.0.0.2"],
            &["10.0.0.1"],
        ),
        (
            "no conditions means ready",
            json!([{ "addresses": ["10.0.0.1"] }]),
            &["10.0.0.1"],
            &[],
        ),
        (
            "not ready and not ending is never used",
            json!([{ "addresses": ["10.0.0.1"], "conditions": { "ready": false, "serving": false } }]),
            &[],
            &[],
        ),
        (
            "hints for the zone",
            json!([
                hinted("10.0.0.1", "z1", None),
                hinted("10.0.0.2", "z2", None)
            ]),
            &["10.0.0.1"],
            &[],
        ),
        (
            "hints for the node come first",
            json!([
                hinted("10.0.0.1", "z1", Some("n2")),
                hinted("10.0.0.2", "z2", Some("n1"))
            ]),
            &["10.0.0.2"],
            &[],
        ),
        (
            "incomplete hints do not count",
            json!([hinted("10.0.0.1", "z2", None), ready("10.0.0.2", "n2")]),
            &["10.0.0.1", "10.0.0.2"],
            &[],
        ),
    ];
    for (name, endpoints, cluster, local) in cases {
        let mut map = map();
        map.apply_service(service("web", web()));
        map.apply_slice(None, slice("web-1", "web", endpoints));
        let port = only_port(&map, "web");
        assert_eq!(
            (ips(&port.cluster), ips(&port.local)),
            (owned(cluster), owned(local)),
            "{name}"
        );
    }
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn nobody_here_is_not_nobody_at_all() {
    let mut map = map();
    map.apply_service(service(
        "web",
        with(web(), json!({ "internalTrafficPolicy": "Local" })),
    ));
    assert_eq!(*only_port(&map, "web").internal(), Routing::Reject);
    map.apply_slice(
        None,
        slice("web-1", "web", json!([ready("10.0.0.1", "n2")])),
    );
    assert_eq!(*only_port(&map, "web").internal(), Routing::Drop);
    map.apply_slice(
        None,
        slice("web-2", "web", json!([ready("10.0.0.2", "n1")])),
    );
    assert_eq!(ips(only_port(&map, "web").internal()), ["10.0.0.2"]);
    assert_eq!(
        ips(only_port(&map, "web").external()),
        ["10.0.0.1", "10.0.0.2"]
    );
}

#[test]
fn what_is_not_routed() {
    let specs = [
        json!({ "type": "ExternalName", "externalName": "example.org", "clusterIP": "10.96.0.1", "ports": [{ "port": 80 }] }),
        with(
            web(),
            json!({ "clusterIP": "None", "clusterIPs": ["None"] }),
        ),
        with(web(), json!({ "clusterIP": "", "clusterIPs": [] })),
        with(
            web(),
            json!({ "ports": [{ "port": 0 }, { "port": 70000 }, { "port": 80, "protocol": "QUIC" }] }),
        ),
        with(web(), json!({ "ports": null })),
    ];
    for spec in specs {
        let mut map = map();
        map.apply_service(service("x", spec.clone()));
        assert_eq!(map.ports(&key("x")), [], "{spec}");
    }
    let mut map = map();
    let mut other = (*service("x", web())).clone();
    other.metadata.labels = Some(
        [(
            "service.kubernetes.io/service-proxy-name".to_owned(),
            "mesh".to_owned(),
        )]
        .into(),
    );
    map.apply_service(Arc::new(other));
    assert_eq!(map.ports(&key("x")), []);
    assert_eq!(map.ports(&key("missing")), []);
}

#[test]
fn ports_are_matched_by_name_and_protocol_in_each_family() {
    let mut map = map();
    map.apply_service(service(
        "dns",
        json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd96::10"],
                "ports": [{ "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "dns-tcp", "port": 53, "protocol": "TCP" }] }),
    ));
    let ports = json!([{ "name": "dns", "port": 5353, "protocol": "UDP" }, { "name": "dns-tcp", "port": 5354, "protocol": "TCP" }]);
    map.apply_slice(
        None,
        slice_of(
            "a",
            "dns",
            "IPv4",
            json!([ready("10.0.0.1", "n1")]),
            ports.clone(),
        ),
    );
    map.apply_slice(
        None,
        slice_of("b", "dns", "IPv6", json!([ready("fd00::1", "n1")]), ports),
    );
    let found: Vec<(Protocol, IpFamily, String)> = map
        .ports(&key("dns"))
        .iter()
        .map(|p| {
            (
                p.protocol,
                p.family,
                format!(
                    "{}:{}",
                    p.cluster.endpoints()[0].ip,
                    p.cluster.endpoints()[0].port
                ),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (Protocol::Udp, IpFamily::V4, "10.0.0.1:5353".to_owned()),
            (Protocol::Udp, IpFamily::V6, "fd00::1:5353".to_owned()),
            (Protocol::Tcp, IpFamily::V4, "10.0.0.1:5354".to_owned()),
            (Protocol::Tcp, IpFamily::V6, "fd00::1:5354".to_owned()),
        ]
    );
}

#[test]
fn outside_addresses_and_options() {
    let mut map = map();
    let spec = with(
        web(),
        json!({ "type": "LoadBalancer", "externalIPs": ["203.0.113.7", "fd00::7"], "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 31000, "loadBalancerSourceRanges": [" 192.0.2.0/24", "nonsense"],
                "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 60 } },
                "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }] }),
    );
    let mut web = (*service("web", spec)).clone();
    let ingress = json!({ "loadBalancer": { "ingress": [{ "ip": "198.51.100.9" }, { "ip": "198.51.100.10", "ipMode": "Proxy" }] } });
    web.status = serde_json::from_value(ingress).unwrap();
    map.apply_service(Arc::new(web));
    map.apply_slice(
        None,
        slice(
            "a",
            "web",
            json!([ready("10.0.0.1", "n1"), ready("10.0.0.2", "n2")]),
        ),
    );
    let port = only_port(&map, "web");
    assert_eq!(
        port.external_ips,
        ["203.0.113.7".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(
        port.load_balancer_ips,
        ["198.51.100.9".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(port.source_ranges.len(), 1);
    assert_eq!(
        (port.node_port, port.affinity),
        (Some(30080), Some(Duration::from_secs(60)))
    );
    assert_eq!(ips(port.external()), ["10.0.0.1"]);
    assert_eq!(
        map.health_check(&key("web")),
        Some(HealthCheck {
            port: 31000,
            local_endpoints: 1
        })
    );
}

#[test]
fn changes_name_the_services_they_touch() {
    let mut map = map();
    let changed = |map: &mut ServiceMap| {
        let mut names: Vec<String> = map.take_changed().into_iter().map(|k| k.name).collect();
        names.sort();
        names
    };
    map.apply_service(service("a", web()));
    map.apply_service(service("b", web()));
    assert_eq!(changed(&mut map), ["a", "b"]);
    let of_a = slice("s", "a", json!([ready("10.0.0.1", "n1")]));
    map.apply_slice(None, of_a.clone());
    assert_eq!(changed(&mut map), ["a"]);
    map.apply_slice(
        Some(&of_a),
        slice("s", "b", json!([ready("10.0.0.1", "n1")])),
    );
    assert_eq!(changed(&mut map), ["a", "b"]);
    assert_eq!(*only_port(&map, "a").internal(), Routing::Reject);
    map.set_node(Node {
        name: "n1".into(),
        zone: Some("z1".into()),
    });
    assert_eq!(changed(&mut map), Vec::<String>::new());
    map.set_node(Node {
        name: "n1".into(),
        zone: Some("z2".into()),
    });
    assert_eq!(changed(&mut map), ["a", "b"]);
    map.delete_service(&service("a", web()));
    assert_eq!(changed(&mut map), ["a"]);
    assert_eq!(map.ports(&key("a")), []);
}

proptest! {
    /// Slices from anywhere never make the map route to what is neither ready nor serving, or to an address twice.
    #[test]
    fn only_usable_endpoints_are_routed(
        endpoints in prop::collection::vec((0u8..6, prop::option::of(any::<bool>()), any::<bool>(), any::<bool>(), 0u8..3), 0..12)
    ) {
        let mut map = map();
        map.apply_service(service("web", web()));
        let mut usable = std::collections::HashSet::new();
        for (n, (ip, ready, serving, terminating, node)) in endpoints.iter().enumerate() {
            let address = format!("10.0.0.{ip}");
            if ready.unwrap_or(true) || (*serving && *terminating) {
                usable.insert(address.clone());
            }
            let conditions = json!({ "ready": ready, "serving": serving, "terminating": terminating });
            let endpoint = json!({ "addresses": [address], "nodeName": format!("n{node}"), "conditions": conditions });
            map.apply_slice(None, slice(&format!("s{n}"), "web", json!([endpoint])));
        }
        let port = only_port(&map, "web");
        for routing in [&port.cluster, &port.local] {
            let found = ips(routing);
            let unique: std::collections::HashSet<&String> = found.iter().collect();
            prop_assert_eq!(unique.len(), found.len());
            prop_assert!(found.iter().all(|ip| usable.contains(ip)));
        }
        prop_assert_eq!(usable.is_empty(), port.cluster == Routing::Reject);
    }
}
