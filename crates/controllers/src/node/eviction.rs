//! Takes pods off nodes whose NoExecute taints they do not tolerate, or only for a while.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Node, Pod, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use knarr_client::{Change, Informer, Informers, Queue, events::Recorder, informer::Key};
use kube::{Api, Client, ResourceExt, api::Patch};
use parking_lot::Mutex;
use serde_json::json;

use crate::{feed, pod, write};

const WORKERS: usize = 8;

struct Controller {
    client: Client,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    recorder: Recorder,
    /// Pods that may stay for a while, by UID, and since when: a taint that a user made has no time of its own.
    staying: Mutex<HashMap<Key, (Option<String>, Timestamp)>>,
}

/// Runs the controller for ever.
pub async fn run(informers: Informers) {
    let client = informers.client().clone();
    let controller = Arc::new(Controller {
        nodes: informers.of(),
        pods: informers.of(),
        queue: Queue::new(),
        staying: Mutex::default(),
        recorder: Recorder::new(client.clone(), "taint-eviction-controller", None),
        client,
    });
    let c = &controller;
    let work = async {
        c.nodes.synced().await;
        c.pods.synced().await;
        feed::work("tainteviction", WORKERS, &c.queue, c, |c, key| async move {
            c.sync(key).await
        })
        .await;
    };
    tokio::join!(
        feed::each(&c.nodes, |n| c.node_changed(&n)),
        feed::each(&c.pods, |p| c.pod_changed(&p)),
        work
    );
}

fn expelling(node: &Node) -> Vec<&Taint> {
    let all = node.spec.as_ref().and_then(|s| s.taints.as_ref());
    all.into_iter()
        .flatten()
        .filter(|t| t.effect == "NoExecute")
        .collect()
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let same = |mine: &Option<String>, theirs: &str| {
        mine.as_deref().is_none_or(|m| m.is_empty() || m == theirs)
    };
    let value = || {
        toleration.value.as_deref().unwrap_or_default()
            == taint.value.as_deref().unwrap_or_default()
    };
    let named = toleration.key.as_deref().is_some_and(|k| !k.is_empty());
    same(&toleration.effect, &taint.effect)
        && same(&toleration.key, &taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            _ => named && value(),
        }
}

/// Until when the pod may stay; `None` for ever. It is subject to taints without a time since `seen`.
fn stays_until(
    tolerations: &[Toleration],
    taints: &[&Taint],
    seen: Timestamp,
) -> Option<Timestamp> {
    let mut until: Option<Timestamp> = None;
    for taint in taints {
        let mut covering = tolerations
            .iter()
            .filter(|t| tolerates(t, taint))
            .peekable();
        let since = taint.time_added.as_ref().map_or(seen, |t| t.0);
        let end = match covering.peek() {
            None => seen,
            Some(_) => {
                let Some(seconds) = covering.filter_map(|t| t.toleration_seconds).min() else {
                    continue;
                };
                // Years from now is for ever.
                let seconds = SignedDuration::from_secs(seconds.clamp(0, 1 << 31));
                since.checked_add(seconds).unwrap_or(Timestamp::MAX)
            }
        };
        until = Some(until.map_or(end, |u| u.min(end)));
    }
    until
}

