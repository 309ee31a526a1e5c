use serde_json::json;

use crate::node::{Proxy, on_a_node, run, tcp};

/// Adds Services `svc-0`… with two endpoints each.
fn fill(proxy: &mut Proxy, services: u32) {
    for n in 0..services {
        let name = format!("svc-{n}");
        let ip = std::net::Ipv4Addr::from(0x0a61_0000 + n);
        let endpoints =
            [0x0a2a_8000u32, 0x0a2b_0000].map(|base| std::net::IpAddr::V4((base + n).into()));
        proxy
            .service(&name, &ip.to_string(), json!({}))
            .endpoints(&name, &endpoints);
    }
    proxy.apply();
}

#[test]
fn a_change_costs_the_same_with_ten_thousand_services() {
    on_a_node(|mut w| {
        let (a, b) = ([w.a.ips[0]], [w.b.ips[0]]);
        let mut costs = Vec::new();
        for services in [10, 10_000] {
            w.proxy = Proxy::open();
            w.proxy
                .service("web", "10.96.0.10", json!({}))
                .endpoints("web", &a);
            let start = std::time::Instant::now();
            fill(&mut w.proxy, services);
            eprintln!("{services} services installed in {:?}", start.elapsed());
            assert_eq!(tcp("10.96.0.10:80").unwrap().server, "a");
            for _ in 0..3 {
                w.proxy.endpoints("web", &a).apply();
                w.proxy.endpoints("web", &b).apply();
            }
            w.proxy
                .service("web", "10.96.0.10", json!({"externalIPs": ["203.0.113.1"]}))
                .apply();
            w.proxy.service("web", "10.96.0.10", json!({})).apply();
            w.proxy.endpoints("web", &a).apply();
            let start = std::time::Instant::now();
            w.proxy.endpoints("web", &b).apply();
            eprintln!("one changed in {:?}", start.elapsed());
            assert_eq!(tcp("10.96.0.10:80").unwrap().server, "b");
            costs.push(w.proxy.backend.last_messages());
            // What changes nothing costs nothing.
            let before = w.proxy.backend.last_messages();
            w.proxy.endpoints("web", &b).apply();
            assert_eq!(w.proxy.backend.last_messages(), before);
        }
        assert_eq!(costs[0], costs[1]);
        assert!(costs[0] < 40, "{costs:?}");
    });
}

#[test]
fn differences_end_where_a_new_start_would() {
    on_a_node(|mut w| {
        let both = w.both();
        let steps: [&dyn Fn(&mut Proxy); 7] = [
            &|p| {
                p.service("x", "10.96.0.1", json!({})).endpoints("x", &both);
            },
            &|p| {
                p.service(
                    "y",
                    "10.96.0.2",
                    json!({ "externalIPs": ["203.0.113.1"], "sessionAffinity": "ClientIP" }),
                );
            },
            &|p| {
                p.endpoints("y", &both[..1]);
            },
            &|p| {
                p.service(
                    "x",
                    "10.96.0.3",
                    json!({ "type": "NodePort", "externalTrafficPolicy": "Local",
                     "ports": [{ "name": "tcp", "port": 81, "nodePort": 31000 }] }),
                );
            },
            &|p| {
                p.endpoints("x", &both[1..]);
            },
            &|p| {
                p.endpoints_on("y", "n2", &both);
            },
            &|p| {
                p.delete_service("x");
            },
        ];
        for n in 0..steps.len() {
            steps[n](&mut w.proxy);
            w.proxy.apply();
            let by_difference = sorted_ruleset();
            let mut fresh = Proxy::open();
            steps[..=n].iter().for_each(|step| step(&mut fresh));
            fresh.apply();
            assert_eq!(by_difference, sorted_ruleset(), "after step {n}");
        }
    });
}

/// The ruleset, each chain and set on its own, in an order that does not depend on how it came about.
fn sorted_ruleset() -> Vec<String> {
    let listing = run("nft", &["list", "ruleset"]);
    let mut blocks: Vec<String> = listing
        .split("\n\n")
        .flat_map(|b| b.split("\n}\n"))
        .map(sorted_elements)
        .collect();
    blocks.sort();
    blocks
}

fn sorted_elements(block: &str) -> String {
    let Some((head, elements)) = block.split_once("elements = {") else {
        return block.trim().to_owned();
    };
    let mut elements: Vec<&str> = elements
        .split([',', '}'])
        .map(str::trim)
        .filter(|e| !e.is_empty())
        .collect();
    elements.sort();
    format!("{} {}", head.trim(), elements.join(", "))
}
