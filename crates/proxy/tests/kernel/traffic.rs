use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use knarr_proxy::Backend;
use serde_json::json;

use crate::node::{
    Line, Machine, NODE, Proxy, TIMEOUT, World, ask_udp, on_a_node, run, spread, tcp, udp,
};

const IP: &str = "10.96.0.10";
const WEB: &str = "10.96.0.10:80";

fn both_answer(counts: std::collections::BTreeMap<String, usize>) {
    assert!(
        counts["a"] > 5 && counts["b"] > 5 && counts.len() == 2,
        "{counts:?}"
    );
}

fn node_port(extra: serde_json::Value) -> serde_json::Value {
    let mut spec = json!({ "type": "NodePort", "ports": [
        { "name": "tcp", "port": 80, "nodePort": 30080, "protocol": "TCP" },
        { "name": "udp", "port": 80, "nodePort": 30080, "protocol": "UDP" }] });
    spec.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    spec
}

#[test]
fn a_cluster_ip_spreads_over_its_endpoints() {
    on_a_node(|mut w| {
        let both = w.both();
        w.proxy
            .service("web", IP, json!({}))
            .endpoints("web", &both)
            .apply();
        // Whether or not the machine runs bridged frames through its firewall.
        for bridge_netfilter in ["0", "1"] {
            let _ = std::fs::write(
                "/proc/sys/net/bridge/bridge-nf-call-iptables",
                bridge_netfilter,
            );
            both_answer(w.client.inside(|| spread(|| tcp(WEB))));
            both_answer(w.client.inside(|| spread(|| udp(WEB))));
            both_answer(spread(|| tcp(WEB)));
            both_answer(spread(|| udp(WEB)));
            // Pods see who asks.
            assert_eq!(
                w.client.inside(|| tcp(WEB)).unwrap().client,
                w.client.ips[0].to_string()
            );
            // Endpoints reach themselves, as somebody else.
            both_answer(w.a.inside(|| spread(|| tcp(WEB))));
            both_answer(w.b.inside(|| spread(|| udp(WEB))));
        }
        // Clients outside get answers although they are not routed to pods.
        both_answer(w.outside.inside(|| spread(|| tcp(WEB))));
        // A port that no Service has is refused, not sent anywhere.
        let start = Instant::now();
        assert!(w.client.inside(|| tcp("10.96.0.10:81")).is_err() && tcp("10.96.0.10:81").is_err());
        assert!(start.elapsed() < TIMEOUT);
    });
}

#[test]
fn ipv6_is_routed_alike() {
    on_a_node(|mut w| {
        let six = [w.a.ips[1], w.b.ips[1]];
        let ports = node_port(json!({ "clusterIPs": ["fd96::10"] }));
        w.proxy
            .service("web", "fd96::10", ports)
            .endpoints("web", &six)
            .apply();
        both_answer(w.client.inside(|| spread(|| tcp("[fd96::10]:80"))));
        both_answer(spread(|| udp("[fd96::10]:80")));
        both_answer(w.a.inside(|| spread(|| tcp("[fd96::10]:80"))));
        both_answer(w.client.inside(|| spread(|| tcp("[fd42::1]:30080"))));
        assert!(tcp("[::1]:30080").is_err());
    });
}

#[test]
fn a_node_port_answers_on_every_address_of_the_node() {
    on_a_node(|mut w| {
        let both = w.both();
        w.proxy
            .service("web", IP, node_port(json!({})))
            .endpoints("web", &both)
            .apply();
        let to = format!("{NODE}:30080");
        both_answer(w.outside.inside(|| spread(|| tcp(&to))));
        both_answer(w.outside.inside(|| spread(|| udp(&to))));
        both_answer(w.client.inside(|| spread(|| tcp(&to))));
        both_answer(w.a.inside(|| spread(|| tcp(&to))));
        both_answer(spread(|| tcp(&to)));
        both_answer(spread(|| tcp("127.0.0.1:30080")));
        both_answer(spread(|| udp("127.0.0.1:30080")));
        // The answer must come back by this node: the client looks like it.
        assert_eq!(w.outside.inside(|| tcp(&to)).unwrap().client, "10.42.0.1");
        w.proxy.delete_service("web").apply();
        assert!(w.outside.inside(|| tcp(&to)).is_err() && tcp(WEB).is_err());
    });
}