impl Controller {
    fn node_changed(&self, change: &Change<Node>) {
        let Change::Applied { old, new } = change else {
            return;
        };
        let same = match old {
            Some(old) => expelling(old) == expelling(new),
            None => expelling(new).is_empty(),
        };
        if !same {
            let name = new.name_any();
            let on_node = self
                .pods
                .list()
                .into_iter()
                .filter(|p| pod::node(p) == name);
            on_node.for_each(|p| self.queue.add(Key::of(&*p)));
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let Change::Applied { old, new } = change else {
            return;
        };
        let tolerations = |p: &Pod| p.spec.as_ref().and_then(|s| s.tolerations.clone());
        let arrived = |old: &Arc<Pod>| {
            pod::node(old) != pod::node(new) || tolerations(old) != tolerations(new)
        };
        if !pod::node(new).is_empty() && old.as_ref().is_none_or(arrived) {
            self.queue.add(Key::of(&**new));
        }
    }

    /// Until when a pod may stay; `None` when nothing takes it off its node.
    fn deadline(&self, key: &Key, pod: &Pod, now: Timestamp) -> Option<Timestamp> {
        let node = self.nodes.get("", pod::node(pod))?;
        let tolerations = pod
            .spec
            .as_ref()
            .and_then(|s| s.tolerations.as_deref())
            .unwrap_or_default();
        let mut staying = self.staying.lock();
        let known = staying.get(key).filter(|(uid, _)| *uid == pod.uid());
        let seen = known.map_or(now, |(_, seen)| *seen);
        let until = stays_until(tolerations, &expelling(&node), seen)?;
        staying.insert(key.clone(), (pod.uid(), seen));
        Some(until)
    }

    async fn sync(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let now = Timestamp::now();
        let pod = self.pods.get_key(&key).filter(|p| pod::active(p));
        let until = pod.as_ref().and_then(|p| self.deadline(&key, p, now));
        let (Some(pod), Some(until)) = (pod, until) else {
            self.staying.lock().remove(&key);
            return Ok(None);
        };
        if until > now {
            return Ok(Some(
                Duration::try_from(until.duration_since(now)).unwrap_or_default(),
            ));
        }
        self.recorder.normal(
            &*pod,
            "TaintManagerEviction",
            format!("Marking for deletion Pod {key}"),
        );
        let disrupted = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": Time(now),
        });
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [disrupted]}});
        let told = api
            .patch_status(&key.name, &write::patch(), &Patch::Strategic(patch))
            .await
            .map(drop);
        let done = told.and(
            api.delete(&key.name, &write::delete(pod.uid()))
                .await
                .map(drop),
        );
        match done {
            Err(error) if !write::gone(&error) => Err(error.into()),
            _ => {
                self.staying.lock().remove(&key);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_taint_without_a_time_counts_from_when_it_was_seen() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let taint = Taint {
            key: "a".into(),
            effect: "NoExecute".into(),
            ..Taint::default()
        };
        let list = json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 30}]);
        let list: Vec<Toleration> = serde_json::from_value(list).unwrap();
        assert_eq!(stays_until(&list, &[&taint], at(100)), Some(at(130)));
        assert_eq!(stays_until(&[], &[&taint], at(100)), Some(at(100)));
    }

    #[test]
    fn how_long_a_pod_stays() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let taint = |key: &str| Taint {
            key: key.into(),
            effect: "NoExecute".into(),
            time_added: Some(Time(at(100))),
            value: None,
        };
        let (a, b) = (taint("a"), taint("b"));
        let table: [(Value, Vec<&Taint>, Option<i64>); 8] = [
            (json!([]), vec![], None),
            (json!([]), vec![&a], Some(150)),
            (json!([{"operator": "Exists"}]), vec![&a, &b], None),
            (
                json!([{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
                vec![&a],
                Some(400),
            ),
            (
                json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300}]),
                vec![&a, &b],
                Some(150),
            ),
            (
                json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 30}, {"operator": "Exists"}]),
                vec![&a, &b],
                Some(130),
            ),
            (
                json!([{"key": "a", "operator": "Exists", "tolerationSeconds": -1}]),
                vec![&a],
                Some(100),
            ),
            (
                json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]),
                vec![&a],
                Some(150),
            ),
        ];
        for (tolerations, taints, want) in table {
            let list: Vec<Toleration> = serde_json::from_value(tolerations.clone()).unwrap();
            assert_eq!(
                stays_until(&list, &taints, at(150)),
                want.map(at),
                "{tolerations}"
            );
        }
    }
}
