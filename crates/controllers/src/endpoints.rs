//! Endpoints: the addresses behind a Service in one object, for clients that know nothing newer.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service,
};
use knarr_client::{Informer, Informers, Queue, informer::Key};
use kube::{Api, Client, ResourceExt, api::ObjectMeta};

use crate::{
    backends::{self, TRIGGER_TIME, Watched},
    feed, pod, write,
};

const WORKERS: usize = 5;
/// Addresses in one object; EndpointSlices hold all.
const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

struct Controller {
    client: Client,
    watched: Watched,
    endpoints: Informer<Endpoints>,
    queue: Queue<Key>,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let watched = Watched {
        services: informers.of(),
        pods: informers.of(),
    };
    let controller = Arc::new(Controller {
        client: informers.client().clone(),
        endpoints: informers.of(),
        queue: Queue::new(),
        watched,
    });
    let c = &controller;
    let work = async {
        c.watched.synced().await;
        c.endpoints.synced().await;
        feed::work("endpoints", WORKERS, &c.queue, c, |c, key| async move {
            c.sync(key).await
        })
        .await;
    };
    tokio::join!(
        feed::each(&c.watched.services, |s| c.queue.add(Key::of(&**s.object()))),
        feed::each(&c.watched.pods, |p| c
            .watched
            .touched(&p)
            .into_iter()
            .for_each(|k| c.queue.add(k))),
        feed::each(&c.endpoints, |e| c.queue.add(Key::of(&**e.object()))),
        work,
    );
}

impl Controller {
    async fn sync(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &key.namespace);
        let current = self.endpoints.get_key(&key);
        let Some(service) = self.watched.services.get_key(&key) else {
            // Endpoints without a Service may be somebody's own; those of a Service that is gone are ours to delete.
            if let Some(current) = current
                .filter(|e| e.labels().get(MANAGED_BY.0).map(String::as_str) == Some(MANAGED_BY.1))
            {
                ignore_gone(api.delete(&key.name, &write::delete(current.uid())).await)?;
            }
            return Ok(None);
        };
        if backends::selector(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let pods = self.watched.behind(&service);
        let Some(wanted) = wanted(&service, &pods, current.as_deref()) else {
            return Ok(None);
        };
        let written = match current {
            Some(_) => api.replace(&key.name, &write::post(), &wanted).await,
            None => api.create(&write::post(), &wanted).await,
        };
        match written {
            Err(error) if write::namespace_going(&error) => Ok(None),
            other => ignore_gone(other).map(|()| None),
        }
    }
}

