//! What every pod's task shares.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use knarr_client::{Informer, events::Recorder};
use knarr_runtime::{DnsConfig, Runtime};
use kube::Client;

use crate::{
    Config, container::fields::Facts, container::image::Puller, machine::Capacity, quantity,
    refs::Refs, view::View,
};

/// What every pod's task shares.
pub struct Context {
    pub config: Arc<Config>,
    pub view: View,
    pub recorder: Recorder,
    pub config_maps: Refs<ConfigMap>,
    pub secrets: Refs<Secret>,
    pub services: Informer<Service>,
    pub node: Informer<Node>,
    pub puller: Puller,
    pub capacity: Capacity,
    /// The node's own resolver settings.
    pub host_dns: DnsConfig,
}

impl Context {
    pub fn client(&self) -> &Client {
        self.config.informers.client()
    }

    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.config.runtime
    }

    /// Scheme of container ids: what the runtime calls itself.
    pub fn scheme(&self) -> String {
        let version = self.config.runtime.version();
        version.split("://").next().unwrap_or("knarr").to_owned()
    }

    /// What can be told of a pod with these addresses beyond its object.
    pub fn facts(&self, pod_ips: Vec<IpAddr>) -> Facts {
        let node = self.node.get("", &self.config.node_name);
        let allocatable = node
            .as_ref()
            .and_then(|n| n.status.as_ref()?.allocatable.as_ref());
        let of = |name: &str| {
            allocatable
                .and_then(|a| a.get(name))
                .and_then(quantity::units)
        };
        Facts {
            pod_ips,
            node_ips: self.config.node_ips.clone(),
            node_cpu: i64::from(self.capacity.cpus) * 1000,
            node_memory: of("memory").unwrap_or(self.capacity.memory),
            node_disk: of("ephemeral-storage").unwrap_or(self.capacity.disk),
        }
    }

    /// Services that the pod's containers are told about.
    pub fn services_for(&self, pod: &Pod) -> Vec<Arc<Service>> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let links = pod
            .spec
            .as_ref()
            .is_none_or(|s| s.enable_service_links != Some(false));
        let mut out = if links {
            self.services.list_namespace(namespace)
        } else {
            Vec::new()
        };
        out.extend(self.services.get("default", "kubernetes"));
        out
    }
}

/// Objects by name, for those that exist.
pub fn by_name<K>(found: Vec<(String, Option<Arc<K>>)>) -> HashMap<String, Arc<K>> {
    found
        .into_iter()
        .filter_map(|(name, object)| Some((name, object?)))
        .collect()
}
