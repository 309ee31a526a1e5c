//! EndpointSlice: the addresses behind each Service, a hundred to an object. [`mirror`] does the same for Endpoints that
//! somebody made by hand.

pub mod mirror;
mod plan;
mod slices;
mod wanted;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Service};
use knarr_client::{Change, Informer, Informers, Queue, informer::Key};
use kube::ResourceExt;

use crate::{
    backends::{self, Watched},
    feed,
    owner::controller_ref,
    pod,
};
use plan::{Frame, MANAGED_BY, SERVICE_NAME};
use slices::Slices;

const WORKERS: usize = 5;
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

struct Controller {
    watched: Watched,
    nodes: Informer<Node>,
    slices: Slices,
    queue: Queue<Key>,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let controller = Arc::new(Controller {
        watched: Watched {
            services: informers.of(),
            pods: informers.of(),
        },
        nodes: informers.of(),
        slices: Slices::new(informers.client().clone(), informers.of(), MANAGER),
        queue: Queue::new(),
    });
    let c = &controller;
    let work = async {
        c.watched.synced().await;
        c.nodes.synced().await;
        c.slices.informer.synced().await;
        feed::work("endpointslice", WORKERS, &c.queue, c, |c, key| async move {
            c.sync(key).await
        })
        .await;
    };
    tokio::join!(
        feed::each(&c.watched.services, |s| c.service_changed(&s)),
        feed::each(&c.watched.pods, |p| c
            .watched
            .touched(&p)
            .into_iter()
            .for_each(|k| c.queue.add(k))),
        feed::each(&c.nodes, |n| c.node_changed(&n)),
        feed::each(&c.slices.informer, |s| c
            .slices
            .follow(&s)
            .into_iter()
            .for_each(|k| c.queue.add(k))),
        work,
    );
}

impl Controller {
    fn service_changed(&self, change: &Change<Service>) {
        let key = Key::of(&**change.object());
        if let Change::Deleted(_) = change {
            self.slices.forget(&key);
        }
        self.queue.add(key);
    }

    /// A node that comes, or moves to another zone, changes what is said of the pods on it.
    fn node_changed(&self, change: &Change<Node>) {
        let zone = |n: &Node| {
            n.metadata
                .labels
                .as_ref()
                .and_then(|l| l.get(ZONE).cloned())
        };
        match change {
            Change::Applied {
                old: Some(old),
                new,
            } if zone(old) == zone(new) => return,
            Change::Deleted(_) => return,
            Change::Applied { .. } => {}
        }
        let name = change.object().name_any();
        for p in self
            .watched
            .pods
            .list()
            .iter()
            .filter(|p| pod::node(p) == name)
        {
            let arrived = Change::Applied {
                old: None,
                new: p.clone(),
            };
            self.watched
                .touched(&arrived)
                .into_iter()
                .for_each(|k| self.queue.add(k));
        }
    }

    async fn sync(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let Some(service) = self.watched.services.get_key(&key) else {
            return Ok(None);
        };
        if backends::selector(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let Some(existing) = self.slices.of(&key) else {
            return Ok(Some(slices::GIVE_UP));
        };
        let pods = self.watched.behind(&service);
        let groups = wanted::groups(&service, &pods, |name| self.nodes.get("", name));
        let time = backends::trigger_time(&service, pods.iter().map(|p| &**p));
        let frame = Frame {
            owner: controller_ref(&*service),
            namespace: key.namespace.clone(),
            labels: labels(&service),
            annotations: BTreeMap::new(),
            trigger_time: time.map(|t| t.to_string()),
        };
        self.slices
            .carry_out(&key, plan::plan(&frame, groups, &existing))
            .await?;
        Ok(None)
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = backends::labels(service);
    labels.insert(SERVICE_NAME.into(), service.name_any());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}
