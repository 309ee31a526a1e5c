//! Which pods stand behind a Service and how they are reached: what Endpoints and EndpointSlices have in common. Pure,
//! but for [`Watched`], which tells whose endpoints a change may touch.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{Container, ObjectReference, Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
    jiff::Timestamp,
};
use knarr_client::{Change, Informer, informer::Key};

use crate::pod;

/// The label that headless Services' endpoints carry.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// When what the endpoints tell came about.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The Service's selector, if the controllers are to find its endpoints.
pub fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref()
}

/// Whether the Service picks pods with these labels. An empty selector picks all, a missing one none.
pub fn selects(service: &Service, labels: &Option<BTreeMap<String, String>>) -> bool {
    let Some(selector) = selector(service) else {
        return false;
    };
    selector
        .iter()
        .all(|(k, v)| labels.as_ref().and_then(|l| l.get(k)) == Some(v))
}

/// Without a virtual address.
pub fn headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods are published before they are ready.
pub fn publishes_unready(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|s| s.publish_not_ready_addresses)
        .unwrap_or(false)
}

/// Whether the pod has an address and has not ended. Pods being deleted count when asked for.
pub fn may_be_endpoint(pod: &Pod, terminating: bool) -> bool {
    !pod::ended(pod)
        && !addresses(pod).is_empty()
        && (terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The pod's addresses, of both families.
pub fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let parsed: Vec<IpAddr> = all.filter_map(|ip| ip.parse().ok()).collect();
    match parsed.is_empty() {
        true => status
            .pod_ip
            .iter()
            .filter_map(|ip| ip.parse().ok())
            .collect(),
        false => parsed,
    }
}

/// The number that the Service's port has in this pod; `None` when no container names it.
pub fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let spec = pod.spec.as_ref()?;
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let find = |c: &Container| {
        let mut ports = c.ports.iter().flatten();
        let matching = |p: &&k8s_openapi::api::core::v1::ContainerPort| {
            p.name.as_ref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
        };
        ports.find(matching).map(|p| p.container_port)
    };
    spec.containers.iter().chain(sidecars).find_map(find)
}

/// The pod's name within the Service's domain, if it chose one.
pub fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.clone().filter(|h| !h.is_empty())?;
    let same = spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace;
    same.then_some(hostname)
}

/// What an endpoint says it is.
pub fn target_ref(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The Service's labels with the mark of headless ones.
pub fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    match headless(service) {
        true => labels.insert(HEADLESS.into(), String::new()),
        false => labels.remove(HEADLESS),
    };
    labels
}

/// When the youngest of the changes came about that made the endpoints what they are.
pub fn trigger_time<'a>(
    service: &Service,
    pods: impl IntoIterator<Item = &'a Pod>,
) -> Option<Timestamp> {
    let ready =
        |p: &'a Pod| pod::condition(p, "Ready").and_then(|c| c.last_transition_time.as_ref());
    let made = service.metadata.creation_timestamp.as_ref();
    pods.into_iter()
        .filter_map(ready)
        .chain(made)
        .map(|t| t.0)
        .max()
}

/// What endpoints are made of, watched.
pub struct Watched {
    pub services: Informer<Service>,
    pub pods: Informer<Pod>,
}

impl Watched {
    pub async fn synced(&self) {
        self.services.synced().await;
        self.pods.synced().await;
    }

    /// The pods behind a Service.
    pub fn behind(&self, service: &Service) -> Vec<std::sync::Arc<Pod>> {
        let mut pods = self
            .pods
            .list_namespace(service.metadata.namespace.as_deref().unwrap_or_default());
        pods.retain(|p| selects(service, &p.metadata.labels));
        pods
    }

    /// The Services whose endpoints the change of a pod touches.
    pub fn touched(&self, change: &Change<Pod>) -> Vec<Key> {
        let new = change.object();
        let old = match change {
            Change::Applied { old: Some(old), .. } if !differs(old, new) => return Vec::new(),
            Change::Applied { old, .. } => old.as_ref(),
            Change::Deleted(_) => None,
        };
        let services = self
            .services
            .list_namespace(new.metadata.namespace.as_deref().unwrap_or_default());
        let touched = services.iter().filter(|s| {
            selects(s, &new.metadata.labels)
                || old.is_some_and(|old| selects(s, &old.metadata.labels))
        });
        touched.map(|s| Key::of(&**s)).collect()
    }
}

/// Whether a change of a pod can change an endpoint.
fn differs(old: &Pod, new: &Pod) -> bool {
    pod::ready(old) != pod::ready(new)
        || pod::ended(old) != pod::ended(new)
        || old.metadata.deletion_timestamp.is_some() != new.metadata.deletion_timestamp.is_some()
        || old.metadata.labels != new.metadata.labels
        || pod::node(old) != pod::node(new)
        || addresses(old) != addresses(new)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::pod::tests::{pod, running};
    use serde_json::{Value, json};

    /// A Service out of its spec.
    pub fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default", "labels": {"l": "1"}}, "spec": spec}))
            .expect("a Service")
    }

    #[test]
    fn selecting() {
        let mut p = running("a", "n", None);
        p.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
        let table = [
            (json!({"selector": {"app": "web"}}), true),
            (json!({"selector": {"app": "db"}}), false),
            (json!({"selector": {"app": "web", "tier": "x"}}), false),
            (json!({"selector": {}}), true),
            (json!({}), false),
            (
                json!({"type": "ExternalName", "selector": {"app": "web"}}),
                false,
            ),
        ];
        for (spec, want) in table {
            assert_eq!(
                selects(&service(spec.clone()), &p.metadata.labels),
                want,
                "{spec}"
            );
        }
    }

    #[test]
    fn target_ports() {
        let p = pod(json!({"spec": {
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9}]},
                {"name": "init", "ports": [{"name": "init", "containerPort": 8}]}],
            "containers": [{"name": "c", "ports": [
                {"name": "web", "containerPort": 80, "protocol": "UDP"}, {"name": "web", "containerPort": 81}]}],
        }}));
        let table = [
            (json!({"port": 1}), Some(1)),
            (json!({"port": 1, "targetPort": 8080}), Some(8080)),
            (json!({"port": 1, "targetPort": "web"}), Some(81)),
            (
                json!({"port": 1, "targetPort": "web", "protocol": "UDP"}),
                Some(80),
            ),
            (json!({"port": 1, "targetPort": "side"}), Some(9)),
            (json!({"port": 1, "targetPort": "init"}), None),
            (json!({"port": 1, "targetPort": "none"}), None),
        ];
        for (port, want) in table {
            assert_eq!(
                target_port(&p, &serde_json::from_value(port.clone()).unwrap()),
                want,
                "{port}"
            );
        }
    }

    #[test]
    fn only_what_endpoints_show_wakes() {
        let old = running("a", "n", None);
        let mut annotated = old.clone();
        annotated.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
        assert!(!differs(&old, &annotated));
        assert!(differs(&old, &running("a", "n", Some(1))));
        assert!(differs(&old, &running("a", "m", None)));
    }

    #[test]
    fn headless_is_marked() {
        let labels = labels(&service(json!({"clusterIP": "None"})));
        assert_eq!(labels.get(HEADLESS).map(String::as_str), Some(""));
        assert_eq!(labels.get("l").map(String::as_str), Some("1"));
    }
}
