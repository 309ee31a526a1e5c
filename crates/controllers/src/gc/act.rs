//! Looks into objects that may have lost their owners, and does what is called for.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, Preconditions, PropagationPolicy};
use serde_json::{Value, json};

use super::{
    Collector,
    graph::{FOREGROUND, ORPHAN, Place, Task},
};
use crate::{discovery::Found, write};

/// What an owner is to its dependent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Solid,
    /// Being deleted, and waits for its dependents.
    Waiting,
    Absent,
}

/// What to do about an object, from what its owners are.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// It has an owner left; these references are to go.
    Release(Vec<String>),
    /// It goes; before it, when asked, its own dependents.
    Delete {
        foreground: bool,
    },
}

fn verdict(owners: &[(String, Owner)], has_dependents: bool) -> Verdict {
    let uids = |keep: fn(Owner) -> bool| -> Vec<String> {
        owners
            .iter()
            .filter(|(_, o)| keep(*o))
            .map(|(uid, _)| uid.clone())
            .collect()
    };
    let lost = uids(|o| o != Owner::Solid);
    if lost.is_empty() {
        return Verdict::Keep;
    }
    if lost.len() < owners.len() {
        return Verdict::Release(lost);
    }
    let waited_for = owners.iter().any(|(_, o)| *o == Owner::Waiting);
    Verdict::Delete {
        foreground: waited_for && has_dependents,
    }
}

