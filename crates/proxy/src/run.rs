//! The proxy's loop: events in, one transaction out.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use k8s_openapi::api::{
    core::v1::Node as ApiNode, core::v1::Service, discovery::v1::EndpointSlice,
};
use knarr_client::{Change, Informers, informer::Key};
use kube::ResourceExt;
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use crate::{
    backend::{Backend, Diff, ServiceChange},
    health::HealthChecks,
    map::{Node, ServiceMap},
    nftables::Nftables,
    service::{IpFamily, ServicePort},
};

const ZONE: &str = "topology.kubernetes.io/zone";
/// Events that come within this time go into one transaction.
const COALESCE: Duration = Duration::from_millis(2);
/// How often to look whether our rules are still there.
const CHECK: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How Services are routed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Nftables,
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "nftables" => Ok(Mode::Nftables),
            other => Err(format!(
                "proxy mode {other:?} is not known: use \"nftables\""
            )),
        }
    }
}

/// What the proxy of a node is started with.
#[derive(Debug, Clone)]
pub struct Config {
    pub node_name: String,
    /// The node's addresses, primary first. Their families are routed, besides those of `cluster_cidrs`.
    pub node_ips: Vec<IpAddr>,
    /// Addresses of pods. Clients outside of them are masqueraded when they use a cluster IP.
    pub cluster_cidrs: Vec<IpNet>,
    pub mode: Mode,
}

impl Config {
    /// The address families to route; IPv4 when nothing is known.
    fn families(&self) -> Vec<IpFamily> {
        let nodes = self.node_ips.iter().copied();
        let mut families: Vec<IpFamily> = nodes
            .chain(self.cluster_cidrs.iter().map(IpNet::addr))
            .map(IpFamily::of)
            .collect();
        families.sort();
        families.dedup();
        if families.is_empty() {
            vec![IpFamily::V4]
        } else {
            families
        }
    }

    fn backend(&self) -> anyhow::Result<Box<dyn Backend>> {
        match self.mode {
            Mode::Nftables => Ok(Box::new(Nftables::open(
                self.families(),
                self.cluster_cidrs.clone(),
            )?)),
        }
    }
}

/// Routes Services on this node until it fails or the returned future is dropped. Rules stay when it ends: the next run
/// takes them over.
///
/// The work is done by one thread, which stays in the network namespace of the one that called.
pub async fn run(informers: Informers, config: Config) -> anyhow::Result<()> {
    // The informers' own tasks belong to the caller's runtime.
    let sources = Sources::subscribe(&informers, &config.node_name);
    let (stop, stopped) = oneshot::channel::<()>();
    let (done, result) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("knarr-proxy".into())
        .spawn(move || {
            let outcome = runtime.block_on(async {
                tokio::select! {
                    outcome = work(sources, config) => outcome,
                    _ = stopped => Ok(()),
                }
            });
            let _ = done.send(outcome);
        })?;
    let outcome = result
        .await
        .map_err(|_| anyhow::anyhow!("the service proxy's thread has died"));
    drop(stop);
    outcome?
}

/// Where events come from.
struct Sources {
    informers: (
        knarr_client::Informer<Service>,
        knarr_client::Informer<EndpointSlice>,
    ),
    services: UnboundedReceiver<Change<Service>>,
    slices: UnboundedReceiver<Change<EndpointSlice>>,
    node: UnboundedReceiver<Change<ApiNode>>,
}

impl Sources {
    fn subscribe(informers: &Informers, node_name: &str) -> Self {
        let services = informers.of::<Service>();
        let slices = informers.of::<EndpointSlice>();
        let node = informers.selected::<ApiNode>(&format!("metadata.name={node_name}"));
        Sources {
            services: services.subscribe(),
            slices: slices.subscribe(),
            node: node.subscribe(),
            informers: (services, slices),
        }
    }
}

/// Something that happened.
enum Event {
    Service(Change<Service>),
    Slice(Change<EndpointSlice>),
    Node(Change<ApiNode>),
}

