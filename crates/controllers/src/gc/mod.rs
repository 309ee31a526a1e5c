//! Garbage collection: deletes what its owners leave behind, in the background or before the owner goes, or lets it go.
//!
//! [`monitor`] watches the metadata of every resource that can be deleted and keeps the [`graph`]; [`act`] looks into what
//! the graph calls for.

mod act;
mod graph;
mod monitor;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use knarr_client::{Informers, Queue};
use kube::{Api, Client, api::DynamicObject, core::PartialObjectMeta};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::{discovery::Found, feed};
use graph::{Graph, Task};

const WORKERS: usize = 10;
/// Owners known not to be there, so that each of many dependents need not ask.
const ABSENT: usize = 500;

struct Collector {
    client: Client,
    graph: Mutex<Graph>,
    /// By number.
    resources: RwLock<Vec<Found>>,
    queue: Queue<Task>,
    absent: Mutex<Absent>,
    /// The resources that there are may have changed.
    rediscover: Notify,
}

#[derive(Default)]
struct Absent {
    order: VecDeque<String>,
    uids: HashSet<String>,
}

impl Absent {
    fn insert(&mut self, uid: &str) {
        if self.uids.insert(uid.to_owned()) {
            self.order.push_back(uid.to_owned());
        }
        if self.order.len() > ABSENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let collector = Arc::new(Collector {
        client: informers.client().clone(),
        graph: Mutex::default(),
        resources: RwLock::default(),
        queue: Queue::new(),
        absent: Mutex::default(),
        rediscover: Notify::new(),
    });
    let mut monitors = HashMap::new();
    // Before all is known everything would seem to have lost its owner.
    monitor::update(&collector, &mut monitors, true).await;
    let c = &collector;
    tokio::join!(
        async {
            loop {
                c.rediscover.notified().await;
                // Changes of definitions come in bursts.
                tokio::time::sleep(Duration::from_millis(100)).await;
                monitor::update(c, &mut monitors, false).await;
            }
        },
        feed::work(
            "garbagecollector",
            WORKERS,
            &c.queue,
            c,
            |c, task| async move {
                match task {
                    Task::Delete(uid) => c.look_into(&uid).await,
                    Task::Orphan(uid) => c.orphan(&uid).await,
                }
            }
        ),
    );
}

impl Collector {
    fn found(&self, resource: u32) -> Option<Found> {
        self.resources.read().get(resource as usize).cloned()
    }

    /// The resource that a reference names, at whatever version it is watched.
    fn named(&self, api_version: &str, kind: &str) -> Option<Found> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.resources
            .read()
            .iter()
            .find(|f| f.api.group == group && f.api.kind == kind)
            .cloned()
    }

    fn api(&self, found: &Found, namespace: &str) -> Api<PartialObjectMeta<DynamicObject>> {
        match found.namespaced {
            true => Api::namespaced_with(self.client.clone(), namespace, &found.api),
            false => Api::all_with(self.client.clone(), &found.api),
        }
    }

    fn enqueue(&self, tasks: Vec<Task>) {
        tasks.into_iter().for_each(|t| self.queue.add(t));
    }
}
