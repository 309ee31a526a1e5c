//! What runs on this node, by pod: kept current from the runtime's events, so that nobody polls.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use knarr_runtime::{
    ContainerState, ContainerStatus, Error, Event, Runtime, SandboxState, SandboxStatus,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast::error::RecvError};

/// Label with a pod's uid on sandboxes' and containers' records.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// What runs, and ran, for one pod.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Newest first.
    pub sandboxes: Vec<SandboxStatus>,
    /// Newest first.
    pub containers: Vec<ContainerStatus>,
}

impl Observed {
    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    /// The newest sandbox, when it can take containers.
    pub fn ready_sandbox(&self) -> Option<&SandboxStatus> {
        self.sandboxes
            .first()
            .filter(|s| s.state == SandboxState::Ready)
    }

    /// The newest container of that name, in whatever sandbox.
    pub fn latest(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest container of that name in one sandbox.
    pub fn latest_in(&self, sandbox: &str, name: &str) -> Option<&ContainerStatus> {
        self.containers
            .iter()
            .find(|c| c.name == name && c.sandbox_id == sandbox)
    }

    /// The one before the newest.
    pub fn previous(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().filter(|c| c.name == name).nth(1)
    }

    pub fn any_running(&self) -> bool {
        self.containers
            .iter()
            .any(|c| c.state == ContainerState::Running)
    }

    fn put(&mut self, container: ContainerStatus) {
        self.containers.retain(|c| c.id != container.id);
        self.containers.push(container);
        self.sort();
    }

    fn sort(&mut self) {
        self.sandboxes
            .sort_by_key(|s| std::cmp::Reverse((s.created_at, s.config.attempt)));
        self.containers
            .sort_by_key(|c| std::cmp::Reverse((c.created_at, c.attempt)));
    }
}

#[derive(Default)]
struct State {
    pods: HashMap<String, Observed>,
    wakers: HashMap<String, Arc<Notify>>,
}

/// The node's view of its runtime. Clones share it.
#[derive(Clone)]
pub struct View {
    runtime: Arc<dyn Runtime>,
    state: Arc<Mutex<State>>,
}

impl View {
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        View {
            runtime,
            state: Arc::default(),
        }
    }

    pub fn observe(&self, uid: &str) -> Observed {
        self.state.lock().pods.get(uid).cloned().unwrap_or_default()
    }

    /// Every pod of which anything is left in the runtime.
    pub fn uids(&self) -> Vec<String> {
        self.state
            .lock()
            .pods
            .iter()
            .filter(|(_, seen)| !seen.is_empty())
            .map(|(uid, _)| uid.clone())
            .collect()
    }

    /// Notified when something of the pod changed.
    pub fn waker(&self, uid: &str) -> Arc<Notify> {
        self.state
            .lock()
            .wakers
            .entry(uid.to_owned())
            .or_default()
            .clone()
    }

    /// Forgets a pod of which nothing is left.
    pub fn forget(&self, uid: &str) {
        let mut state = self.state.lock();
        state.wakers.remove(uid);
        if state.pods.get(uid).is_some_and(Observed::is_empty) {
            state.pods.remove(uid);
        }
    }

    /// Follows the runtime's events, for ever.
    pub async fn run(self) {
        let mut events = self.runtime.events();
        loop {
            match events.recv().await {
                Ok(event) => self.on_event(event).await,
                Err(RecvError::Lagged(_)) => self.relist_until_done().await,
                Err(RecvError::Closed) => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    events = self.runtime.events();
                    self.relist_until_done().await;
                }
            }
        }
    }

    async fn on_event(&self, event: Event) {
        let read = if event.container_id.is_empty() {
            self.reload_sandboxes(&event.pod_uid).await
        } else {
            self.reload_container(&event.pod_uid, &event.container_id)
                .await
        };
        if let Err(error) = read {
            tracing::warn!(%error, "runtime not readable; reading everything anew");
            self.relist_until_done().await;
        }
    }

    async fn relist_until_done(&self) {
        while let Err(error) = self.relist().await {
            tracing::warn!(%error, "runtime not readable; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Reads everything and wakes every pod that differs.
    pub async fn relist(&self) -> Result<(), Error> {
        let (sandboxes, containers) = (
            self.runtime.sandboxes().await?,
            self.runtime.containers().await?,
        );
        let mut pods: HashMap<String, Observed> = HashMap::new();
        for sandbox in sandboxes {
            pods.entry(sandbox.config.pod_uid.clone())
                .or_default()
                .sandboxes
                .push(sandbox);
        }
        for container in containers {
            let Some(uid) = container.labels.get(POD_UID) else {
                continue;
            };
            pods.entry(uid.clone())
                .or_default()
                .containers
                .push(container);
        }
        pods.values_mut().for_each(Observed::sort);
        let mut state = self.state.lock();
        let uids: HashSet<String> = pods.keys().chain(state.pods.keys()).cloned().collect();
        state.pods = pods;
        uids.iter()
            .filter_map(|uid| state.wakers.get(uid))
            .for_each(|w| w.notify_one());
        Ok(())
    }

    /// Reads one container anew. One that is gone is forgotten.
    pub async fn reload_container(&self, uid: &str, id: &str) -> Result<(), Error> {
        let status = match self.runtime.container_status(id).await {
            Ok(status) => Some(status),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        self.change(uid, |seen| match status {
            Some(status) => seen.put(status),
            None => seen.containers.retain(|c| c.id != id),
        });
        Ok(())
    }

    /// Reads a pod's sandboxes anew.
    pub async fn reload_sandboxes(&self, uid: &str) -> Result<(), Error> {
        let all = self.runtime.sandboxes().await?;
        self.change(uid, |seen| {
            seen.sandboxes = all
                .into_iter()
                .filter(|s| s.config.pod_uid == uid)
                .collect();
            seen.sort();
        });
        Ok(())
    }

    fn change(&self, uid: &str, how: impl FnOnce(&mut Observed)) {
        let mut state = self.state.lock();
        how(state.pods.entry(uid.to_owned()).or_default());
        if let Some(waker) = state.wakers.get(uid) {
            waker.notify_one();
        }
    }
}
