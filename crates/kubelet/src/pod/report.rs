//! Tells the API a pod's status: the newest only, only what changed, for as long as it takes.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Writes one pod's status. Dropping it stops the writing.
pub struct Reporter {
    wanted: watch::Sender<PodStatus>,
    written: watch::Receiver<Option<PodStatus>>,
    task: tokio::task::AbortHandle,
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reporter {
    /// `known` is the status that the API has. A static pod is told about through its mirror, whose uid is its own.
    pub fn new(client: Client, pod: &Arc<Pod>, known: PodStatus, is_static: bool) -> Self {
        let (wanted, news) = watch::channel(known.clone());
        let (done, written) = watch::channel(Some(known));
        let task = tokio::spawn(run(client, pod.clone(), is_static, news, done)).abort_handle();
        Reporter {
            wanted,
            written,
            task,
        }
    }

    /// Sets what the API is to have.
    pub fn set(&self, status: PodStatus) {
        self.wanted.send_if_modified(|old| {
            let differs = *old != status;
            *old = status;
            differs
        });
    }

    /// Waits until the API has what was set last.
    pub async fn flush(&self) {
        let wanted = self.wanted.borrow().clone();
        let mut written = self.written.clone();
        // The writer ends only with this reporter or with the pod.
        let _ = written
            .wait_for(|w| w.as_ref().is_none_or(|w| *w == wanted))
            .await;
    }
}

async fn run(
    client: Client,
    pod: Arc<Pod>,
    is_static: bool,
    mut news: watch::Receiver<PodStatus>,
    done: watch::Sender<Option<PodStatus>>,
) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().filter(|_| !is_static);
    let api: Api<Pod> = Api::namespaced(client, namespace);
    let mut delay = FIRST_RETRY;
    while news.changed().await.is_ok() {
        loop {
            let status = news.borrow_and_update().clone();
            let before = done.borrow().clone().unwrap_or_default();
            let Some(patch) = patch(&before, &status, uid) else {
                done.send_replace(Some(status));
                break;
            };
            match api
                .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await
            {
                Ok(_) => {
                    delay = FIRST_RETRY;
                    done.send_replace(Some(status));
                    break;
                }
                Err(kube::Error::Api(s))
                    if !is_static
                        && (s.code == 404 || (s.code == 409 && s.message.contains("uid"))) =>
                {
                    done.send_replace(None);
                    return;
                }
                Err(error) => {
                    tracing::debug!(pod = name, namespace, %error, "status not written; trying again");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(LAST_RETRY);
                }
            }
        }
    }
}

fn object<T: serde::Serialize>(value: &T) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The strategic merge patch from one status to another. `None` when they say the same.
fn patch(old: &PodStatus, new: &PodStatus, uid: Option<&str>) -> Option<Value> {
    let (old, new) = (object(old), object(new));
    let mut status = Map::new();
    for (key, value) in &new {
        if old.get(key) == Some(value) {
            continue;
        }
        // These lists are merged by their keys: what is gone from them must be said.
        let replaces = matches!(key.as_str(), "podIPs" | "hostIPs") && old.contains_key(key);
        let value = match value {
            Value::Array(items) if replaces => Value::Array(
                items
                    .iter()
                    .cloned()
                    .chain([json!({"$patch": "replace"})])
                    .collect(),
            ),
            other => other.clone(),
        };
        status.insert(key.clone(), value);
    }
    // What others set (nominated node, resource claims) is not this node's to take away.
    let mine = [
        "message",
        "reason",
        "podIP",
        "podIPs",
        "initContainerStatuses",
        "containerStatuses",
        "ephemeralContainerStatuses",
    ];
    for key in mine
        .iter()
        .filter(|k| old.contains_key(**k) && !new.contains_key(**k))
    {
        status.insert((*key).to_owned(), Value::Null);
    }
    if status.is_empty() {
        return None;
    }
    let mut patch = json!({"status": status});
    if let Some(uid) = uid {
        patch["metadata"] = json!({"uid": uid});
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodIP;

    use super::*;

    #[test]
    fn patches_say_what_changed() {
        let old = PodStatus {
            phase: Some("Pending".into()),
            message: Some("m".into()),
            nominated_node_name: Some("n".into()),
            ..PodStatus::default()
        };
        assert_eq!(patch(&old, &old, Some("u")), None);
        let new = PodStatus {
            phase: Some("Running".into()),
            pod_ips: Some(vec![PodIP {
                ip: "1.1.1.1".into(),
            }]),
            ..PodStatus::default()
        };
        let want = json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "podIPs": [{"ip": "1.1.1.1"}], "message": null}});
        assert_eq!(patch(&old, &new, Some("u")), Some(want));
        let moved = PodStatus {
            pod_ips: Some(vec![PodIP {
                ip: "2.2.2.2".into(),
            }]),
            ..new.clone()
        };
        let want = json!({"status": {"podIPs": [{"ip": "2.2.2.2"}, {"$patch": "replace"}]}});
        assert_eq!(patch(&new, &moved, None), Some(want));
    }
}
