//! [`ServiceMap`]: from the API's objects to what should be routed. Pure: data in, data out.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use k8s_openapi::api::{
    core::v1::{Service, ServicePort as ApiPort, ServiceSpec},
    discovery::v1::EndpointSlice,
};
use knarr_client::informer::Key;
use kube::ResourceExt;

use crate::{
    endpoints::{Wanted, select},
    service::{IpFamily, Protocol, ServicePort},
};

/// Services with this label are somebody else's to route.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// `sessionAffinityConfig.clientIP.timeoutSeconds` when nothing is said.
const AFFINITY_SECONDS: u64 = 10_800;

/// What the map needs to know of the node it routes for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// `topology.kubernetes.io/zone` of the node.
    pub zone: Option<String>,
}

/// A health check that a load balancer makes on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub port: u16,
    /// How many endpoints of the Service this node has.
    pub local_endpoints: usize,
}

/// All Services and EndpointSlices, and which Services changed since the last look.
#[derive(Debug, Default)]
pub struct ServiceMap {
    node: Node,
    services: HashMap<Key, Arc<Service>>,
    /// By Service, then by the slice's name.
    slices: HashMap<Key, BTreeMap<String, Arc<EndpointSlice>>>,
    changed: HashSet<Key>,
}

impl ServiceMap {
    pub fn new(node: Node) -> Self {
        ServiceMap {
            node,
            ..ServiceMap::default()
        }
    }

    /// A new zone can change the endpoints of every Service.
    pub fn set_node(&mut self, node: Node) {
        if self.node != node {
            self.node = node;
            self.changed.extend(self.services.keys().cloned());
        }
    }

    pub fn apply_service(&mut self, service: Arc<Service>) {
        let key = Key::of(&*service);
        self.changed.insert(key.clone());
        self.services.insert(key, service);
    }

    pub fn delete_service(&mut self, service: &Service) {
        let key = Key::of(service);
        self.services.remove(&key);
        self.changed.insert(key);
    }

    /// `old` is the slice's last state: its label may have led to another Service.
    pub fn apply_slice(&mut self, old: Option<&EndpointSlice>, new: Arc<EndpointSlice>) {
        if let Some(old) = old.filter(|old| service_of(old) != service_of(&new)) {
            self.delete_slice(old);
        }
        let Some(service) = service_of(&new) else {
            return;
        };
        self.changed.insert(service.clone());
        self.slices
            .entry(service)
            .or_default()
            .insert(new.name_any(), new);
    }

