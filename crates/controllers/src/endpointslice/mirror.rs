//! Mirrors Endpoints that somebody made for a Service without a selector to EndpointSlices, which the data plane reads.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Endpoints, Service};
use knarr_client::{Change, Informer, Informers, Queue, informer::Key};
use kube::ResourceExt;

use super::{
    plan::{self, Frame, MANAGED_BY, SERVICE_NAME},
    slices::{self, Slices},
    wanted,
};
use crate::{backends::TRIGGER_TIME, feed, owner::controller_ref};

const WORKERS: usize = 2;
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

struct Controller {
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Slices,
    queue: Queue<Key>,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let controller = Arc::new(Controller {
        services: informers.of(),
        endpoints: informers.of(),
        slices: Slices::new(informers.client().clone(), informers.of(), MANAGER),
        queue: Queue::new(),
    });
    let c = &controller;
    let work = async {
        c.services.synced().await;
        c.endpoints.synced().await;
        c.slices.informer.synced().await;
        feed::work(
            "endpointslicemirroring",
            WORKERS,
            &c.queue,
            c,
            |c, key| async move { c.sync(key).await },
        )
        .await;
    };
    tokio::join!(
        feed::each(&c.services, |s| c.queue.add(Key::of(&**s.object()))),
        feed::each(&c.endpoints, |e| c.endpoints_changed(&e)),
        feed::each(&c.slices.informer, |s| c
            .slices
            .follow(&s)
            .into_iter()
            .for_each(|k| c.queue.add(k))),
        work,
    );
}

/// Whether these Endpoints stand for a Service that nobody else finds the endpoints of.
fn to_mirror(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let skip = endpoints.labels().get(SKIP).map(String::as_str) == Some("true");
    let leader = endpoints.annotations().contains_key(LEADER);
    let by_hand = |s: &Service| s.spec.as_ref().is_some_and(|s| s.selector.is_none());
    !skip && !leader && service.is_some_and(by_hand)
}

impl Controller {
    fn endpoints_changed(&self, change: &Change<Endpoints>) {
        let key = Key::of(&**change.object());
        if let Change::Deleted(_) = change {
            self.slices.forget(&key);
        }
        self.queue.add(key);
    }

    async fn sync(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let Some(existing) = self.slices.of(&key) else {
            return Ok(Some(slices::GIVE_UP));
        };
        let service = self.services.get_key(&key);
        let endpoints = self
            .endpoints
            .get_key(&key)
            .filter(|e| to_mirror(e, service.as_deref()));
        let Some(endpoints) = endpoints else {
            let plan = plan::Plan {
                delete: existing,
                ..plan::Plan::default()
            };
            self.slices.carry_out(&key, plan).await?;
            return Ok(None);
        };
        let frame = frame(&endpoints);
        self.slices
            .carry_out(
                &key,
                plan::plan(&frame, wanted::mirrored(&endpoints), &existing),
            )
            .await?;
        Ok(None)
    }
}

fn frame(endpoints: &Endpoints) -> Frame {
    let mut labels: BTreeMap<String, String> = endpoints.labels().clone();
    labels.insert(SERVICE_NAME.into(), endpoints.name_any());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut annotations = endpoints.annotations().clone();
    annotations.remove(LAST_APPLIED);
    Frame {
        owner: controller_ref(endpoints),
        namespace: endpoints.namespace().unwrap_or_default(),
        labels,
        trigger_time: annotations.remove(TRIGGER_TIME),
        annotations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::tests::service;
    use serde_json::json;

    #[test]
    fn only_hand_made_endpoints_are_mirrored() {
        let endpoints =
            |meta| -> Endpoints { serde_json::from_value(json!({"metadata": meta})).unwrap() };
        let plain = endpoints(json!({"name": "web"}));
        let (by_hand, selecting) = (service(json!({})), service(json!({"selector": {"a": "b"}})));
        assert!(to_mirror(&plain, Some(&by_hand)));
        assert!(!to_mirror(&plain, Some(&selecting)));
        assert!(!to_mirror(&plain, None));
        assert!(!to_mirror(
            &endpoints(json!({"labels": {SKIP: "true"}})),
            Some(&by_hand)
        ));
        assert!(!to_mirror(
            &endpoints(json!({"annotations": {LEADER: "{}"}})),
            Some(&by_hand)
        ));
    }
}
