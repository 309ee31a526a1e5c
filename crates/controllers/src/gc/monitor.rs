//! Watches the metadata of all resources that can be deleted, and follows it with the graph.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{Collector, graph::Place};
use crate::discovery::{self, Found};

/// How long to wait for the first list of a resource before going on without.
const PATIENCE: Duration = Duration::from_secs(10);

/// Running watches by group and plural.
pub type Monitors = HashMap<(String, String), JoinHandle<()>>;

/// Events come and go by themselves, and nothing owns them.
fn watched(found: &Found) -> bool {
    found.can(&["delete", "list", "watch"]) && found.api.plural != "events"
}

/// Starts watching what is new and stops watching what is gone. Waits for the first lists.
pub async fn update(collector: &Arc<Collector>, monitors: &mut Monitors, until_it_works: bool) {
    let mut delay = Duration::from_millis(20);
    let discovered = loop {
        match discovery::resources(&collector.client).await {
            Ok(discovered) => break discovered,
            Err(error) if until_it_works => {
                tracing::debug!(%error, "discovery failed; trying again");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_secs(5));
            }
            Err(error) => {
                tracing::warn!(%error, "discovery failed; new resources are not garbage collected yet");
                return;
            }
        }
    };
    let wanted: Vec<Found> = discovered.resources.into_iter().filter(watched).collect();
    let key = |f: &Found| (f.api.group.clone(), f.api.plural.clone());
    let keep: HashSet<_> = wanted.iter().map(key).collect();
    // Only what discovery surely no longer has: a group that could not be asked may be back soon.
    if discovered.failed.is_empty() {
        monitors.retain(|key, monitor| {
            let kept = keep.contains(key);
            if !kept {
                monitor.abort();
            }
            kept
        });
    }
    let mut listed = Vec::new();
    for found in wanted {
        let key = key(&found);
        if monitors.contains_key(&key) {
            continue;
        }
        let (done, first_list) = oneshot::channel();
        let number = number(collector, &found);
        monitors.insert(
            key,
            tokio::spawn(watch(collector.clone(), number, found, done)),
        );
        listed.push(first_list);
    }
    if tokio::time::timeout(PATIENCE, futures::future::join_all(listed))
        .await
        .is_err()
    {
        tracing::warn!(
            "not all resources could be listed; their dependents are looked into one by one"
        );
    }
}

fn number(collector: &Collector, found: &Found) -> u32 {
    let mut resources = collector.resources.write();
    let same = |f: &Found| f.api.group == found.api.group && f.api.plural == found.api.plural;
    let at = match resources.iter().position(same) {
        Some(at) => {
            resources[at] = found.clone();
            at
        }
        None => {
            resources.push(found.clone());
            resources.len() - 1
        }
    };
    u32::try_from(at).unwrap_or(u32::MAX)
}

async fn watch(collector: Arc<Collector>, resource: u32, found: Found, done: oneshot::Sender<()>) {
    let api = kube::Api::<kube::core::PartialObjectMeta<kube::api::DynamicObject>>::all_with(
        collector.client.clone(),
        &found.api,
    );
    let mut config = watcher::Config::default().any_semantic().timeout(290);
    config.page_size = None;
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut done = Some(done);
    let mut seen: HashSet<Box<str>> = HashSet::new();
    let defines = matches!(
        found.api.plural.as_str(),
        "customresourcedefinitions" | "apiservices"
    );
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => seen.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                seen.insert(object.metadata.uid.as_deref().unwrap_or_default().into());
                applied(&collector, resource, &object.metadata);
            }
            Ok(watcher::Event::InitDone) => {
                let known = collector.graph.lock().of_resource(resource);
                known
                    .iter()
                    .filter(|uid| !seen.contains(*uid))
                    .for_each(|uid| deleted(&collector, uid));
                seen = HashSet::new();
                if let Some(done) = done.take() {
                    let _ = done.send(());
                }
            }
            Ok(watcher::Event::Apply(object)) => applied(&collector, resource, &object.metadata),
            Ok(watcher::Event::Delete(object)) => {
                deleted(
                    &collector,
                    object.metadata.uid.as_deref().unwrap_or_default(),
                );
            }
            Err(error) => {
                tracing::debug!(resource = found.api.plural, %error, "watch failed; trying again")
            }
        }
        if defines && done.is_none() {
            collector.rediscover.notify_one();
        }
    }
}

fn applied(collector: &Collector, resource: u32, meta: &ObjectMeta) {
    let place = Place {
        resource,
        namespace: meta.namespace.as_deref().unwrap_or_default().into(),
        name: meta.name.as_deref().unwrap_or_default().into(),
    };
    let tasks = collector.graph.lock().applied(place, meta);
    collector.enqueue(tasks);
}

fn deleted(collector: &Collector, uid: &str) {
    collector.absent.lock().insert(uid);
    let tasks = collector.graph.lock().deleted(uid);
    collector.enqueue(tasks);
}
