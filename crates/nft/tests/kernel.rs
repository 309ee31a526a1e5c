//! Against the kernel, in network namespaces of their own, read back with the `nft` tool and felt by real packets. Skipped
//! without root; the readings by `nft` also without that tool.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::Duration,
};

use knarr_nft::{
    Batch, Chain, Connection, CtState, Element, Family, Field, Hook, Key, KeyType, Reject, Rule,
    Set, Table, Verdict, netns,
};

/// Runs a test in a fresh namespace whose loopback is up.
fn in_namespace(test: impl FnOnce() + Send) {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    netns::fresh(|| {
        run("ip", &["link", "set", "lo", "up"]);
        test();
    })
    .expect("network namespace");
}

/// An interface with a default route that leads nowhere.
fn uplink() {
    run(
        "ip",
        &["link", "add", "up0", "type", "veth", "peer", "name", "up1"],
    );
    run("ip", &["link", "set", "up1", "up"]);
    run("ip", &["link", "set", "up0", "up"]);
    run("ip", &["address", "add", "10.1.1.1/24", "dev", "up0"]);
    run("ip", &["route", "add", "default", "via", "10.1.1.2"]);
}

fn is_root() -> bool {
    // SAFETY: has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the `nft` tool shows, blanks made equal.
fn ruleset() -> Option<String> {
    Command::new("nft").arg("--version").output().ok()?;
    let listing = run("nft", &["list", "ruleset"]);
    Some(
        listing
            .lines()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join("\n"),
    )
}

fn assert_listed(lines: &[&str]) {
    let Some(ruleset) = ruleset() else {
        return eprintln!("skipped: no nft tool");
    };
    for line in lines {
        assert!(ruleset.contains(line), "{line:?} is not in:\n{ruleset}");
    }
}

fn commit(batch: &Batch) {
    Connection::open().unwrap().commit(batch).unwrap();
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn table_with(rules: &[Rule]) -> (Table, Batch) {
    let table = Table::new(Family::Ipv4, "t");
    let mut batch = Batch::new();
    batch.add_table(&table);
    batch.add_chain(&table, &Chain::regular("other"));
    batch.add_chain(&table, &Chain::regular("c"));
    rules.iter().for_each(|r| batch.add_rule(&table, "c", r));
    (table, batch)
}

#[test]
fn rules_read_as_meant() {
    in_namespace(|| {
        let r = || Rule::new(Family::Ipv4);
        let (_, batch) = table_with(&[
            r().saddr("10.1.0.0/16".parse().unwrap())
                .daddr_not("10.2.3.4/32".parse().unwrap())
                .accept(),
            r().iifname("knarr0").oifname("kn*").drop(),
            r().iifname_not("lo").oifname_not("lo").counter(),
            r().l4proto(6).dport(8080).jump("other"),
            r().ct_state(CtState(CtState::NEW.0 | CtState::RELATED.0))
                .ct_dnat()
                .goto("other"),
            r().ct_mark(7).mark(0x4000).set_mark(0x4000),
            r().clear_mark(0x4000),
            r().saddr_local().verdict(Verdict::Return),
            r().daddr_local().l4proto(6).reject(Reject::TcpReset),
            r().reject(Reject::PortUnreachable).comment("nobody here"),
            r().once_in(3).goto("other"),
            r().random(vec![
                Verdict::Goto("other".into()),
                Verdict::Jump("other".into()),
            ]),
        ]);
        commit(&batch);
        assert_listed(&[
            "ip saddr 10.1.0.0/16 ip daddr != 10.2.3.4 accept",
            "iifname \"knarr0\" oifname \"kn*\" drop",
            "iifname != \"lo\" oifname != \"lo\" counter packets 0 bytes 0",
            "tcp dport 8080 jump other",
            "ct state related,new ct status dnat goto other",
            "ct mark 0x00000007 meta mark & 0x00004000 != 0x00000000 meta mark set meta mark | 0x00004000",
            "meta mark set meta mark & 0xffffbfff",
            "fib saddr type local return",
            "fib daddr type local reject with tcp reset",
            "reject comment \"nobody here\"",
            "numgen random mod 3 0 goto other",
            "numgen random mod 2 vmap { 0 : goto other, 1 : jump other }",
        ]);
    });
}

#[test]
fn ipv6_and_inet_rules_read_as_meant() {
    in_namespace(|| {
        let table = Table::new(Family::Inet, "both");
        let mut batch = Batch::new();
        batch.add_table(&table);
        batch.add_chain(&table, &Chain::filter("in", Hook::Input, -5));
        batch.add_chain(&table, &Chain::nat("pre", Hook::Prerouting, -100));
        batch.add_rule(
            &table,
            "in",
            &Rule::inet(Family::Ipv6)
                .saddr("fd00:1::/64".parse().unwrap())
                .drop(),
        );
        batch.add_rule(
            &table,
            "pre",
            &Rule::inet(Family::Ipv6)
                .l4proto(17)
                .dport(53)
                .dnat(ip("fd00::53"), Some(5353)),
        );
        commit(&batch);
        assert_listed(&[
            "table inet both {",
            "type filter hook input priority filter - 5; policy accept;",
            "ip6 saddr fd00:1::/64 drop",
            "meta nfproto ipv6 udp dport 53 dnat ip6 to [fd00::53]:5353",
        ]);
    });
}

#[test]
fn sets_and_maps_read_as_meant() {
    in_namespace(|| {
        let table = Table::new(Family::Ipv4, "t");
        let key = [KeyType::Ipv4Addr, KeyType::Proto, KeyType::Port];
        let service = Key::new().ip(ip("10.96.0.1")).proto(6).port(443);
        let mut b = Batch::new();
        b.add_table(&table);
        b.add_chain(&table, &Chain::regular("svc"));
        b.add_chain(&table, &Chain::nat("pre", Hook::Prerouting, -100));
        b.add_set(&table, &Set::verdict_map("services", &key));
        b.add_elements(
            &table,
            "services",
            &[Element::verdict(&service, Verdict::Goto("svc".into())).comment("web")],
        );
        b.add_set(
            &table,
            &Set::map(
                "ports",
                &[KeyType::Proto, KeyType::Port],
                &[KeyType::Ipv4Addr, KeyType::Port],
            ),
        );
        let target = Key::new().ip(ip("10.0.0.9")).port(8080);
        b.add_elements(
            &table,
            "ports",
            &[Element::value(&Key::new().proto(6).port(80), target)],
        );
        b.add_set(&table, &Set::new("nets", &[KeyType::Ipv4Addr]).interval());
        let nets = ["10.0.0.0/8", "10.1.0.0/16", "255.255.255.255/32"].map(|n| n.parse().unwrap());
        b.add_elements(&table, "nets", &Element::networks(&nets));
        b.add_set(
            &table,
            &Set::new("clients", &[KeyType::Ipv4Addr]).dynamic(Duration::from_secs(90)),
        );
        b.add_rule(
            &table,
            "pre",
            &Rule::new(Family::Ipv4)
                .vmap(&[Field::Daddr, Field::L4proto, Field::Dport], "services"),
        );
        b.add_rule(
            &table,
            "pre",
            &Rule::new(Family::Ipv4).dnat_map(&[Field::L4proto, Field::Dport], "ports"),
        );
        b.add_rule(
            &table,
            "svc",
            &Rule::new(Family::Ipv4)
                .is_not_in(&[Field::Saddr], "nets")
                .update(&[Field::Saddr], "clients"),
        );
        commit(&b);
        assert_listed(&[
            "type ipv4_addr . inet_proto . inet_service : verdict",
            "elements = { 10.96.0.1 . tcp . 443 comment \"web\" : goto svc }",
            "elements = { tcp . 80 : 10.0.0.9 . 8080 }",
            "elements = { 10.0.0.0/8, 255.255.255.255 }",
            "timeout 1m30s",
            "ip daddr . meta l4proto . th dport vmap @services",
            "dnat ip to meta l4proto . th dport map @ports",
            "ip saddr != @nets update @clients { ip saddr }",
        ]);

        let mut nft = Connection::open().unwrap();
        let found = nft.elements(&table, "services").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].key_bytes(), service.bytes());
        assert_eq!(found[0].verdict_of(), Some(&Verdict::Goto("svc".into())));
        assert_eq!(nft.sets(&table).unwrap().len(), 4);
        assert_eq!(nft.chains(&table).unwrap().len(), 2);
        assert_eq!(
            nft.tables(Family::Ipv4).unwrap(),
            std::slice::from_ref(&table)
        );
        let rules = nft.rules(&table).unwrap();
        assert_eq!(rules.iter().filter(|r| r.chain == "pre").count(), 2);
        assert_eq!(nft.rules(&Table::new(Family::Ipv4, "nothing")).unwrap(), []);
    });
}

