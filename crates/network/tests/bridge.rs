//! The pod network with real sandboxes (empty network namespaces) on a node that is a network namespace itself. Skipped
//! without root.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use knarr_network::{BridgeNetwork, Config, teardown};
use knarr_nft::netns;
use knarr_runtime::{
    PortMapping, Protocol, SandboxConfig, SandboxNetwork, SandboxState, SandboxStatus,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// A namespace that stands for a pod.
struct Pod {
    id: String,
    netns: OwnedFd,
    config: SandboxConfig,
    ips: Vec<IpAddr>,
}

impl Pod {
    fn new(id: &str, ports: Vec<PortMapping>) -> Self {
        let config = SandboxConfig {
            port_mappings: ports,
            ..SandboxConfig::default()
        };
        Pod {
            id: id.to_owned(),
            netns: netns::create().unwrap(),
            config,
            ips: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        netns::path_of(&self.netns)
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::inside(&self.path(), work).unwrap()
    }

    async fn attach(mut self, network: &BridgeNetwork) -> Self {
        self.ips = network
            .attach(&self.id, &self.path(), &self.config)
            .await
            .unwrap();
        self
    }

    /// Answers every TCP connection to the port with the client's address and the pod's id.
    fn serve(&self, port: u16) {
        let listener = self.inside(|| TcpListener::bind(("::", port)).unwrap());
        let id = self.id.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let peer = stream
                    .peer_addr()
                    .map(|a| a.ip().to_canonical().to_string())
                    .unwrap_or_default();
                let _ = write!(stream, "{peer} {id}");
            }
        });
    }

    fn status(&self) -> SandboxStatus {
        SandboxStatus {
            id: self.id.clone(),
            config: self.config.clone(),
            state: SandboxState::Ready,
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            ips: self.ips.clone(),
            netns: Some(self.path()),
        }
    }
}

/// What a TCP server says: (how it sees the client, its id).
fn ask(to: SocketAddr) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (peer, id) = text.split_once(' ').unwrap_or_default();
    Ok((peer.to_owned(), id.to_owned()))
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

fn config(state_dir: &std::path::Path) -> Config {
    Config {
        bridge: "knarr0".into(),
        pod_cidrs: vec![
            "10.42.0.0/24".parse().unwrap(),
            "fd42::/112".parse().unwrap(),
        ],
        cluster_cidrs: vec![
            "10.42.0.0/16".parse().unwrap(),
            "fd42::/64".parse().unwrap(),
        ],
        service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
        mtu: Some(1450),
        state_dir: state_dir.to_owned(),
        hairpin: true,
    }
}

/// Runs a test on a node of its own: a namespace with loopback and an uplink to an outside namespace, whose address is
/// 198.51.100.2 and which knows no way to the pods.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(PathBuf, Pod) -> F + Send) {
    // SAFETY: has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    netns::fresh(|| {
        let outside = Pod::new("outside", vec![]);
        run("ip", &["link", "set", "lo", "up"]);
        run(
            "ip",
            &["link", "add", "up0", "type", "veth", "peer", "name", "up1"],
        );
        let fd = outside.path();
        run("ip", &["link", "set", "up1", "netns", fd.to_str().unwrap()]);
        run("ip", &["address", "add", "198.51.100.1/24", "dev", "up0"]);
        run("ip", &["link", "set", "up0", "up"]);
        run("ip", &["route", "add", "default", "via", "198.51.100.2"]);
        outside.inside(|| {
            run("ip", &["link", "set", "lo", "up"]);
            run("ip", &["address", "add", "198.51.100.2/24", "dev", "up1"]);
            run("ip", &["link", "set", "up1", "up"]);
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(dir.path().to_owned(), outside));
    })
    .unwrap();
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    (ip, port).into()
}

fn map(protocol: Protocol, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping {
        protocol,
        container_port,
        host_port,
        host_ip: None,
    }
}

#[test]
fn pods_reach_each_other_the_node_and_the_outside() {
    on_a_node(|dir, outside| async move {
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        let a = Pod::new("a", vec![]).attach(&network).await;
        let b = Pod::new("b", vec![]).attach(&network).await;
        assert_eq!(
            a.ips,
            [
                "10.42.0.2".parse::<IpAddr>().unwrap(),
                "fd42::2".parse().unwrap()
            ]
        );
        b.serve(80);
        for ip in &b.ips {
            // From pod to pod and from node to pod, in both families; pods see each other's own addresses.
            let of_a = a
                .ips
                .iter()
                .find(|i| i.is_ipv4() == ip.is_ipv4())
                .unwrap()
                .to_string();
            assert_eq!(
                a.inside(|| ask(at(*ip, 80))).unwrap(),
                (of_a, "b".to_owned())
            );
            assert_eq!(ask(at(*ip, 80)).unwrap().1, "b");
        }
        // To the outside pods look like their node.
        outside.serve(80);
        let seen = a
            .inside(|| ask("198.51.100.2:80".parse().unwrap()))
            .unwrap();
        assert_eq!(seen, ("198.51.100.1".to_owned(), "outside".to_owned()));
        // To the node's own address they are themselves.
        let node = TcpListener::bind("198.51.100.1:0").unwrap();
        let to = node.local_addr().unwrap();
        let _connection = a
            .inside(|| TcpStream::connect_timeout(&to, TIMEOUT))
            .unwrap();
        assert_eq!(node.accept().unwrap().1.ip(), a.ips[0]);
        assert!(
            a.inside(|| run("ip", &["link", "show", "eth0"]))
                .contains("mtu 1450")
        );
        // The node reaches service addresses over the bridge.
        assert!(run("ip", &["route", "get", "10.43.0.1"]).contains("dev knarr0 src 10.42.0.1"));
    });
}

