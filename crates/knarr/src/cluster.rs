//! The wiring: every component, in the order in which each finds what it needs. Components meet only in the API.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use knarr_bootstrap::addons;
use knarr_client::{Change, Informers};
use knarr_kubelet::Kubelet;
use knarr_network::BridgeNetwork;
use knarr_runtime::{Embedded, SandboxNetwork, SandboxStatus, images::RegistryConfig};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    control_plane::{self, ControlPlane},
    paths::Paths,
    progress::Progress,
    up::Options,
};

/// Whoever is in this group may do everything.
const MASTERS: &str = "system:masters";
pub const BRIDGE: &str = "knarr0";

/// A cluster that runs in this process.
pub struct Cluster {
    pub plane: ControlPlane,
    pub client: kube::Client,
    pub runtime: Embedded,
    informers: Informers,
    node_name: String,
    /// True once this run's kubelet has written the node's status.
    reported: watch::Receiver<bool>,
    tasks: JoinSet<Result<()>>,
}

/// Settings that follow from the options and the machine.
struct Settings {
    node_name: String,
    node_ips: Vec<IpAddr>,
    pod_cidrs: Vec<IpNet>,
    dns_listen: Vec<SocketAddr>,
}

impl Settings {
    fn new(options: &Options) -> Result<Self> {
        let node_name = match &options.node_name {
            Some(name) => {
                crate::node::check_name(name)?;
                name.clone()
            }
            None => crate::node::default_name()?,
        };
        let pod_cidrs: Vec<IpNet> = options
            .pod_cidr
            .iter()
            .map(|range| node_share(*range))
            .collect();
        // The node's end of the pod network: every pod reaches it, nothing outside does.
        let dns_listen = pod_cidrs
            .iter()
            .filter_map(|net| net.hosts().next())
            .map(|ip| SocketAddr::new(ip, 53))
            .collect();
        Ok(Settings {
            node_name,
            node_ips: crate::node::addresses(&options.node_ip)?,
            pod_cidrs,
            dns_listen,
        })
    }
}

/// The first node's part of the pod range: a /24, or a /64 of IPv6.
fn node_share(range: IpNet) -> IpNet {
    let bits = if range.addr().is_ipv4() { 24 } else { 64 };
    IpNet::new(range.network(), bits.max(range.prefix_len())).unwrap_or(range)
}

impl Cluster {
    /// Starts everything; the node is not Ready yet when this returns.
    pub async fn start(paths: &Paths, options: &Options, progress: &Progress) -> Result<Self> {
        let settings = Settings::new(options)?;
        let step = progress.step("API server and store");
        let plane = ControlPlane::start(paths, &plane_options(options, &settings)).await?;
        let client = plane.client("system:admin", MASTERS, "knarr");
        let informers = Informers::new(client.clone());
        step.done();

        let step = progress.step("pod network and container runtime");
        let network = open_network(paths, options, &settings).await?;
        let runtime = open_runtime(paths, network.clone(), options.registries.config()?).await?;
        let live: Vec<SandboxStatus> = knarr_runtime::Runtime::sandboxes(&runtime).await?;
        network.restore(&live).await.context("pod network")?;
        step.done();

        let mut cluster = Cluster {
            plane,
            client,
            runtime,
            informers,
            node_name: settings.node_name.clone(),
            reported: watch::Sender::new(false).subscribe(),
            tasks: JoinSet::new(),
        };
        cluster.start_controllers(options);
        cluster.start_node(paths, options, &settings)?;
        cluster.start_services(options, &settings).await?;
        Ok(cluster)
    }

    /// The shared copies, with requests made as `user`.
    fn acting_as(&self, user: &str, group: &str, agent: &'static str) -> Informers {
        let client = self.plane.client(user, group, agent);
        self.informers.acting_as(client)
    }