#[test]
fn local_policy_keeps_the_clients_address_and_the_node() {
    on_a_node(|mut w| {
        let (here, both) = ([w.a.ips[0]], w.both());
        let local = || node_port(json!({ "externalTrafficPolicy": "Local" }));
        w.proxy
            .service("web", IP, local())
            .endpoints("web", &here)
            .apply();
        let to = format!("{NODE}:30080");
        assert_eq!(
            w.outside.inside(|| tcp(&to)).unwrap().client,
            "198.51.100.2"
        );
        assert_eq!(tcp("127.0.0.1:30080").unwrap().server, "a");

        // With endpoints on other nodes only, outside clients are dropped and those inside still served.
        w.proxy.endpoints_on("web", "n2", &both).apply();
        let start = Instant::now();
        assert!(w.outside.inside(|| udp(&to)).is_err());
        assert!(
            start.elapsed() > Duration::from_millis(900),
            "was refused, must be dropped"
        );
        both_answer(w.client.inside(|| spread(|| tcp(&to))));
        both_answer(spread(|| tcp(&to)));

        w.proxy
            .service("web", IP, json!({ "internalTrafficPolicy": "Local" }))
            .apply();
        assert!(w.client.inside(|| udp(WEB)).is_err());
        w.proxy.endpoints("web", &here).apply();
        assert_eq!(w.client.inside(|| udp(WEB)).unwrap().server, "a");
    });
}

#[test]
fn external_addresses_and_who_may_use_them() {
    on_a_node(|mut w| {
        let both = w.both();
        w.proxy
            .service("web", IP, json!({ "externalIPs": ["203.0.113.7"] }))
            .endpoints("web", &both)
            .apply();
        both_answer(w.outside.inside(|| spread(|| tcp("203.0.113.7:80"))));
        both_answer(w.client.inside(|| spread(|| tcp("203.0.113.7:80"))));
        // Another Service that wants the same address gets it when the first lets go.
        let (a, b) = ([both[0]], [both[1]]);
        w.proxy.endpoints("web", &a).apply();
        w.proxy
            .service(
                "zweb",
                "10.96.0.11",
                json!({ "externalIPs": ["203.0.113.7"] }),
            )
            .endpoints("zweb", &b)
            .apply();
        assert_eq!(
            w.outside.inside(|| tcp("203.0.113.7:80")).unwrap().server,
            "a"
        );
        w.proxy.delete_service("web").apply();
        assert_eq!(
            w.outside.inside(|| tcp("203.0.113.7:80")).unwrap().server,
            "b"
        );
    });
}

#[test]
fn endpoints_come_and_go_under_open_connections() {
    on_a_node(|mut w| {
        let both = w.both();
        let (a, b) = ([both[0]], [both[1]]);
        w.proxy.service("web", IP, json!({})).apply();
        let answers = [
            w.client.inside(|| tcp(WEB)),
            tcp(WEB),
            w.client.inside(|| udp(WEB)),
            udp(WEB),
        ];
        let kinds = answers.map(|refused| refused.unwrap_err().kind());
        // The host's own datagrams are refused when they are sent.
        use std::io::ErrorKind::{ConnectionRefused, PermissionDenied};
        assert_eq!(
            kinds,
            [
                ConnectionRefused,
                ConnectionRefused,
                ConnectionRefused,
                PermissionDenied
            ]
        );
        w.proxy.endpoints("web", &a).apply();
        let mut line = w.client.inside(|| Line::open(WEB)).unwrap();
        let mut from_node = Line::open(WEB).unwrap();
        assert_eq!(line.ask().unwrap().server, "a");
        w.proxy.endpoints("web", &both).apply();
        both_answer(w.client.inside(|| spread(|| tcp(WEB))));
        w.proxy.endpoints("web", &b).apply();
        for _ in 0..20 {
            assert_eq!(w.client.inside(|| tcp(WEB)).unwrap().server, "b");
        }
        // What was open stays where it was, also when the Service goes and everything is installed anew.
        assert_eq!(line.ask().unwrap().server, "a");
        w.proxy.delete_service("web").apply();
        w.proxy = Proxy::open();
        w.proxy.service("other", "10.96.0.12", json!({})).apply();
        assert_eq!(
            (line.ask().unwrap().server, from_node.ask().unwrap().server),
            ("a".into(), "a".into())
        );
    });
}

#[test]
fn udp_flows_leave_endpoints_that_are_gone() {
    on_a_node(|mut w| {
        let (a, b) = ([w.a.ips[0]], [w.b.ips[0]]);
        w.proxy
            .service("dns", IP, node_port(json!({})))
            .endpoints("dns", &a)
            .apply();
        let socket = |to: &str| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(to).unwrap();
            socket
        };
        let by_cluster_ip = w.client.inside(|| socket(WEB));
        let by_node_port = w.outside.inside(|| socket("198.51.100.1:30080"));
        for s in [&by_cluster_ip, &by_node_port] {
            assert_eq!(ask_udp(s).unwrap().server, "a");
        }
        w.proxy.endpoints("dns", &b).apply();
        for s in [&by_cluster_ip, &by_node_port] {
            assert_eq!(ask_udp(s).unwrap().server, "b");
        }
        w.proxy.endpoints("dns", &[]).apply();
        assert!(ask_udp(&by_cluster_ip).is_err());
        w.proxy.endpoints("dns", &a).apply();
        assert_eq!(ask_udp(&by_cluster_ip).unwrap().server, "a");
    });
}

