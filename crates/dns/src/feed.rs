//! Keeps the zone current from the API, and tells the cluster where its DNS servers are.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use knarr_client::{Change, Informer, Informers};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use parking_lot::RwLock;

use crate::{
    Config,
    zone::{self, Zone},
};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";

/// (namespace, name) of a Service.
type Key = (String, String);

/// Which slices belong to which Service.
#[derive(Default)]
struct Slices {
    by_service: HashMap<Key, HashMap<String, Arc<EndpointSlice>>>,
}

impl Slices {
    /// Takes a change in; the Services whose endpoints may differ now.
    fn apply(&mut self, change: &Change<EndpointSlice>) -> HashSet<Key> {
        let mut touched = HashSet::new();
        if let Change::Applied { old: Some(old), .. } | Change::Deleted(old) = change
            && let Some(key) = service_of(old)
        {
            if let Some(slices) = self.by_service.get_mut(&key) {
                slices.remove(&old.name_any());
                if slices.is_empty() {
                    self.by_service.remove(&key);
                }
            }
            touched.insert(key);
        }
        if let Change::Applied { new, .. } = change
            && let Some(key) = service_of(new)
        {
            self.by_service
                .entry(key.clone())
                .or_default()
                .insert(new.name_any(), new.clone());
            touched.insert(key);
        }
        touched
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    Some((
        slice.namespace()?,
        slice.labels().get(SERVICE_LABEL)?.clone(),
    ))
}

/// Follows Services and EndpointSlices for ever.
pub async fn run(informers: Informers, zone: Arc<RwLock<Zone>>) {
    let services: Informer<Service> = informers.of();
    let mut service_changes = services.subscribe();
    let mut slice_changes = informers.of::<EndpointSlice>().subscribe();
    let mut slices = Slices::default();
    loop {
        let touched = tokio::select! {
            Some(change) = service_changes.recv() => {
                let service = change.object();
                HashSet::from([(service.namespace().unwrap_or_default(), service.name_any())])
            }
            Some(change) = slice_changes.recv() => slices.apply(&change),
            else => return,
        };
        for (namespace, name) in touched {
            let entry = services.get(&namespace, &name).and_then(|service| {
                let own = slices.by_service.get(&(namespace.clone(), name.clone()));
                zone::entry(
                    &service,
                    own.into_iter().flat_map(HashMap::values).map(|s| &**s),
                )
            });
            zone.write().set(&namespace, &name, entry);
        }
    }
}

/// Puts this server's addresses behind the DNS Service, then waits for ever.
pub async fn publish(informers: Informers, config: Config) {
    let api: Api<EndpointSlice> = Api::namespaced(informers.client().clone(), NAMESPACE);
    for (family, addresses) in by_family(&config) {
        let slice = own_slice(&config.node_name, family, &addresses);
        while let Err(error) = put(&api, &slice).await {
            tracing::debug!(%error, "publishing the DNS server's addresses; trying again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    std::future::pending().await
}

fn by_family(config: &Config) -> Vec<(&'static str, Vec<(String, u16)>)> {
    let of = |v4: bool| -> Vec<(String, u16)> {
        config
            .listen
            .iter()
            .filter(|a| a.is_ipv4() == v4)
            .map(|a| (a.ip().to_string(), a.port()))
            .collect()
    };
    [("IPv4", of(true)), ("IPv6", of(false))]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .collect()
}

fn own_slice(node: &str, family: &str, addresses: &[(String, u16)]) -> EndpointSlice {
    let number = addresses.first().map_or(53, |(_, port)| *port);
    let port = |name: &str, protocol: &str| EndpointPort {
        name: Some(name.to_owned()),
        protocol: Some(protocol.to_owned()),
        port: Some(i32::from(number)),
        ..EndpointPort::default()
    };
    let labels = [
        (SERVICE_LABEL, SERVICE),
        ("endpointslice.kubernetes.io/managed-by", "dns.knarr.io"),
    ];
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{SERVICE}-{node}-{}", family.to_ascii_lowercase())),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(vec![Endpoint {
            addresses: addresses.iter().map(|(ip, _)| ip.clone()).collect(),
            conditions: Some(EndpointConditions {
                ready: Some(true),
                serving: Some(true),
                terminating: Some(false),
            }),
            node_name: Some(node.to_owned()),
            ..Endpoint::default()
        }]),
        ports: Some(vec![port("dns", "UDP"), port("dns-tcp", "TCP")]),
    }
}

async fn put(api: &Api<EndpointSlice>, slice: &EndpointSlice) -> kube::Result<()> {
    match api.create(&PostParams::default(), slice).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let patch = Patch::Merge(slice);
            api.patch(&slice.name_any(), &PatchParams::default(), &patch)
                .await
                .map(drop)
        }
        other => other.map(drop),
    }
}