impl Sources {
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            change = self.services.recv() => change.map(Event::Service),
            change = self.slices.recv() => change.map(Event::Slice),
            Some(change) = self.node.recv() => Some(Event::Node(change)),
        }
    }

    fn next_if_there(&mut self) -> Option<Event> {
        let service = self.services.try_recv().map(Event::Service);
        let mut slice = || self.slices.try_recv().map(Event::Slice);
        service
            .or_else(|_| slice())
            .or_else(|_| self.node.try_recv().map(Event::Node))
            .ok()
    }
}

async fn work(mut sources: Sources, config: Config) -> anyhow::Result<()> {
    let mut router = Router::new(&config)?;
    // Until everything is known the rules of the last run are the best there are.
    sources.informers.0.synced().await;
    sources.informers.1.synced().await;
    while let Some(event) = sources.next_if_there() {
        router.note(event);
    }
    router.apply_until_done(&mut sources).await;
    tracing::info!(
        mode = router.backend.name(),
        services = router.routed.len(),
        "service proxy is routing"
    );
    let mut check = tokio::time::interval(CHECK);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = sources.next() => match event {
                Some(event) => router.note(event),
                None => return Ok(()),
            },
            _ = check.tick() => {
                router.check();
                continue;
            }
        }
        tokio::time::sleep(COALESCE).await;
        router.apply_until_done(&mut sources).await;
    }
}

/// What is wanted, what is routed, and what routes it.
struct Router {
    map: ServiceMap,
    routed: HashMap<Key, Vec<ServicePort>>,
    backend: Box<dyn Backend>,
    health: HealthChecks,
}

impl Router {
    fn new(config: &Config) -> anyhow::Result<Self> {
        let node = Node {
            name: config.node_name.clone(),
            zone: None,
        };
        Ok(Router {
            map: ServiceMap::new(node),
            routed: HashMap::new(),
            backend: config.backend()?,
            health: HealthChecks::default(),
        })
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Service(Change::Applied { new, .. }) => self.map.apply_service(new),
            Event::Service(Change::Deleted(gone)) => self.map.delete_service(&gone),
            Event::Slice(Change::Applied { old, new }) => self.map.apply_slice(old.as_deref(), new),
            Event::Slice(Change::Deleted(gone)) => self.map.delete_slice(&gone),
            Event::Node(Change::Applied { new, .. }) => {
                self.map.set_node(Node {
                    name: new.name_any(),
                    zone: new.labels().get(ZONE).cloned(),
                });
            }
            // The node's zone does not change when its object goes.
            Event::Node(Change::Deleted(_)) => {}
        }
    }

    fn check(&mut self) {
        match self.backend.check() {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                "the service rules had been removed by others and were installed anew"
            ),
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "cannot check the service rules"
            ),
        }
    }

    /// Applies what changed, again and again with growing delay while the kernel refuses.
    async fn apply_until_done(&mut self, sources: &mut Sources) {
        let mut delay = FIRST_RETRY;
        loop {
            while let Some(event) = sources.next_if_there() {
                self.note(event);
            }
            let changed = self.map.take_changed();
            let diff = self.difference(&changed);
            for key in &changed {
                self.health.set(key, self.map.health_check(key));
            }
            match self.backend.apply(&diff) {
                Ok(()) => return,
                Err(error) => tracing::error!(
                    error = format!("{error:#}"),
                    "service rules not installed, trying again"
                ),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LAST_RETRY);
        }
    }

    /// What is different for the changed Services, which then counts as routed: the backend remembers it.
    fn difference(&mut self, changed: &HashSet<Key>) -> Diff {
        let mut changes = Vec::new();
        for key in changed {
            let new = self.map.ports(key);
            let old = match new.is_empty() {
                true => self.routed.remove(key).unwrap_or_default(),
                false => self
                    .routed
                    .insert(key.clone(), new.clone())
                    .unwrap_or_default(),
            };
            if old != new {
                changes.push(ServiceChange { old, new });
            }
        }
        Diff { changes }
    }
}
