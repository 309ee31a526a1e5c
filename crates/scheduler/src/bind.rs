//! What the scheduler writes: bindings, why a pod has no node, and preemptions.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Binding, ObjectReference, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use knarr_client::events::Recorder;
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{pod_info::PodInfo, preempt::Preemption};

const MANAGER: &str = "kube-scheduler";

/// How a binding went.
#[derive(Debug)]
pub struct Bound {
    pub uid: String,
    pub failed: bool,
}

/// Writes in the background. Clones share the connection.
#[derive(Clone)]
pub struct Binder {
    client: Client,
    recorder: Recorder,
    done: mpsc::UnboundedSender<Bound>,
}

fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    }
}

impl Binder {
    /// `done` hears of each binding.
    pub fn new(client: Client, name: &str, done: mpsc::UnboundedSender<Bound>) -> Self {
        Binder {
            recorder: Recorder::new(client.clone(), name, None),
            client,
            done,
        }
    }

    fn pods(&self, pod: &PodInfo) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.key.namespace)
    }

    /// Binds the pod to the node.
    pub fn bind(&self, pod: Arc<PodInfo>, node: String) {
        let this = self.clone();
        tokio::spawn(async move {
            let binding = Binding {
                metadata: ObjectMeta {
                    name: Some(pod.key.name.clone()),
                    namespace: Some(pod.key.namespace.clone()),
                    uid: Some(pod.uid.clone()),
                    ..ObjectMeta::default()
                },
                target: ObjectReference {
                    kind: Some("Node".into()),
                    name: Some(node.clone()),
                    ..ObjectReference::default()
                },
            };
            let params = PostParams {
                field_manager: Some(MANAGER.into()),
                ..PostParams::default()
            };
            let bound: Result<Value, _> = this
                .pods(&pod)
                .create_subresource("binding", &pod.key.name, &params, &binding)
                .await;
            let failed = bound.is_err();
            match bound {
                Ok(_) => {
                    let words = format!("Successfully assigned {} to {node}", pod.key);
                    this.recorder.normal(&*pod.pod, "Scheduled", words);
                }
                Err(error) => {
                    tracing::debug!(pod = %pod.key, node, %error, "binding failed");
                    this.explain(
                        &pod,
                        "SchedulerError",
                        &format!("binding rejected: {}", words(&error)),
                    )
                    .await;
                }
            }
            // Nobody listens any more when the scheduler is going down.
            let _ = this.done.send(Bound {
                uid: pod.uid.clone(),
                failed,
            });
        });
    }

    /// Says why the pod has no node, in an event and in its condition.
    pub fn tell(&self, pod: Arc<PodInfo>, message: String) {
        let this = self.clone();
        tokio::spawn(async move { this.explain(&pod, "Unschedulable", &message).await });
    }

    async fn explain(&self, pod: &PodInfo, reason: &str, message: &str) {
        self.recorder
            .warning(&*pod.pod, "FailedScheduling", message);
        let Some(patch) = condition(&pod.pod, reason, message, Timestamp::now()) else {
            return;
        };
        let done = self
            .pods(pod)
            .patch_status(&pod.key.name, &patch_params(), &Patch::Strategic(patch))
            .await;
        if let Err(error) = done {
            tracing::debug!(pod = %pod.key, %error, "condition not written");
        }
    }

    /// Makes room: nominates the node and deletes the victims.
    pub fn preempt(&self, pod: Arc<PodInfo>, preemption: Preemption, message: String) {
        let this = self.clone();
        tokio::spawn(async move {
            this.explain(&pod, "Unschedulable", &message).await;
            let nominate = json!({"status": {"nominatedNodeName": preemption.node}});
            let nominated = this
                .pods(&pod)
                .patch_status(&pod.key.name, &patch_params(), &Patch::Merge(nominate))
                .await;
            if let Err(error) = nominated {
                tracing::debug!(pod = %pod.key, %error, "node not nominated");
            }
            for victim in &preemption.victims {
                this.evict(&pod, victim, &preemption.node).await;
            }
        });
    }

    async fn evict(&self, pod: &PodInfo, victim: &PodInfo, node: &str) {
        if victim.terminating() {
            return;
        }
        let api = self.pods(victim);
        let disrupted = PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            reason: Some("PreemptionByScheduler".into()),
            message: Some(
                "default-scheduler: preempting to accommodate a higher priority pod".into(),
            ),
            last_transition_time: Some(Time(Timestamp::now())),
            ..PodCondition::default()
        };
        let patch = json!({"status": {"conditions": [disrupted]}});
        let told = api
            .patch_status(&victim.key.name, &patch_params(), &Patch::Strategic(patch))
            .await;
        let preconditions = Preconditions {
            uid: Some(victim.uid.clone()),
            resource_version: None,
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match api.delete(&victim.key.name, &params).await {
            Ok(_) => {
                let words = format!("Preempted by pod {} on node {node}", pod.uid);
                self.recorder.normal(&*victim.pod, "Preempted", words);
            }
            Err(error) => {
                tracing::debug!(pod = %victim.key, %error, told = told.is_ok(), "not preempted")
            }
        }
    }
}

fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// The patch that makes the pod say why it has no node; `None` when it says so already.
fn condition(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> Option<Value> {
    let all = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let current = all
        .into_iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled");
    let unchanged = |c: &PodCondition| {
        c.status == "False"
            && c.reason.as_deref() == Some(reason)
            && c.message.as_deref() == Some(message)
    };
    if current.is_some_and(unchanged) {
        return None;
    }
    let since = current
        .filter(|c| c.status == "False")
        .and_then(|c| c.last_transition_time.clone());
    let condition = PodCondition {
        type_: "PodScheduled".into(),
        status: "False".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_transition_time: Some(since.unwrap_or(Time(now))),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    };
    Some(json!({"status": {"conditions": [condition]}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_is_written_once() {
        let mut pod = Pod::default();
        let patch = condition(&pod, "Unschedulable", "why", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(patch["status"]["conditions"][0]["status"], "False");
        pod.status = serde_json::from_value(patch["status"].clone()).unwrap();
        assert!(condition(&pod, "Unschedulable", "why", Timestamp::now()).is_none());
        let other = condition(&pod, "Unschedulable", "other", Timestamp::now()).unwrap();
        assert_eq!(
            other["status"]["conditions"][0]["lastTransitionTime"],
            "1970-01-01T00:00:00Z"
        );
    }
}
