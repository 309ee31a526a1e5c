//! A node for tests: a network namespace with the pod network, pods that answer, an outside client and a proxy.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use knarr_client::informer::Key;
use knarr_network::BridgeNetwork;
use knarr_nft::netns;
use knarr_proxy::{Backend, Diff, IpFamily, Nftables, ServiceChange, ServiceMap, ServicePort};
use knarr_runtime::{SandboxConfig, SandboxNetwork};
use serde_json::{Value, json};

pub const TIMEOUT: Duration = Duration::from_secs(5);
pub const NODE: &str = "198.51.100.1";

/// A namespace that stands for a pod, or for a machine outside.
pub struct Machine {
    name: String,
    netns: OwnedFd,
    pub ips: Vec<IpAddr>,
}

impl Machine {
    fn new(name: &str) -> Self {
        Machine {
            name: name.to_owned(),
            netns: netns::create().unwrap(),
            ips: Vec::new(),
        }
    }

    pub fn path(&self) -> PathBuf {
        netns::path_of(&self.netns)
    }

    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::inside(&self.path(), work).unwrap()
    }

    /// The node itself, which is where the test's thread is.
    pub fn node() -> Self {
        Machine {
            name: "node".into(),
            netns: netns::current().unwrap(),
            ips: Vec::new(),
        }
    }

    /// Answers TCP and UDP on port 80 with the client's address and its own name. A TCP connection that sends lines gets
    /// one answer for each.
    fn serve(&self) {
        self.serve_at("::");
    }

    /// As above, on one address: an answer by UDP then comes from it whatever the way back.
    pub fn serve_at(&self, ip: &str) {
        let (tcp, udp) = self.inside(|| {
            (
                TcpListener::bind((ip, 80)).unwrap(),
                UdpSocket::bind((ip, 80)).unwrap(),
            )
        });
        let name = self.name.clone();
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let name = name.clone();
                std::thread::spawn(move || answer_lines(stream, &name));
            }
        });
        let name = self.name.clone();
        std::thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 64]) {
                let _ = udp.send_to(
                    format!("{} {name}", from.ip().to_canonical()).as_bytes(),
                    from,
                );
            }
        });
    }
}

fn answer_lines(mut stream: TcpStream, name: &str) {
    let peer = stream
        .peer_addr()
        .map(|a| a.ip().to_canonical().to_string())
        .unwrap_or_default();
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
        // In one piece, so that the client reads it in one.
        if stream
            .write_all(format!("{peer} {name}").as_bytes())
            .is_err()
        {
            return;
        }
    }
}

/// What a server said: how it sees the client, and its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub client: String,
    pub server: String,
}

/// An open TCP connection.
pub struct Line(TcpStream);

impl Line {
    pub fn open(to: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to.parse().unwrap(), TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Line(stream))
    }

    pub fn ask(&mut self) -> std::io::Result<Answer> {
        self.0.write_all(b"?")?;
        let mut buffer = [0; 64];
        let n = self.0.read(&mut buffer)?;
        Ok(parse(&buffer[..n]))
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (client, server) = text.split_once(' ').unwrap_or_default();
    Answer {
        client: client.to_owned(),
        server: server.to_owned(),
    }
}

/// One question over TCP.
pub fn tcp(to: &str) -> std::io::Result<Answer> {
    Line::open(to)?.ask()
}

/// One question over UDP, from a socket of its own.
pub fn udp(to: &str) -> std::io::Result<Answer> {
    let to: SocketAddr = to.parse().unwrap();
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(to)?;
    ask_udp(&socket)
}

pub fn ask_udp(socket: &UdpSocket) -> std::io::Result<Answer> {
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let n = socket.recv(&mut buffer)?;
    Ok(parse(&buffer[..n]))
}

/// How many of many answers came from each server.
pub fn spread(mut ask: impl FnMut() -> std::io::Result<Answer>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..40 {
        *counts.entry(ask().unwrap().server).or_default() += 1;
    }
    counts
}

pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Which objects there are, and the proxy that routes them.
pub struct Proxy {
    pub backend: Nftables,
    map: ServiceMap,
    routed: HashMap<Key, Vec<ServicePort>>,
    slices: HashMap<String, Arc<EndpointSlice>>,
}

impl Proxy {
    pub fn open() -> Self {
        let families = vec![IpFamily::V4, IpFamily::V6];
        let cidrs = vec![
            "10.42.0.0/16".parse().unwrap(),
            "fd42::/64".parse().unwrap(),
        ];
        Proxy {
            backend: Nftables::open(families, cidrs).unwrap(),
            map: ServiceMap::new(knarr_proxy::Node {
                name: "n1".into(),
                zone: None,
            }),
            routed: HashMap::new(),
            slices: HashMap::new(),
        }
    }

    /// A Service `default/<name>` whose port 80 leads to port 80 of the endpoints.
    pub fn service(&mut self, name: &str, ip: &str, more: Value) -> &mut Self {
        let mut spec = json!({ "clusterIP": ip, "clusterIPs": [ip], "ports": [
            { "name": "tcp", "port": 80, "protocol": "TCP" }, { "name": "udp", "port": 80, "protocol": "UDP" }] });
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let object = json!({ "metadata": { "namespace": "default", "name": name }, "spec": spec });
        let service: Service = serde_json::from_value(object).unwrap();
        self.map.apply_service(Arc::new(service));
        self
    }