fn ignore_gone<T>(result: Result<T, kube::Error>) -> anyhow::Result<()> {
    match result {
        Err(error) if !write::gone(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// The object that should be there; `None` when `current` is it.
fn wanted(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Option<Endpoints> {
    let (subsets, over) = capped(subsets(service, pods));
    let mut labels = backends::labels(service);
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    let mut annotations = current.map(|c| c.annotations().clone()).unwrap_or_default();
    let was_over = match over {
        true => annotations
            .insert(OVER_CAPACITY.into(), "truncated".into())
            .is_some(),
        false => annotations.remove(OVER_CAPACITY).is_some(),
    };
    let same = |c: &Endpoints| {
        *c.labels() == labels
            && was_over == over
            && *c.subsets.as_deref().unwrap_or_default() == subsets
    };
    if current.is_some_and(same) {
        return None;
    }
    match backends::trigger_time(service, pods.iter().map(|p| &**p)) {
        Some(time) => annotations.insert(TRIGGER_TIME.into(), time.to_string()),
        None => annotations.remove(TRIGGER_TIME),
    };
    let metadata = match current {
        Some(current) => current.metadata.clone(),
        None => ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
    };
    Some(Endpoints {
        metadata: ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..metadata
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    })
}

type Ports = Vec<(String, i32, String, Option<String>)>;
/// By address and uid, which sorts as the original does; each with whether it is ready.
type Addresses = BTreeMap<(IpAddr, String), (EndpointAddress, bool)>;

/// Addresses by the ports that they serve, which named target ports can make different.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let unready_too = backends::publishes_unready(service);
    let mut by_ports: BTreeMap<Ports, Addresses> = BTreeMap::new();
    for p in pods
        .iter()
        .filter(|p| backends::may_be_endpoint(p, unready_too))
    {
        let (Some(ip), Some(ports)) = (address(service, p), ports(service, p)) else {
            continue;
        };
        let address = EndpointAddress {
            ip: ip.to_string(),
            hostname: backends::hostname(p, service),
            node_name: Some(pod::node(p).to_owned()).filter(|n| !n.is_empty()),
            target_ref: Some(backends::target_ref(p)),
        };
        let key = (ip, p.metadata.uid.clone().unwrap_or_default());
        by_ports
            .entry(ports)
            .or_default()
            .insert(key, (address, unready_too || pod::ready(p)));
    }
    by_ports
        .into_iter()
        .map(|(ports, addresses)| subset(ports, addresses.into_values()))
        .collect()
}

fn subset(
    ports: Ports,
    addresses: impl Iterator<Item = (EndpointAddress, bool)>,
) -> EndpointSubset {
    let (ready, unready): (Vec<_>, Vec<_>) = addresses.partition(|(_, ready)| *ready);
    let list = |all: Vec<(EndpointAddress, bool)>| {
        (!all.is_empty()).then(|| all.into_iter().map(|(a, _)| a).collect::<Vec<_>>())
    };
    let port = |(name, port, protocol, app_protocol): (String, i32, String, Option<String>)| {
        EndpointPort {
            name: (!name.is_empty()).then_some(name),
            port,
            protocol: Some(protocol),
            app_protocol,
        }
    };
    EndpointSubset {
        addresses: list(ready),
        not_ready_addresses: list(unready),
        ports: (!ports.is_empty()).then(|| ports.into_iter().map(port).collect()),
    }
}

/// The pod's address of the Service's first family.
fn address(service: &Service, pod: &Pod) -> Option<IpAddr> {
    let family = service
        .spec
        .as_ref()
        .and_then(|s| s.ip_families.as_ref()?.first().cloned());
    let fits = |ip: &IpAddr| {
        family
            .as_deref()
            .is_none_or(|f| ip.is_ipv6() == (f == "IPv6"))
    };
    backends::addresses(pod).into_iter().find(fits)
}

/// The Service's ports in this pod; `None` when it has some but the pod serves none of them.
fn ports(service: &Service, pod: &Pod) -> Option<Ports> {
    let all = service
        .spec
        .as_ref()
        .and_then(|s| s.ports.as_deref())
        .unwrap_or_default();
    let found = all.iter().filter_map(|p| {
        let number = backends::target_port(pod, p)?;
        let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".into());
        Some((
            p.name.clone().unwrap_or_default(),
            number,
            protocol,
            p.app_protocol.clone(),
        ))
    });
    let mut found: Ports = found.collect();
    found.sort();
    // Only headless Services may come without ports.
    let usable = if all.is_empty() {
        backends::headless(service)
    } else {
        !found.is_empty()
    };
    usable.then_some(found)
}

/// Cuts to the capacity, ready addresses kept first, and tells whether something was cut.
fn capped(mut subsets: Vec<EndpointSubset>) -> (Vec<EndpointSubset>, bool) {
    let count = |s: &EndpointSubset| {
        s.addresses.as_ref().map_or(0, Vec::len)
            + s.not_ready_addresses.as_ref().map_or(0, Vec::len)
    };
    if subsets.iter().map(count).sum::<usize>() <= CAPACITY {
        return (subsets, false);
    }
    let mut left = CAPACITY;
    let mut cut = |list: &mut Option<Vec<EndpointAddress>>| {
        if let Some(all) = list {
            all.truncate(left);
            left -= all.len();
        }
        if list.as_ref().is_some_and(Vec::is_empty) {
            *list = None;
        }
    };
    subsets.iter_mut().for_each(|s| cut(&mut s.addresses));
    subsets
        .iter_mut()
        .for_each(|s| cut(&mut s.not_ready_addresses));
    subsets.retain(|s| count(s) > 0);
    (subsets, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backends::tests::service, pod::tests::pod as from_json};
    use serde_json::{Value, json};

    fn pod(name: &str, ip: &str, ready: bool, extra: Value) -> Arc<Pod> {
        let mut value = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        });
        for (path, v) in extra.as_object().unwrap() {
            *value.pointer_mut(path).unwrap() = v.clone();
        }
        Arc::new(from_json(value))
    }

    fn words(subsets: &[EndpointSubset]) -> Vec<String> {
        let list = |a: &Option<Vec<EndpointAddress>>| -> String {
            a.iter()
                .flatten()
                .map(|a| a.ip.as_str())
                .collect::<Vec<_>>()
                .join(",")
        };
        let port = |p: &EndpointPort| format!("{}={}", p.name.as_deref().unwrap_or(""), p.port);
        let words = |s: &EndpointSubset| {
            let ports: Vec<String> = s.ports.iter().flatten().map(port).collect();
            format!(
                "{} / {} : {}",
                list(&s.addresses),
                list(&s.not_ready_addresses),
                ports.join(",")
            )
        };
        subsets.iter().map(words).collect()
    }

    #[test]
    fn ready_and_unready_addresses_by_ports() {
        let svc = service(
            json!({"clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": [
            {"name": "web", "port": 80, "targetPort": "http"}]}),
        );
        let other = json!({"/spec/containers/0/ports/0/containerPort": 9090});
        let none = json!({"/spec/containers/0/ports/0/name": "x"});
        let pods = [
            pod("b", "10.0.0.10", true, json!({})),
            pod("a", "10.0.0.9", true, json!({})),
            pod("c", "10.0.0.11", false, json!({})),
            pod("d", "10.0.0.12", true, other),
            pod("e", "10.0.0.13", true, none),
            pod("f", "10.0.0.14", true, json!({"/status/phase": "Failed"})),
        ];
        let want = [
            "10.0.0.9,10.0.0.10 / 10.0.0.11 : web=8080",
            "10.0.0.12 /  : web=9090",
        ];
        assert_eq!(words(&subsets(&svc, &pods)), want);
    }

    #[test]
    fn headless_needs_no_ports_and_unready_may_be_published() {
        let pods = [pod("a", "fd00::1", false, json!({}))];
        let svc = service(
            json!({"clusterIP": "None", "selector": {}, "publishNotReadyAddresses": true, "ipFamilies": ["IPv6"]}),
        );
        assert_eq!(words(&subsets(&svc, &pods)), ["fd00::1 /  : "]);
        let four = service(json!({"clusterIP": "None", "selector": {}, "ipFamilies": ["IPv4"]}));
        assert!(subsets(&four, &pods).is_empty());
    }

    #[test]
    fn written_only_when_it_differs() {
        let svc =
            service(json!({"clusterIP": "10.0.0.1", "selector": {}, "ports": [{"port": 80}]}));
        let pods = [pod("a", "10.0.0.9", true, json!({}))];
        let first = wanted(&svc, &pods, None).unwrap();
        assert_eq!(first.labels()[MANAGED_BY.0], MANAGED_BY.1);
        assert!(wanted(&svc, &pods, Some(&first)).is_none());
        assert!(wanted(&svc, &[], Some(&first)).unwrap().subsets.is_none());
    }

    #[test]
    fn more_than_the_capacity_is_cut_and_said() {
        let svc =
            service(json!({"clusterIP": "10.0.0.1", "selector": {}, "ports": [{"port": 80}]}));
        let ip = |i: usize| format!("10.1.{}.{}", i / 250, i % 250);
        let pods: Vec<_> = (0..1100)
            .map(|i| pod(&format!("p{i}"), &ip(i), i >= 200, json!({})))
            .collect();
        let made = wanted(&svc, &pods, None).unwrap();
        let subset = &made.subsets.as_ref().unwrap()[0];
        assert_eq!(subset.addresses.as_ref().unwrap().len(), 900);
        assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 100);
        assert_eq!(made.annotations()[OVER_CAPACITY], "truncated");
        assert!(wanted(&svc, &pods, Some(&made)).is_none());
    }
}