#[test]
fn a_refused_change_names_itself_and_leaves_nothing() {
    in_namespace(|| {
        let (table, mut batch) = table_with(&[Rule::new(Family::Ipv4).accept()]);
        batch.add_rule(&table, "c", &Rule::new(Family::Ipv4).goto("missing"));
        let mut nft = Connection::open().unwrap();
        let error = nft.commit(&batch).unwrap_err();
        assert!(error.is_not_found(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("add rule to chain ip/t/c") && text.contains("change 5 of 5"),
            "{text}"
        );
        assert_eq!(nft.tables(Family::Ipv4).unwrap(), []);

        let mut nothing = Batch::new();
        nothing.delete_table(&table);
        assert!(nft.commit(&nothing).unwrap_err().is_not_found());
        let mut clear = Batch::new();
        clear.clear_table(&table);
        nft.commit(&clear).unwrap();
        nft.commit(&Batch::new()).unwrap();
    });
}

#[test]
fn a_chain_is_replaced_with_its_random_map() {
    in_namespace(|| {
        let goto = |n: &[&str]| {
            n.iter()
                .map(|c| Verdict::Goto((*c).into()))
                .collect::<Vec<_>>()
        };
        let (table, mut batch) =
            table_with(&[Rule::new(Family::Ipv4).random(goto(&["other", "other"]))]);
        commit(&std::mem::take(&mut batch));
        let mut batch = Batch::new();
        batch.flush_chain(&table, "c");
        batch.add_chain(&table, &Chain::regular("third"));
        batch.add_rule(
            &table,
            "c",
            &Rule::new(Family::Ipv4).random(goto(&["third", "third", "third"])),
        );
        batch.delete_chain(&table, "other");
        commit(&batch);
        assert_listed(&[
            "numgen random mod 3 vmap { 0 : goto third, 1 : goto third, 2 : goto third }",
        ]);
    });
}

#[test]
fn large_batches_go_in_one_transaction() {
    in_namespace(|| {
        let (table, mut batch) = table_with(&[]);
        batch.add_set(
            &table,
            &Set::new("many", &[KeyType::Ipv4Addr, KeyType::Port]),
        );
        let element = |n: u32| Element::key(&Key::new().ip(IpAddr::V4(n.into())).port(80));
        batch.add_elements(
            &table,
            "many",
            &(0..20_000).map(element).collect::<Vec<_>>(),
        );
        for n in 0..5_000 {
            batch.add_chain(&table, &Chain::regular(format!("chain-{n}")));
            batch.add_rule(
                &table,
                "c",
                &Rule::new(Family::Ipv4).mark(n).jump(&format!("chain-{n}")),
            );
        }
        let mut nft = Connection::open().unwrap();
        nft.commit(&batch).unwrap();
        assert_eq!(nft.elements(&table, "many").unwrap().len(), 20_000);
        assert_eq!(nft.rules(&table).unwrap().len(), 5_000);
    });
}

/// A table that sends what goes to 10.9.9.9 from this namespace to `to`, which must be local.
fn redirect(proto: u8, to: SocketAddr) -> Batch {
    let table = Table::new(Family::Ipv4, "t");
    let mut batch = Batch::new();
    batch.clear_table(&table);
    batch.add_table(&table);
    batch.add_chain(&table, &Chain::nat("out", Hook::Output, -100));
    let rule = Rule::new(Family::Ipv4)
        .daddr("10.9.9.9/32".parse().unwrap())
        .l4proto(proto);
    batch.add_rule(&table, "out", &rule.dnat(to.ip(), Some(to.port())));
    batch
}

#[test]
fn packets_are_translated_and_refused() {
    in_namespace(|| {
        uplink();
        let listener = TcpListener::bind("10.1.1.1:0").unwrap();
        let mut batch = redirect(6, listener.local_addr().unwrap());
        let table = Table::new(Family::Ipv4, "t");
        batch.add_chain(&table, &Chain::filter("shut", Hook::Output, -200));
        let refused = || Rule::new(Family::Ipv4).daddr("10.9.9.8/32".parse().unwrap());
        batch.add_rule(
            &table,
            "shut",
            &refused().l4proto(6).reject(Reject::TcpReset),
        );
        batch.add_rule(&table, "shut", &refused().reject(Reject::PortUnreachable));
        commit(&batch);
        let timeout = Duration::from_secs(5);
        TcpStream::connect_timeout(&"10.9.9.9:1234".parse().unwrap(), timeout).unwrap();
        let refused =
            TcpStream::connect_timeout(&"10.9.9.8:1234".parse().unwrap(), timeout).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        udp.set_read_timeout(Some(timeout)).unwrap();
        udp.connect("10.9.9.8:1234").unwrap();
        udp.send(b"x").ok();
        let refused = udp.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn flows_are_seen_and_forgotten() {
    in_namespace(|| {
        uplink();
        let receive = |s: &UdpSocket| s.recv_from(&mut [0; 8]).map(|(_, from)| from);
        let (first, second) = (
            UdpSocket::bind("10.1.1.1:0").unwrap(),
            UdpSocket::bind("10.1.1.1:0").unwrap(),
        );
        for s in [&first, &second] {
            s.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        }
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        commit(&redirect(17, first.local_addr().unwrap()));
        client.send_to(b"x", "10.9.9.9:53").unwrap();
        receive(&first).unwrap();

        // A flow keeps its way when the rules change, until it is forgotten.
        commit(&redirect(17, second.local_addr().unwrap()));
        client.send_to(b"x", "10.9.9.9:53").unwrap();
        receive(&first).unwrap();
        let mut nft = Connection::open().unwrap();
        let flows = nft.flows(Family::Ipv4).unwrap();
        let flow = flows
            .iter()
            .find(|f| f.orig.dst == ip("10.9.9.9") && f.orig.proto == 17)
            .unwrap();
        assert_eq!((flow.orig.dst_port, flow.reply.src), (53, ip("10.1.1.1")));
        nft.delete_flow(flow).unwrap();
        nft.delete_flow(flow).unwrap();
        client.send_to(b"x", "10.9.9.9:53").unwrap();
        receive(&second).unwrap();
    });
}