fn finalized(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

type Done = anyhow::Result<Option<Duration>>;

impl Collector {
    /// Deletes the object if its owners are gone.
    pub(super) async fn look_into(&self, uid: &str) -> Done {
        let (place, deleting, waits, dependents) = {
            let graph = self.graph.lock();
            let Some(node) = graph.get(uid) else {
                return Ok(None);
            };
            let Some(place) = node.place.clone() else {
                return Ok(None);
            };
            (
                place,
                node.deleting,
                node.deleting_dependents(),
                node.dependents.len(),
            )
        };
        // One that is going already goes when its finalizers are done.
        if deleting && !waits {
            return Ok(None);
        }
        let Some((found, live)) = self.live(&place, uid).await? else {
            return Ok(None);
        };
        if waits {
            return self.wait_for_dependents(uid, &found, &live).await;
        }
        let mut owners = Vec::new();
        for owner in live.owner_references.iter().flatten() {
            owners.push((
                owner.uid.clone(),
                self.state_of(owner, &found, &place.namespace).await?,
            ));
        }
        match verdict(&owners, dependents > 0) {
            Verdict::Keep => Ok(None),
            Verdict::Release(lost) => {
                let kept = live
                    .owner_references
                    .iter()
                    .flatten()
                    .filter(|o| !lost.contains(&o.uid));
                self.patch(
                    &found,
                    &live,
                    json!({"ownerReferences": kept.collect::<Vec<_>>()}),
                )
                .await
            }
            Verdict::Delete { foreground } => {
                if foreground && self.in_a_circle(uid) {
                    self.unblock(&found, &live).await?;
                }
                self.delete(&found, &live, foreground).await
            }
        }
    }

    /// The object as it is now; `None` when it is no longer there. The watch will tell.
    async fn live(&self, place: &Place, uid: &str) -> anyhow::Result<Option<(Found, ObjectMeta)>> {
        let Some(found) = self.found(place.resource) else {
            return Ok(None);
        };
        let live = self
            .api(&found, &place.namespace)
            .get_metadata_opt(&place.name)
            .await?;
        Ok(live
            .map(|l| l.metadata)
            .filter(|m| m.uid.as_deref() == Some(uid))
            .map(|m| (found, m)))
    }

    async fn state_of(
        &self,
        owner: &OwnerReference,
        dependent: &Found,
        namespace: &str,
    ) -> anyhow::Result<Owner> {
        // A kind that is not known may only not be known yet: nothing is deleted for that.
        let Some(found) = self.named(&owner.api_version, &owner.kind) else {
            return Ok(Owner::Solid);
        };
        if found.namespaced && !dependent.namespaced {
            return Ok(Owner::Solid);
        }
        let namespace = if found.namespaced { namespace } else { "" };
        {
            let graph = self.graph.lock();
            if let Some(node) = graph.get(&owner.uid)
                && let Some(place) = &node.place
                && *place.namespace == *namespace
                && *place.name == *owner.name
            {
                return Ok(if node.deleting_dependents() {
                    Owner::Waiting
                } else {
                    Owner::Solid
                });
            }
        }
        if self.absent.lock().uids.contains(&owner.uid) {
            return Ok(Owner::Absent);
        }
        let live = self
            .api(&found, namespace)
            .get_metadata_opt(&owner.name)
            .await?
            .map(|l| l.metadata);
        match live.filter(|m| m.uid.as_deref() == Some(&owner.uid)) {
            Some(meta) if meta.deletion_timestamp.is_some() && finalized(&meta, FOREGROUND) => {
                Ok(Owner::Waiting)
            }
            Some(_) => Ok(Owner::Solid),
            None => Ok(Owner::Absent),
        }
    }

    /// Lets the object go once no dependent blocks it.
    async fn wait_for_dependents(&self, uid: &str, found: &Found, live: &ObjectMeta) -> Done {
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            return self.remove_finalizer(found, live, FOREGROUND).await;
        }
        for dependent in blocking {
            let waits = self
                .graph
                .lock()
                .get(&dependent)
                .is_some_and(super::graph::Node::deleting_dependents);
            if !waits {
                self.queue.add(Task::Delete(dependent));
            }
        }
        Ok(None)
    }

    /// Whether a dependent already waits for its own dependents: this object may be among them.
    fn in_a_circle(&self, uid: &str) -> bool {
        let graph = self.graph.lock();
        let Some(node) = graph.get(uid) else {
            return false;
        };
        node.dependents.iter().any(|d| {
            graph
                .get(d)
                .is_some_and(super::graph::Node::deleting_dependents)
        })
    }

    async fn unblock(&self, found: &Found, live: &ObjectMeta) -> anyhow::Result<()> {
        let mut owners = live.owner_references.clone().unwrap_or_default();
        owners
            .iter_mut()
            .for_each(|o| o.block_owner_deletion = Some(false));
        let patch = json!({"metadata": {"uid": live.uid, "ownerReferences": owners}});
        let api = self.api(found, live.namespace.as_deref().unwrap_or_default());
        api.patch_metadata(
            live.name.as_deref().unwrap_or_default(),
            &write::patch(),
            &Patch::Merge(patch),
        )
        .await?;
        Ok(())
    }

    async fn delete(&self, found: &Found, live: &ObjectMeta, foreground: bool) -> Done {
        let policy = if finalized(live, ORPHAN) {
            PropagationPolicy::Orphan
        } else if foreground || finalized(live, FOREGROUND) {
            PropagationPolicy::Foreground
        } else {
            PropagationPolicy::Background
        };
        let mut params = write::delete(live.uid.clone());
        params.propagation_policy = Some(policy);
        if !foreground {
            // Whoever gave it another owner meanwhile is heard.
            params.preconditions = Some(Preconditions {
                uid: live.uid.clone(),
                resource_version: live.resource_version.clone(),
            });
        }
        let api = self.api(found, live.namespace.as_deref().unwrap_or_default());
        match api
            .delete(live.name.as_deref().unwrap_or_default(), &params)
            .await
        {
            Err(error) if !write::gone(&error) => Err(error.into()),
            _ => Ok(None),
        }
    }

    /// Takes the object's references off its dependents, and then lets it go.
    pub(super) async fn orphan(&self, uid: &str) -> Done {
        let (place, dependents) = {
            let graph = self.graph.lock();
            let Some(node) = graph.get(uid) else {
                return Ok(None);
            };
            let Some(place) = node.place.clone() else {
                return Ok(None);
            };
            let places = node
                .dependents
                .iter()
                .filter_map(|d| Some((d.clone(), graph.get(d)?.place.clone()?)));
            (place, places.collect::<Vec<_>>())
        };
        for (dependent, place) in dependents {
            let Some((found, live)) = self.live(&place, &dependent).await? else {
                continue;
            };
            let all = live.owner_references.clone().unwrap_or_default();
            let kept: Vec<_> = all.iter().filter(|o| o.uid != uid).collect();
            if kept.len() < all.len() {
                self.patch(&found, &live, json!({"ownerReferences": kept}))
                    .await?;
            }
        }
        match self.live(&place, uid).await? {
            Some((found, live)) => self.remove_finalizer(&found, &live, ORPHAN).await,
            None => Ok(None),
        }
    }

    async fn remove_finalizer(&self, found: &Found, live: &ObjectMeta, finalizer: &str) -> Done {
        if !finalized(live, finalizer) {
            return Ok(None);
        }
        let kept: Vec<_> = live
            .finalizers
            .iter()
            .flatten()
            .filter(|f| *f != finalizer)
            .collect();
        self.patch(found, live, json!({"finalizers": kept})).await
    }

    /// Changes metadata of exactly this state of the object.
    async fn patch(&self, found: &Found, live: &ObjectMeta, mut metadata: Value) -> Done {
        metadata["uid"] = json!(live.uid);
        metadata["resourceVersion"] = json!(live.resource_version);
        let api = self.api(found, live.namespace.as_deref().unwrap_or_default());
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match api
            .patch_metadata(
                live.name.as_deref().unwrap_or_default(),
                &write::patch(),
                &patch,
            )
            .await
        {
            Err(error) if !write::gone(&error) => Err(error.into()),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Owner::{Absent, Solid, Waiting};

    #[test]
    fn verdicts() {
        let table: [(&[Owner], bool, Verdict); 7] = [
            (&[], true, Verdict::Keep),
            (&[Solid], true, Verdict::Keep),
            (
                &[Solid, Absent, Waiting],
                true,
                Verdict::Release(vec!["1".into(), "2".into()]),
            ),
            (&[Absent], true, Verdict::Delete { foreground: false }),
            (&[Waiting], true, Verdict::Delete { foreground: true }),
            (&[Waiting], false, Verdict::Delete { foreground: false }),
            (
                &[Absent, Waiting],
                true,
                Verdict::Delete { foreground: true },
            ),
        ];
        for (owners, has_dependents, want) in table {
            let named: Vec<_> = owners
                .iter()
                .enumerate()
                .map(|(i, o)| (i.to_string(), *o))
                .collect();
            assert_eq!(verdict(&named, has_dependents), want, "{owners:?}");
        }
    }
}
