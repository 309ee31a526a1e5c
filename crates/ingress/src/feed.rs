//! Keeps routes, backends and certificates current from the API.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};
use knarr_client::{Change, Informer, Informers};
use kube::ResourceExt;

use crate::{
    Config,
    backend::{self, Shared},
    certificate,
    route::{BackendRef, Routes, is_served},
    server::State,
};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// (namespace, name) of a Service.
type ServiceKey = (String, String);

struct Feed<'a> {
    config: &'a Config,
    state: &'a State,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    secrets: Informer<Secret>,
    services: Informer<Service>,
    slices: HashMap<ServiceKey, HashMap<String, Arc<EndpointSlice>>>,
    routes: Arc<Routes>,
}

/// Follows what Ingresses depend on, for ever.
pub(crate) async fn run(informers: &Informers, config: &Config, state: &State) {
    let mut feed = Feed {
        config,
        state,
        ingresses: informers.of(),
        classes: informers.of(),
        secrets: informers.selected("type=kubernetes.io/tls"),
        services: informers.of(),
        slices: HashMap::new(),
        routes: Arc::default(),
    };
    let mut ingresses = feed.ingresses.subscribe();
    let mut classes = feed.classes.subscribe();
    let mut secrets = feed.secrets.subscribe();
    let mut services = feed.services.subscribe();
    let mut slices = informers.of::<EndpointSlice>().subscribe();
    loop {
        tokio::select! {
            Some(change) = ingresses.recv() => {
                // Status changes, our own among them, route nothing anew.
                if !matches!(&change, Change::Applied { old: Some(old), new } if same_routing(old, new)) {
                    feed.reroute();
                }
            }
            Some(_) = classes.recv() => feed.reroute(),
            Some(_) = secrets.recv() => feed.recertify(),
            Some(change) = services.recv() => {
                let service = change.object();
                feed.reconnect(&(service.namespace().unwrap_or_default(), service.name_any()));
            }
            Some(change) = slices.recv() => {
                for key in feed.take_slice(&change) {
                    feed.reconnect(&key);
                }
            }
            else => return,
        }
    }
}

fn same_routing(old: &Ingress, new: &Ingress) -> bool {
    old.spec == new.spec && old.metadata.annotations == new.metadata.annotations
}

impl Feed<'_> {
    /// Makes the routing table anew. Backends that are still used keep their turn and their connections.
    fn reroute(&mut self) {
        let (ingresses, classes) = (self.ingresses.list(), self.classes.list());
        let served = |i: &&Ingress| {
            is_served(
                i,
                classes.iter().map(|c| &**c),
                &self.config.class,
                &self.config.controller,
            )
        };
        let routes = Arc::new(Routes::new(ingresses.iter().map(|i| &**i).filter(served)));
        let wanted: HashSet<Arc<BackendRef>> = routes.backends().cloned().collect();
        let missing: Vec<Arc<BackendRef>> = {
            let known = self.state.proxy.backends.read();
            wanted
                .iter()
                .filter(|r| !known.contains_key(*r))
                .cloned()
                .collect()
        };
        let made: Vec<(Arc<BackendRef>, Shared)> = missing
            .into_iter()
            .map(|r| (r.clone(), self.shared(&r)))
            .collect();
        {
            let mut known = self.state.proxy.backends.write();
            known.extend(made);
        }
        // New routes only once their backends are there, old backends only as long as routes lead to them.
        self.state.proxy.routes.store(routes.clone());
        self.state
            .proxy
            .backends
            .write()
            .retain(|r, _| wanted.contains(r));
        self.routes = routes;
        self.recertify();
    }

    fn recertify(&self) {
        let mut by_host = certificate::ByHost::new();
        for tls in &self.routes.tls {
            let Some(secret) = self.secrets.get(&tls.namespace, &tls.secret) else {
                continue;
            };
            match certificate::from_secret(&secret) {
                Ok(key) => drop(by_host.insert(tls.host.clone(), key)),
                Err(error) => {
                    tracing::warn!(
                        secret = format!("{}/{}", tls.namespace, tls.secret),
                        error = format!("{error:#}"),
                        "not a usable certificate"
                    );
                }
            }
        }
        self.state.certificates.replace(by_host);
    }

    fn take_slice(&mut self, change: &Change<EndpointSlice>) -> HashSet<ServiceKey> {
        let key = |slice: &EndpointSlice| {
            Some((
                slice.namespace()?,
                slice.labels().get(SERVICE_LABEL)?.clone(),
            ))
        };
        let mut touched = HashSet::new();
        if let Change::Applied { old: Some(old), .. } | Change::Deleted(old) = change
            && let Some(key) = key(old)
        {
            if let Some(slices) = self.slices.get_mut(&key) {
                slices.remove(&old.name_any());
                if slices.is_empty() {
                    self.slices.remove(&key);
                }
            }
            touched.insert(key);
        }
        if let Change::Applied { new, .. } = change
            && let Some(key) = key(new)
        {
            self.slices
                .entry(key.clone())
                .or_default()
                .insert(new.name_any(), new.clone());
            touched.insert(key);
        }
        touched
    }

    /// A Service or its endpoints changed: its backends follow.
    fn reconnect(&self, key: &ServiceKey) {
        let backends: Vec<(Arc<BackendRef>, Shared)> = {
            let known = self.state.proxy.backends.read();
            let of_service = known
                .iter()
                .filter(|(r, _)| r.namespace == key.0 && r.service == key.1);
            of_service.map(|(r, b)| (r.clone(), b.clone())).collect()
        };
        for (reference, shared) in backends {
            shared.store(Arc::new(self.resolve(&reference)));
        }
    }

    fn shared(&self, reference: &BackendRef) -> Shared {
        Arc::new(arc_swap::ArcSwap::from_pointee(self.resolve(reference)))
    }

    fn resolve(&self, reference: &BackendRef) -> backend::Backend {
        let Some(service) = self.services.get(&reference.namespace, &reference.service) else {
            return backend::Backend::default();
        };
        let slices = self
            .slices
            .get(&(reference.namespace.clone(), reference.service.clone()));
        backend::resolve(
            reference,
            &service,
            slices.into_iter().flat_map(HashMap::values).map(|s| &**s),
        )
    }
}