    fn start_controllers(&mut self, options: &Options) {
        let config = knarr_controllers::Config {
            root_ca: self.plane.pki.ca.clone(),
            service_account_key: self.plane.pki.service_account_key.clone(),
            cluster_cidrs: options.pod_cidr.clone(),
            ..knarr_controllers::Config::default()
        };
        let informers = self.acting_as(
            "system:kube-controller-manager",
            MASTERS,
            "kube-controller-manager",
        );
        let controllers = self.tasks.spawn(async move {
            knarr_controllers::run(informers, config).await;
            Ok(())
        });
        self.plane
            .api
            .runs_here("controller-manager", move || !controllers.is_finished());
        let informers = self.acting_as("system:kube-scheduler", "", "kube-scheduler");
        let scheduler = self.tasks.spawn(async move {
            knarr_scheduler::run(informers, knarr_scheduler::Config::default()).await;
            Ok(())
        });
        self.plane
            .api
            .runs_here("scheduler", move || !scheduler.is_finished());
        let (client, ranges) = (self.client.clone(), options.service_cidr.clone());
        self.tasks.spawn(async move {
            let manifests = ranges
                .first()
                .map(|range| addons::manifests(*range))
                .unwrap_or_default();
            crate::apply::create_missing(&client, &manifests).await;
            std::future::pending().await
        });
    }

    fn start_node(&mut self, paths: &Paths, options: &Options, settings: &Settings) -> Result<()> {
        let manifests = paths.manifests();
        std::fs::create_dir_all(&manifests)
            .with_context(|| format!("cannot make {}", manifests.display()))?;
        let kubelet = Kubelet::new(knarr_kubelet::Config {
            node_name: settings.node_name.clone(),
            node_ips: settings.node_ips.clone(),
            root_dir: paths.kubelet(),
            log_dir: paths.pod_logs(),
            static_pod_dir: Some(manifests),
            cluster_dns: options
                .service_cidr
                .iter()
                .take(1)
                .map(|range| addons::dns_address(*range))
                .collect(),
            cluster_domain: options.cluster_domain.clone(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            runtime: Arc::new(self.runtime.clone()),
            informers: self.acting_as(
                &format!("system:node:{}", settings.node_name),
                "system:nodes",
                "kubelet",
            ),
            tls: self.kubelet_tls()?,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.kubelet_port)),
            max_pods: 110,
            eviction_hard: options.eviction_hard.clone(),
            cgroup_root: paths.cgroup.clone(),
            pod_cidrs: settings.pod_cidrs.iter().map(ToString::to_string).collect(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            register: true,
            version: knarr_apiserver::KUBERNETES_VERSION.to_owned(),
        });
        self.reported = kubelet.reported();
        self.tasks.spawn(kubelet.run());
        Ok(())
    }

