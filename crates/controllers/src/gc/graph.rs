//! Who owns whom: the graph of all objects by uid, and what each change of it calls for. Pure.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Waits for its dependents to be deleted.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Waits for its dependents to be let go.
pub const ORPHAN: &str = "orphan";

/// Where an object is found. `resource` is a number that the caller gives each resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub resource: u32,
    pub namespace: Box<str>,
    pub name: Box<str>,
}

/// An object, or one that others say is their owner but that nobody has told of yet.
#[derive(Debug)]
pub struct Node {
    /// `None` when only its dependents speak of it.
    pub place: Option<Place>,
    pub owners: Vec<OwnerReference>,
    pub dependents: HashSet<Box<str>>,
    pub deleting: bool,
    foreground: bool,
    orphan: bool,
}

impl Node {
    /// Waits for its dependents to be deleted.
    pub fn deleting_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    fn orphaning(&self) -> bool {
        self.deleting && self.orphan
    }
}

/// What is to be looked into.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Task {
    /// Whether the object with this uid should be deleted.
    Delete(Box<str>),
    /// The object wants its dependents let go.
    Orphan(Box<str>),
}

/// All objects.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<Box<str>, Node>,
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Uids of what the graph knows of one resource.
    pub fn of_resource(&self, resource: u32) -> Vec<Box<str>> {
        let own = self
            .nodes
            .iter()
            .filter(|(_, n)| n.place.as_ref().is_some_and(|p| p.resource == resource));
        own.map(|(uid, _)| uid.clone()).collect()
    }

    /// An object came or changed.
    pub fn applied(&mut self, place: Place, meta: &ObjectMeta) -> Vec<Task> {
        let mut tasks = Vec::new();
        let Some(uid) = meta.uid.as_deref() else {
            return tasks;
        };
        let owners = meta.owner_references.clone().unwrap_or_default();
        let node = self.nodes.entry(uid.into()).or_insert_with(|| Node {
            place: None,
            owners: Vec::new(),
            dependents: HashSet::new(),
            deleting: false,
            foreground: false,
            orphan: false,
        });
        let (was_orphaning, was_foreground) = (node.orphaning(), node.deleting_dependents());
        node.place = Some(place);
        node.deleting = meta.deletion_timestamp.is_some();
        node.foreground = has(meta, FOREGROUND);
        node.orphan = has(meta, ORPHAN);
        let starts_orphaning = node.orphaning() && !was_orphaning;
        let starts_foreground = node.deleting_dependents() && !was_foreground;
        if starts_orphaning {
            tasks.push(Task::Orphan(uid.into()));
        }
        if starts_foreground {
            tasks.extend(node.dependents.iter().cloned().map(Task::Delete));
            tasks.push(Task::Delete(uid.into()));
        }
        let before = std::mem::replace(&mut node.owners, owners.clone());
        if before != owners {
            self.owners_changed(uid, &before, &owners, &mut tasks);
        }
        tasks
    }

    fn owners_changed(
        &mut self,
        uid: &str,
        before: &[OwnerReference],
        after: &[OwnerReference],
        tasks: &mut Vec<Task>,
    ) {
        for old in before {
            let kept = after.iter().find(|o| o.uid == old.uid);
            let Some(owner) = self.nodes.get_mut(old.uid.as_str()) else {
                continue;
            };
            if kept.is_none() {
                owner.dependents.remove(uid);
            }
            // One that waits for its dependents may have one less to wait for.
            if kept.is_none_or(|k| k.block_owner_deletion != Some(true))
                && owner.deleting_dependents()
            {
                tasks.push(Task::Delete(old.uid.as_str().into()));
            }
            self.forget_unseen(&old.uid);
        }
        for new in after {
            let known = self.nodes.contains_key(new.uid.as_str());
            let owner = self
                .nodes
                .entry(new.uid.as_str().into())
                .or_insert_with(|| Node {
                    place: None,
                    owners: Vec::new(),
                    dependents: HashSet::new(),
                    deleting: false,
                    foreground: false,
                    orphan: false,
                });
            owner.dependents.insert(uid.into());
            // An owner that nobody has told of may not be there at all; one that is being deleted takes this with it.
            if !known || owner.place.is_none() || owner.deleting_dependents() {
                tasks.push(Task::Delete(uid.into()));
            }
        }
    }

    /// An object is gone.
    pub fn deleted(&mut self, uid: &str) -> Vec<Task> {
        let mut tasks = Vec::new();
        let Some(node) = self.nodes.get_mut(uid) else {
            return tasks;
        };
        tasks.extend(node.dependents.iter().cloned().map(Task::Delete));
        let owners = std::mem::take(&mut node.owners);
        node.place = None;
        (node.deleting, node.foreground, node.orphan) = (false, false, false);
        for owner in owners {
            let Some(node) = self.nodes.get_mut(owner.uid.as_str()) else {
                continue;
            };
            node.dependents.remove(uid);
            if node.deleting_dependents() {
                tasks.push(Task::Delete(owner.uid.as_str().into()));
            }
            self.forget_unseen(&owner.uid);
        }
        self.forget_unseen(uid);
        tasks
    }

    /// Drops a node that nobody told of and nobody speaks of any more.
    fn forget_unseen(&mut self, uid: &str) {
        if self
            .nodes
            .get(uid)
            .is_some_and(|n| n.place.is_none() && n.dependents.is_empty())
        {
            self.nodes.remove(uid);
        }
    }

    /// Uids of the dependents that must be gone before the object with this uid may.
    pub fn blocking(&self, uid: &str) -> Vec<Box<str>> {
        let Some(node) = self.nodes.get(uid) else {
            return Vec::new();
        };
        let blocks = |dependent: &str| {
            let refs = self
                .nodes
                .get(dependent)
                .map(|d| d.owners.as_slice())
                .unwrap_or_default();
            refs.iter()
                .any(|o| o.uid == uid && o.block_owner_deletion == Some(true))
        };
        node.dependents
            .iter()
            .filter(|d| blocks(d))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).expect("metadata")
    }

    fn place(name: &str) -> Place {
        Place {
            resource: 1,
            namespace: "ns".into(),
            name: name.into(),
        }
    }

    fn owned(uid: &str, owner: &str, blocks: bool) -> ObjectMeta {
        meta(json!({"uid": uid, "ownerReferences": [
            {"apiVersion": "v1", "kind": "K", "name": owner, "uid": owner, "blockOwnerDeletion": blocks}]}))
    }

    fn going(uid: &str, finalizer: &str) -> ObjectMeta {
        meta(
            json!({"uid": uid, "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]}),
        )
    }

    fn delete(uid: &str) -> Task {
        Task::Delete(uid.into())
    }

    #[test]
    fn a_dependent_whose_owner_is_not_known_is_looked_into() {
        let mut graph = Graph::default();
        assert_eq!(
            graph.applied(place("pod"), &owned("pod", "rs", true)),
            [delete("pod")]
        );
        assert!(
            graph
                .applied(place("rs"), &meta(json!({"uid": "rs"})))
                .is_empty()
        );
        assert!(
            graph
                .applied(place("pod2"), &owned("pod2", "rs", true))
                .is_empty()
        );
        assert_eq!(graph.get("rs").unwrap().dependents.len(), 2);
    }

    #[test]
    fn what_an_owner_leaves_behind_is_looked_into() {
        let mut graph = Graph::default();
        graph.applied(place("rs"), &meta(json!({"uid": "rs"})));
        graph.applied(place("pod"), &owned("pod", "rs", true));
        assert_eq!(graph.deleted("rs"), [delete("pod")]);
        assert!(graph.get("rs").is_some_and(|n| n.place.is_none()));
        assert!(graph.deleted("pod").is_empty());
        assert!(graph.get("rs").is_none() && graph.get("pod").is_none());
    }

    #[test]
    fn foreground_deletion_waits_for_those_that_block() {
        let mut graph = Graph::default();
        graph.applied(place("rs"), &meta(json!({"uid": "rs"})));
        graph.applied(place("a"), &owned("a", "rs", true));
        graph.applied(place("b"), &owned("b", "rs", false));
        let mut tasks = graph.applied(place("rs"), &going("rs", FOREGROUND));
        tasks.sort_by_key(|t| format!("{t:?}"));
        assert_eq!(tasks, [delete("a"), delete("b"), delete("rs")]);
        // Said once.
        assert!(
            graph
                .applied(place("rs"), &going("rs", FOREGROUND))
                .is_empty()
        );
        assert_eq!(graph.blocking("rs"), ["a".into()]);
        assert_eq!(graph.deleted("a"), [delete("rs")]);
        assert!(graph.blocking("rs").is_empty());
        // One that comes late goes as well.
        assert_eq!(
            graph.applied(place("c"), &owned("c", "rs", true)),
            [delete("c")]
        );
    }

    #[test]
    fn a_reference_taken_away_unblocks() {
        let mut graph = Graph::default();
        graph.applied(place("rs"), &going("rs", FOREGROUND));
        graph.applied(place("a"), &owned("a", "rs", true));
        assert_eq!(
            graph.applied(place("a"), &owned("a", "rs", false)),
            [delete("rs"), delete("a")]
        );
        assert_eq!(
            graph.applied(place("a"), &meta(json!({"uid": "a"}))),
            [delete("rs")]
        );
        assert!(graph.get("rs").unwrap().dependents.is_empty());
    }

    #[test]
    fn orphaning_is_a_task_of_the_owner() {
        let mut graph = Graph::default();
        graph.applied(place("a"), &owned("a", "rs", true));
        graph.applied(place("rs"), &meta(json!({"uid": "rs"})));
        assert_eq!(
            graph.applied(place("rs"), &going("rs", ORPHAN)),
            [Task::Orphan("rs".into())]
        );
        assert_eq!(graph.of_resource(1).len(), 2);
    }
}