#[test]
fn host_ports_lead_to_pods_from_everywhere() {
    on_a_node(|dir, outside| async move {
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        let one_address = PortMapping {
            host_ip: Some("198.51.100.1".parse().unwrap()),
            ..map(Protocol::Tcp, 8082, 80)
        };
        let web = Pod::new("web", vec![map(Protocol::Tcp, 8080, 80), one_address])
            .attach(&network)
            .await;
        let other = Pod::new("other", vec![]).attach(&network).await;
        web.serve(80);
        let node = |port| at("198.51.100.1".parse().unwrap(), port);
        // Clients from outside keep their address.
        assert_eq!(
            outside.inside(|| ask(node(8080))).unwrap().0,
            "198.51.100.2"
        );
        assert_eq!(outside.inside(|| ask(node(8082))).unwrap().1, "web");
        assert_eq!(ask(node(8080)).unwrap().1, "web");
        assert_eq!(ask("127.0.0.1:8080".parse().unwrap()).unwrap().1, "web");
        assert!(ask("127.0.0.1:8082".parse().unwrap()).is_err());
        assert_eq!(other.inside(|| ask(node(8080))).unwrap().1, "web");
        // To itself a pod comes as somebody else.
        assert_ne!(
            web.inside(|| ask(node(8080))).unwrap().0,
            web.ips[0].to_string()
        );

        let mut rival = Pod::new("rival", vec![map(Protocol::Tcp, 8080, 81)]);
        let refused = network
            .attach(&rival.id, &rival.path(), &rival.config)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("8080") && refused.contains("web"),
            "{refused}"
        );
        assert_eq!(ask(node(8080)).unwrap().1, "web");
        network.detach("web").await.unwrap();
        assert!(outside.inside(|| ask(node(8080))).is_err());
        rival.ips = network
            .attach(&rival.id, &rival.path(), &rival.config)
            .await
            .unwrap();
        rival.serve(81);
        assert_eq!(outside.inside(|| ask(node(8080))).unwrap().1, "rival");
    });
}

#[test]
fn a_udp_host_port_follows_its_pod() {
    on_a_node(|dir, outside| async move {
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        let client = outside.inside(|| {
            let socket = UdpSocket::bind("198.51.100.2:5000").unwrap();
            socket.connect("198.51.100.1:53").unwrap();
            socket.set_read_timeout(Some(TIMEOUT)).unwrap();
            socket
        });
        for id in ["first", "second"] {
            let pod = Pod::new(id, vec![map(Protocol::Udp, 53, 5353)])
                .attach(&network)
                .await;
            let server = pod.inside(|| UdpSocket::bind("0.0.0.0:5353").unwrap());
            server.set_read_timeout(Some(TIMEOUT)).unwrap();
            client.send(b"question").unwrap();
            let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
            server.send_to(id.as_bytes(), from).unwrap();
            let mut answer = [0; 16];
            let n = client.recv(&mut answer).unwrap();
            assert_eq!(&answer[..n], id.as_bytes());
            network.detach(id).await.unwrap();
        }
    });
}

#[test]
fn pods_cannot_reach_the_nodes_loopback() {
    on_a_node(|dir, outside| async move {
        let _outside = outside;
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        let pod = Pod::new("a", vec![]).attach(&network).await;
        let secret = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = secret.local_addr().unwrap();
        let reached = pod.inside(|| {
            run("ip", &["address", "del", "127.0.0.1/8", "dev", "lo"]);
            run("ip", &["link", "set", "lo", "down"]);
            run(
                "ip",
                &[
                    "route",
                    "add",
                    "127.0.0.0/8",
                    "via",
                    "10.42.0.1",
                    "dev",
                    "eth0",
                ],
            );
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            TcpStream::connect_timeout(&to, Duration::from_millis(500)).is_ok()
        });
        assert!(!reached);
    });
}