    /// The API server shows a certificate of the cluster's authority; who has none may come with a token.
    fn kubelet_tls(&self) -> Result<Arc<rustls::ServerConfig>> {
        use rustls_pki_types::{CertificateDer, pem::PemObject};
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.plane.pki.ca.as_bytes())
            .map_err(|e| anyhow::anyhow!("ca.crt: {e}"))?;
        roots.add(ca)?;
        let pair = &self.plane.pki.kubelet;
        knarr_kubelet::server::tls(
            control_plane::certificates(pair)?,
            control_plane::key(pair)?,
            roots,
        )
    }

    async fn start_services(&mut self, options: &Options, settings: &Settings) -> Result<()> {
        let proxy = knarr_proxy::Config {
            node_name: settings.node_name.clone(),
            node_ips: settings.node_ips.clone(),
            cluster_cidrs: options.pod_cidr.clone(),
            mode: knarr_proxy::Mode::Nftables,
        };
        self.tasks
            .spawn(knarr_proxy::run(self.informers.clone(), proxy));
        let dns = knarr_dns::Config {
            domain: options.cluster_domain.clone(),
            listen: settings.dns_listen.clone(),
            upstreams: knarr_dns::forward::upstreams(std::path::Path::new("/etc/resolv.conf")),
            node_name: settings.node_name.clone(),
        };
        let server = knarr_dns::bind(&dns).await?;
        self.tasks
            .spawn(knarr_dns::run(self.informers.clone(), dns, server));
        let ingress = knarr_ingress::Config {
            http: SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.http_port)),
            https: SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.https_port)),
            class: addons::INGRESS_CLASS.to_owned(),
            controller: addons::INGRESS_CONTROLLER.to_owned(),
            addresses: settings.node_ips.clone(),
        };
        let server = knarr_ingress::bind(&ingress).await?;
        self.tasks
            .spawn(knarr_ingress::run(self.informers.clone(), ingress, server));
        Ok(())
    }

    /// Waits until the node says that it is Ready.
    pub async fn ready(&mut self, patience: Duration) -> Result<()> {
        let mut changes = self
            .informers
            .selected::<Node>(&format!("metadata.name={}", self.node_name))
            .subscribe();
        let mut reported = self.reported.clone();
        let ready = async {
            // A stored status of an earlier run says nothing of this one.
            if reported.wait_for(|done| *done).await.is_err() {
                return std::future::pending().await;
            }
            while let Some(change) = changes.recv().await {
                if let Change::Applied { new, .. } = change
                    && is_ready(&new)
                {
                    return;
                }
            }
        };
        tokio::select! {
            result = tokio::time::timeout(patience, ready) => {
                result.with_context(|| format!("the node is not Ready after {} s; the log says why", patience.as_secs()))
            }
            error = failure(&mut self.tasks) => Err(error),
        }
    }

    /// The first component that ends, which none should.
    pub async fn failed(&mut self) -> anyhow::Error {
        failure(&mut self.tasks).await
    }

    /// Stops all components; pods go on.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.plane.stop().await;
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

async fn failure(tasks: &mut JoinSet<Result<()>>) -> anyhow::Error {
    match tasks.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Err(panic)) => anyhow::Error::new(panic).context("a component failed"),
        Some(Ok(Ok(()))) | None => anyhow::anyhow!("a component ended"),
    }
}

fn plane_options(options: &Options, settings: &Settings) -> control_plane::Options {
    control_plane::Options {
        port: options.api_port,
        service_cidrs: options.service_cidr.clone(),
        node_name: settings.node_name.clone(),
        node_ips: settings.node_ips.clone(),
        cluster_domain: options.cluster_domain.clone(),
        issuer: format!("https://kubernetes.default.svc.{}", options.cluster_domain),
        legacy_api_versions: options.legacy_api_versions,
        etcd: None,
        admission: Default::default(),
        security: crate::security::Flags::default(),
        serving: crate::serving::Flags::default(),
    }
}

async fn open_network(
    paths: &Paths,
    options: &Options,
    settings: &Settings,
) -> Result<Arc<BridgeNetwork>> {
    let config = knarr_network::Config {
        bridge: BRIDGE.to_owned(),
        pod_cidrs: settings.pod_cidrs.clone(),
        cluster_cidrs: options.pod_cidr.clone(),
        service_cidrs: options.service_cidr.clone(),
        mtu: None,
        state_dir: paths.network(),
        hairpin: true,
    };
    Ok(Arc::new(
        BridgeNetwork::open(config).await.context("pod network")?,
    ))
}

async fn open_runtime(
    paths: &Paths,
    network: Arc<BridgeNetwork>,
    registries: RegistryConfig,
) -> Result<Embedded> {
    Embedded::open(runtime_config(paths, network, registries))
        .await
        .context("container runtime")
}

/// How the runtime is opened, also by `knarr down`.
pub fn runtime_config(
    paths: &Paths,
    network: Arc<dyn SandboxNetwork>,
    registries: RegistryConfig,
) -> knarr_runtime::Config {
    knarr_runtime::Config {
        root: paths.containers(),
        state: paths.run.clone(),
        cgroup_root: paths.cgroup.clone(),
        shim: PathBuf::from("/proc/self/exe"),
        network,
        registries,
    }
}