#[test]
fn a_client_with_affinity_keeps_its_endpoint() {
    on_a_node(|mut w| {
        let both = w.both();
        let sticky = |seconds: i32| json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": seconds } } });
        let served_by = |w: &World| w.client.inside(|| spread(|| tcp(WEB)));
        w.proxy
            .service("web", IP, sticky(100))
            .endpoints("web", &both)
            .apply();
        let first = served_by(&w);
        assert_eq!(first.len(), 1);
        // A change elsewhere in the Service does not forget it.
        w.proxy.service("web", IP, node_port(sticky(100))).apply();
        assert_eq!(served_by(&w), first);
        w.proxy.service("web", IP, sticky(50)).apply();
        assert_eq!(served_by(&w).len(), 1);
        w.proxy.service("web", IP, json!({})).apply();
        both_answer(served_by(&w));
    });
}

#[test]
fn a_load_balancers_source_ranges_are_kept() {
    on_a_node(|w| {
        // The status of a load balancer is only set by applying a whole object.
        let World {
            a, outside, client, ..
        } = &w;
        let port = knarr_proxy::ServicePort {
            namespace: "default".into(),
            service: "lb".into(),
            port_name: String::new(),
            family: knarr_proxy::IpFamily::V4,
            protocol: knarr_proxy::Protocol::Tcp,
            cluster_ip: IP.parse().unwrap(),
            port: 80,
            external_ips: vec![],
            load_balancer_ips: vec!["203.0.113.9".parse().unwrap()],
            source_ranges: vec!["10.42.0.0/16".parse().unwrap()],
            node_port: None,
            affinity: None,
            cluster: knarr_proxy::Routing::To(vec![knarr_proxy::Endpoint {
                ip: a.ips[0],
                port: 80,
            }]),
            local: knarr_proxy::Routing::Drop,
            internal_local: false,
            external_local: false,
        };
        let mut proxy = Proxy::open();
        let change = knarr_proxy::ServiceChange {
            old: vec![],
            new: vec![port],
        };
        knarr_proxy::Backend::apply(
            &mut proxy.backend,
            &knarr_proxy::Diff {
                changes: vec![change],
            },
        )
        .unwrap();
        assert_eq!(client.inside(|| tcp("203.0.113.9:80")).unwrap().server, "a");
        let refused = || {
            std::net::TcpStream::connect_timeout(
                &"203.0.113.9:80".parse().unwrap(),
                Duration::from_millis(700),
            )
        };
        assert!(outside.inside(refused).is_err());
    });
}

#[test]
fn rules_outlive_the_proxy_and_go_with_teardown() {
    on_a_node(|mut w| {
        let both = w.both();
        w.proxy
            .service("web", IP, json!({}))
            .endpoints("web", &both)
            .apply();
        // Opening another proxy changes nothing until it knows everything.
        w.proxy = Proxy::open();
        both_answer(w.client.inside(|| spread(|| tcp(WEB))));
        w.proxy
            .service("web", IP, json!({}))
            .endpoints("web", &both)
            .apply();
        both_answer(w.client.inside(|| spread(|| tcp(WEB))));
        // Somebody removes our rules: the next change brings all of them back.
        run("nft", &["flush", "ruleset"]);
        w.proxy.service("other", "10.96.0.11", json!({})).apply();
        assert_eq!(w.client.inside(|| spread(|| tcp(WEB))).len(), 2);
        // It also finds that out by itself.
        assert!(!w.proxy.backend.check().unwrap());
        run("nft", &["flush", "ruleset"]);
        assert!(w.proxy.backend.check().unwrap());
        assert_eq!(w.client.inside(|| spread(|| tcp(WEB))).len(), 2);
        knarr_proxy::teardown().unwrap();
        knarr_proxy::teardown().unwrap();
        assert!(!run("nft", &["list", "ruleset"]).contains("knarr-proxy"));
    });
}

/// The API server and the cluster's DNS are such Services.
#[test]
fn the_node_itself_can_be_an_endpoint() {
    on_a_node(|mut w| {
        let node = Machine::node();
        w.proxy.service("api", IP, node_port(json!({})));
        for address in ["10.42.0.1", NODE] {
            node.serve_at(address);
            w.proxy
                .endpoints("api", &[address.parse().unwrap()])
                .apply();
            for answer in [
                w.client.inside(|| tcp(WEB)),
                w.client.inside(|| udp(WEB)),
                tcp(WEB),
                udp(WEB),
            ] {
                assert_eq!(answer.unwrap().server, "node", "{address}");
            }
            assert_eq!(tcp("127.0.0.1:30080").unwrap().server, "node");
            assert_eq!(
                w.outside
                    .inside(|| udp("198.51.100.1:30080"))
                    .unwrap()
                    .server,
                "node"
            );
        }
    });
}