    pub fn delete_slice(&mut self, slice: &EndpointSlice) {
        let Some(service) = service_of(slice) else {
            return;
        };
        if let Some(slices) = self.slices.get_mut(&service) {
            slices.remove(&slice.name_any());
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
        self.changed.insert(service);
    }

    /// The Services that changed since the last call.
    pub fn take_changed(&mut self) -> HashSet<Key> {
        std::mem::take(&mut self.changed)
    }

    /// All ports of a Service in all of its families; empty when it is not routed or not there.
    pub fn ports(&self, key: &Key) -> Vec<ServicePort> {
        let Some((service, spec)) = self
            .services
            .get(key)
            .and_then(|s| Some((s, s.spec.as_ref()?)))
        else {
            return Vec::new();
        };
        if !is_routed(service, spec) {
            return Vec::new();
        }
        let ips = cluster_ips(spec);
        let ports = spec.ports.as_deref().unwrap_or_default();
        ports
            .iter()
            .flat_map(|port| ips.iter().filter_map(|ip| self.port(key, spec, port, *ip)))
            .collect()
    }

    fn port(
        &self,
        key: &Key,
        spec: &ServiceSpec,
        port: &ApiPort,
        cluster_ip: IpAddr,
    ) -> Option<ServicePort> {
        let family = IpFamily::of(cluster_ip);
        let protocol = Protocol::parse(port.protocol.as_deref())?;
        let port_name = port.name.clone().unwrap_or_default();
        let slices = self
            .slices
            .get(key)
            .into_iter()
            .flat_map(|s| s.values().map(|slice| &**slice));
        let (cluster, local) = select(
            slices,
            Wanted {
                family,
                protocol,
                port_name: &port_name,
            },
            &self.node,
        );
        Some(ServicePort {
            namespace: key.namespace.clone(),
            service: key.name.clone(),
            port_name,
            family,
            protocol,
            cluster_ip,
            port: number(port.port)?,
            external_ips: parse_ips(spec.external_ips.as_deref().unwrap_or_default(), family),
            load_balancer_ips: self.load_balancer_ips(key, spec, family),
            source_ranges: source_ranges(spec, family),
            node_port: port.node_port.and_then(number),
            affinity: affinity(spec),
            cluster,
            local,
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        })
    }

    /// Addresses that the load balancer hands on unchanged; with `ipMode: Proxy` it is asked itself.
    fn load_balancer_ips(&self, key: &Key, spec: &ServiceSpec, family: IpFamily) -> Vec<IpAddr> {
        if spec.type_.as_deref() != Some("LoadBalancer") {
            return Vec::new();
        }
        let status = self
            .services
            .get(key)
            .and_then(|s| s.status.as_ref()?.load_balancer.as_ref());
        let ingress = status
            .and_then(|lb| lb.ingress.as_deref())
            .unwrap_or_default();
        let ips: Vec<String> = ingress
            .iter()
            .filter(|i| i.ip_mode.as_deref() != Some("Proxy"))
            .filter_map(|i| i.ip.clone())
            .collect();
        parse_ips(&ips, family)
    }

    /// The health check that load balancers make for a Service, if they do.
    pub fn health_check(&self, key: &Key) -> Option<HealthCheck> {
        let spec = self.services.get(key)?.spec.as_ref()?;
        let local = spec.type_.as_deref() == Some("LoadBalancer")
            && spec.external_traffic_policy.as_deref() == Some("Local");
        let port = spec
            .health_check_node_port
            .and_then(number)
            .filter(|_| local)?;
        let ports = self.ports(key);
        let mut ips: Vec<IpAddr> = ports
            .iter()
            .flat_map(|p| p.local.endpoints())
            .map(|e| e.ip)
            .collect();
        ips.sort();
        ips.dedup();
        Some(HealthCheck {
            port,
            local_endpoints: ips.len(),
        })
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.labels().get(SERVICE_NAME)?;
    Some(Key::new(slice.namespace().unwrap_or_default(), name))
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|p| *p != 0)
}

fn is_routed(service: &Service, spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() != Some("ExternalName") && !service.labels().contains_key(OTHER_PROXY)
}

/// One cluster IP of each family; none for a headless Service.
fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let several = spec.cluster_ips.as_deref().unwrap_or_default();
    let names = if several.is_empty() {
        spec.cluster_ip.as_slice()
    } else {
        several
    };
    names.iter().filter_map(|ip| ip.parse().ok()).collect()
}

fn parse_ips(ips: &[String], family: IpFamily) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = ips
        .iter()
        .filter_map(|ip| ip.parse().ok())
        .filter(|ip| IpFamily::of(*ip) == family)
        .collect();
    ips.sort();
    ips.dedup();
    ips
}

fn source_ranges(spec: &ServiceSpec, family: IpFamily) -> Vec<IpNet> {
    let ranges = spec
        .load_balancer_source_ranges
        .as_deref()
        .unwrap_or_default();
    let nets = ranges.iter().filter_map(|r| r.trim().parse::<IpNet>().ok());
    nets.filter(|net| IpFamily::of(net.addr()) == family)
        .map(|net| net.trunc())
        .collect()
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec
        .session_affinity_config
        .as_ref()
        .and_then(|c| c.client_ip.as_ref());
    let seconds = config
        .and_then(|c| c.timeout_seconds)
        .and_then(|s| u64::try_from(s).ok());
    Some(Duration::from_secs(
        seconds.filter(|s| *s > 0).unwrap_or(AFFINITY_SECONDS),
    ))
}
