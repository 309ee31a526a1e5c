//! All pods of the node: one task each, begun when a pod appears and ended when nothing is left of it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use knarr_client::{Change, Informer};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{
    admission,
    context::Context,
    pod::{
        cleanup,
        memory::Why,
        worker::{Input, Worker},
    },
    static_pods,
};

const ORPHAN_RETRY: Duration = Duration::from_secs(5);

struct Handle {
    inputs: mpsc::UnboundedSender<Input>,
    pod: Arc<Pod>,
    refused: bool,
}

/// The pods of this node. Clones share them.
#[derive(Clone)]
pub struct Pods {
    ctx: Arc<Context>,
    handles: Arc<Mutex<HashMap<String, Handle>>>,
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

/// Whether a pod's containers have ended for good by what the API says.
fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

impl Pods {
    pub fn new(ctx: Arc<Context>) -> Self {
        Pods {
            ctx,
            handles: Arc::default(),
        }
    }

    /// Every pod as wanted last.
    pub fn list(&self) -> Vec<Arc<Pod>> {
        self.handles
            .lock()
            .values()
            .map(|h| h.pod.clone())
            .collect()
    }

    /// The pod with that name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let handles = self.handles.lock();
        let is_it = |h: &&Handle| {
            h.pod.metadata.namespace.as_deref() == Some(namespace)
                && h.pod.metadata.name.as_deref() == Some(name)
        };
        // While a pod of the same name ends, the newer one is meant.
        let found = handles.values().filter(is_it).max_by_key(|h| {
            (
                h.pod.metadata.deletion_timestamp.is_none(),
                h.pod.metadata.creation_timestamp.clone(),
            )
        });
        found.map(|h| h.pod.clone())
    }

    /// Follows what the API wants of this node, for ever.
    pub async fn run(self, informer: Informer<Pod>) {
        informer.synced().await;
        let mut changes = informer.subscribe();
        let mut first = informer.list();
        first.sort_by_key(|p| p.metadata.creation_timestamp.clone());
        first.into_iter().for_each(|pod| self.apply(pod));
        self.end_orphans();
        while let Some(change) = changes.recv().await {
            match change {
                Change::Applied { old, new } => {
                    if let Some(old) = old.filter(|o| o.metadata.uid != new.metadata.uid) {
                        self.gone(&old);
                    }
                    self.apply(new);
                }
                Change::Deleted(pod) => self.gone(&pod),
            }
        }
    }

    /// Takes a pod as the API has it.
    fn apply(&self, pod: Arc<Pod>) {
        if static_pods::is_mirror(&pod) {
            return;
        }
        self.take(pod, false);
    }

    /// Takes a pod, from wherever.
    pub fn take(&self, pod: Arc<Pod>, is_static: bool) {
        let id = uid(&pod);
        let mut handles = self.handles.lock();
        if let Some(handle) = handles.get_mut(&id) {
            handle.pod = pod.clone();
            let _ = handle.inputs.send(Input::Pod(pod));
            return;
        }
        let refused = self.refused(&pod, &handles, is_static);
        let (inputs, receiver) = mpsc::unbounded_channel();
        handles.insert(
            id.clone(),
            Handle {
                inputs,
                pod: pod.clone(),
                refused: refused.is_some(),
            },
        );
        drop(handles);
        let worker = Worker::new(self.ctx.clone(), pod, refused, is_static, receiver);
        let pods = self.clone();
        tokio::spawn(async move {
            // A fault in one pod's task must not keep the pod from ever being looked at again.
            if let Err(error) = tokio::spawn(worker.run()).await {
                tracing::error!(uid = id, %error, "pod task failed unexpectedly");
            }
            pods.handles.lock().remove(&id);
        });
    }

    fn refused(
        &self,
        pod: &Arc<Pod>,
        handles: &HashMap<String, Handle>,
        is_static: bool,
    ) -> Option<Why> {
        let known = is_terminal(pod) || pod.metadata.deletion_timestamp.is_some();
        if known || is_static || !self.ctx.view.observe(&uid(pod)).is_empty() {
            return None;
        }
        let others: Vec<_> = handles
            .values()
            .filter(|h| !h.refused && !is_terminal(&h.pod))
            .map(|h| h.pod.clone())
            .collect();
        let node = self.ctx.node.get("", &self.ctx.config.node_name);
        let refusal = admission::admit(pod, node.as_deref(), &others).err()?;
        self.ctx.recorder.warning(
            &**pod,
            &refusal.reason,
            refusal.message.trim_start_matches("Pod was rejected: "),
        );
        Some(Why::Failed {
            reason: refusal.reason,
            message: refusal.message,
        })
    }

    /// The API, or a directory, has the pod no more.
    pub fn gone(&self, pod: &Arc<Pod>) {
        if let Some(handle) = self.handles.lock().get(&uid(pod)) {
            let _ = handle.inputs.send(Input::Gone(pod.clone()));
        }
    }

    /// Ends what runs and belongs to no pod, and removes what such pods left.
    fn end_orphans(&self) {
        let known: HashSet<String> = self.handles.lock().keys().cloned().collect();
        let mut orphans: HashSet<String> = self.ctx.view.uids().into_iter().collect();
        let dirs = std::fs::read_dir(self.ctx.config.root_dir.join("pods"))
            .into_iter()
            .flatten()
            .flatten();
        orphans.extend(dirs.filter_map(|d| d.file_name().into_string().ok()));
        orphans.retain(|id| !known.contains(id));
        for id in orphans {
            let ctx = self.ctx.clone();
            tokio::spawn(async move {
                tracing::info!(uid = id, "ending a pod that is no longer wanted");
                while let Err(error) = cleanup::end_orphan(&ctx, &id).await {
                    tracing::warn!(
                        uid = id,
                        error = format!("{error:#}"),
                        "orphan not removed; trying again"
                    );
                    tokio::time::sleep(ORPHAN_RETRY).await;
                }
            });
        }
        self.remove_orphan_logs(&known);
    }

    fn remove_orphan_logs(&self, known: &HashSet<String>) {
        let alive: HashSet<String> = self.ctx.view.uids().into_iter().collect();
        for dir in std::fs::read_dir(&self.ctx.config.log_dir)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = dir.file_name().to_string_lossy().into_owned();
            let id = name.rsplit('_').next().unwrap_or_default();
            if name.split('_').count() == 3 && !known.contains(id) && !alive.contains(id) {
                let _ = std::fs::remove_dir_all(dir.path());
            }
        }
    }
}