    pub fn delete_service(&mut self, name: &str) -> &mut Self {
        let object = json!({ "metadata": { "namespace": "default", "name": name } });
        self.map
            .delete_service(&serde_json::from_value(object).unwrap());
        self
    }

    /// The ready endpoints of a Service, all on this node.
    pub fn endpoints(&mut self, service: &str, ips: &[IpAddr]) -> &mut Self {
        self.endpoints_on(service, "n1", ips)
    }

    pub fn endpoints_on(&mut self, service: &str, node: &str, ips: &[IpAddr]) -> &mut Self {
        for v4 in [true, false] {
            let of_family: Vec<&IpAddr> = ips.iter().filter(|ip| ip.is_ipv4() == v4).collect();
            let family = if v4 { "IPv4" } else { "IPv6" };
            let name = format!("{service}-{family}");
            let endpoints: Vec<Value> = of_family
                .iter()
                .map(|ip| json!({ "addresses": [ip.to_string()], "nodeName": node }))
                .collect();
            let labels = json!({ "kubernetes.io/service-name": service });
            let object = json!({
                "metadata": { "namespace": "default", "name": name, "labels": labels }, "addressType": family,
                "ports": [{ "name": "tcp", "port": 80, "protocol": "TCP" }, { "name": "udp", "port": 80, "protocol": "UDP" }],
                "endpoints": endpoints });
            let slice: Arc<EndpointSlice> = Arc::new(serde_json::from_value(object).unwrap());
            let old = self.slices.insert(name, slice.clone());
            self.map.apply_slice(old.as_deref(), slice);
        }
        self
    }

    pub fn try_apply(&mut self) -> anyhow::Result<()> {
        let mut changes = Vec::new();
        for key in self.map.take_changed() {
            let new = self.map.ports(&key);
            let old = self.routed.insert(key, new.clone()).unwrap_or_default();
            changes.push(ServiceChange { old, new });
        }
        self.backend.apply(&Diff { changes })
    }

    pub fn apply(&mut self) {
        self.try_apply().unwrap();
    }
}

/// What a test works with. The test's thread is on the node.
pub struct World {
    /// Two pods that answer.
    pub a: Machine,
    pub b: Machine,
    /// A pod that only asks.
    pub client: Machine,
    /// A machine outside, 198.51.100.2, that has this node as its way to everything.
    pub outside: Machine,
    pub proxy: Proxy,
    _network: BridgeNetwork,
}

/// Runs a test on a node of its own.
pub fn on_a_node(test: impl FnOnce(World) + Send) {
    // SAFETY: has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    netns::fresh(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        test(runtime.block_on(build(dir.path())));
    })
    .unwrap();
}

async fn build(state_dir: &std::path::Path) -> World {
    run("ip", &["link", "set", "lo", "up"]);
    let outside = connect_outside();
    let config = knarr_network::Config {
        bridge: "knarr0".into(),
        pod_cidrs: vec![
            "10.42.0.0/24".parse().unwrap(),
            "fd42::/112".parse().unwrap(),
        ],
        cluster_cidrs: vec![
            "10.42.0.0/16".parse().unwrap(),
            "fd42::/64".parse().unwrap(),
        ],
        service_cidrs: vec![
            "10.96.0.0/16".parse().unwrap(),
            "fd96::/112".parse().unwrap(),
        ],
        mtu: None,
        state_dir: state_dir.to_owned(),
        hairpin: true,
    };
    let network = BridgeNetwork::open(config).await.unwrap();
    let mut pods = Vec::new();
    for name in ["a", "b", "client"] {
        let mut pod = Machine::new(name);
        pod.ips = network
            .attach(name, &pod.path(), &SandboxConfig::default())
            .await
            .unwrap();
        pods.push(pod);
    }
    let [a, b, client] = <[Machine; 3]>::try_from(pods).ok().unwrap();
    a.serve();
    b.serve();
    World {
        a,
        b,
        client,
        outside,
        proxy: Proxy::open(),
        _network: network,
    }
}

fn connect_outside() -> Machine {
    let outside = Machine::new("outside");
    run(
        "ip",
        &["link", "add", "up0", "type", "veth", "peer", "name", "up1"],
    );
    run(
        "ip",
        &[
            "link",
            "set",
            "up1",
            "netns",
            outside.path().to_str().unwrap(),
        ],
    );
    run("ip", &["address", "add", "198.51.100.1/24", "dev", "up0"]);
    run("ip", &["link", "set", "up0", "up"]);
    outside.inside(|| {
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["address", "add", "198.51.100.2/24", "dev", "up1"]);
        run("ip", &["link", "set", "up1", "up"]);
        run("ip", &["route", "add", "default", "via", NODE]);
    });
    outside
}

impl World {
    /// IPv4 addresses of the two pods that answer.
    pub fn both(&self) -> [IpAddr; 2] {
        [self.a.ips[0], self.b.ips[0]]
    }
}