#[test]
fn a_restart_remembers_and_tidies_up() {
    on_a_node(|dir, outside| async move {
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        let lives = Pod::new("lives", vec![map(Protocol::Tcp, 8080, 80)])
            .attach(&network)
            .await;
        let gone = Pod::new("gone", vec![map(Protocol::Tcp, 8081, 80)])
            .attach(&network)
            .await;
        lives.serve(80);
        drop(network);

        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        assert_eq!(
            outside
                .inside(|| ask("198.51.100.1:8080".parse().unwrap()))
                .unwrap()
                .1,
            "lives"
        );
        network.restore(&[lives.status()]).await.unwrap();
        assert_eq!(
            network
                .attach("lives", &lives.path(), &lives.config)
                .await
                .unwrap(),
            lives.ips
        );
        assert_eq!(
            outside
                .inside(|| ask("198.51.100.1:8080".parse().unwrap()))
                .unwrap()
                .1,
            "lives"
        );
        assert!(!gone.inside(|| run("ip", &["link"])).contains("eth0"));
        // A new pod gets neither a living one's address nor, at once, the one that is free again.
        let new = Pod::new("new", vec![map(Protocol::Tcp, 8081, 80)])
            .attach(&network)
            .await;
        assert!(!lives.ips.contains(&new.ips[0]) && !gone.ips.contains(&new.ips[0]));

        // Also when the record is lost.
        drop(network);
        std::fs::remove_dir_all(dir.join("sandboxes")).unwrap();
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        network
            .restore(&[lives.status(), new.status()])
            .await
            .unwrap();
        assert_eq!(
            outside
                .inside(|| ask("198.51.100.1:8080".parse().unwrap()))
                .unwrap()
                .1,
            "lives"
        );
        let next = Pod::new("next", vec![]).attach(&network).await;
        assert!(
            ![&lives.ips, &new.ips]
                .iter()
                .any(|ips| ips.contains(&next.ips[0]))
        );
    });
}

#[test]
fn teardown_leaves_only_what_others_made() {
    on_a_node(|dir, outside| async move {
        let _outside = outside;
        let rules = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; } }";
        let nft = Command::new("nft").arg(rules).output();
        let has_nft = nft.is_ok_and(|o| o.status.success());
        let before = (run("ip", &["-o", "link"]), run("ip", &["route"]));
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        let a = Pod::new("a", vec![map(Protocol::Tcp, 80, 80)])
            .attach(&network)
            .await;
        let b = Pod::new("b", vec![]).attach(&network).await;
        b.serve(80);
        // A firewall that drops what is forwarded has been told about pods.
        assert_eq!(a.inside(|| ask(at(b.ips[0], 80))).unwrap().1, "b");
        drop(network);
        std::fs::remove_dir_all(dir.join("sandboxes")).unwrap();
        teardown("knarr0", &dir).await.unwrap();
        teardown("knarr0", &dir).await.unwrap();
        assert_eq!((run("ip", &["-o", "link"]), run("ip", &["route"])), before);
        if has_nft {
            let left = run("nft", &["list", "ruleset"]);
            assert!(
                left.contains("policy drop") && !left.contains("knarr"),
                "{left}"
            );
        }
    });
}

#[test]
fn a_failed_attachment_leaves_nothing() {
    on_a_node(|dir, outside| async move {
        let _outside = outside;
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        let missing = dir.join("no-such-namespace");
        assert!(
            network
                .attach("x", &missing, &SandboxConfig::default())
                .await
                .is_err()
        );
        network.detach("x").await.unwrap();
        network.detach("never").await.unwrap();
        assert_eq!(std::fs::read_dir(dir.join("sandboxes")).unwrap().count(), 0);
        assert!(!run("ip", &["link"]).contains("knv"));
    });
}

#[test]
fn an_interface_that_is_no_bridge_is_left_alone() {
    on_a_node(|dir, outside| async move {
        let _outside = outside;
        run(
            "ip",
            &[
                "link", "add", "knarr0", "type", "veth", "peer", "name", "other",
            ],
        );
        let error = BridgeNetwork::open(config(&dir))
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("knarr0") && error.contains("not a bridge"),
            "{error}"
        );
        teardown("knarr0", &dir).await.unwrap();
        assert!(run("ip", &["link"]).contains("knarr0"));
    });
}

#[test]
fn without_a_range_sandboxes_can_only_be_detached() {
    on_a_node(|dir, outside| async move {
        let _outside = outside;
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        let pod = Pod::new("a", vec![map(Protocol::Tcp, 80, 80)])
            .attach(&network)
            .await;
        drop(network);
        let none = Config {
            pod_cidrs: vec![],
            ..config(&dir)
        };
        let network = BridgeNetwork::open(none).await.unwrap();
        network.detach("a").await.unwrap();
        assert!(!pod.inside(|| run("ip", &["link"])).contains("eth0"));
        assert!(network.attach("b", &pod.path(), &pod.config).await.is_err());
        network.restore(&[]).await.unwrap();
    });
}

#[test]
fn rules_that_others_flush_come_back() {
    on_a_node(|dir, outside| async move {
        let network = BridgeNetwork::open(config(&dir)).await.unwrap();
        let web = Pod::new("web", vec![map(Protocol::Tcp, 8080, 80)])
            .attach(&network)
            .await;
        web.serve(80);
        if Command::new("nft")
            .args(["flush", "ruleset"])
            .output()
            .is_err()
        {
            return eprintln!("skipped: no nft tool");
        }
        let to: SocketAddr = "198.51.100.1:8080".parse().unwrap();
        assert!(outside.inside(|| ask(to)).is_err());
        let deadline = Instant::now() + Duration::from_secs(20);
        while outside.inside(|| ask(to)).is_err() {
            assert!(Instant::now() < deadline, "the rules do not come back");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}
