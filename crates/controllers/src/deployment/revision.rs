//! Revisions of a Deployment: which ReplicaSet is the new one, and what their annotations remember. Pure.

use std::{cmp::Ordering, collections::BTreeMap};

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::ResourceExt;

use super::rollout::Wanted;
use crate::{
    owner::controller_ref,
    template::{self, HASH_LABEL},
};

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// The Deployment's annotations that its sets do not inherit.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// Characters of history kept; the oldest revisions fall off.
const HISTORY_LENGTH: usize = 2000;

/// Older sets first; of the same second by name.
pub fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    let made = |s: &ReplicaSet| s.metadata.creation_timestamp.as_ref().map(|t| t.0);
    made(a)
        .cmp(&made(b))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

fn number(set: &ReplicaSet, annotation: &str) -> Option<i64> {
    set.metadata
        .annotations
        .as_ref()?
        .get(annotation)?
        .parse()
        .ok()
}

/// The revision that a set is of; 0 when it does not say.
pub fn of(set: &ReplicaSet) -> i64 {
    number(set, REVISION).unwrap_or(0)
}

/// The number of replicas that the Deployment wanted when the set was last sized.
pub fn desired_replicas(set: &ReplicaSet) -> Option<i32> {
    number(set, DESIRED_REPLICAS).and_then(|n| i32::try_from(n).ok())
}

/// The most pods that the Deployment allowed when the set was last sized.
pub fn max_replicas(set: &ReplicaSet) -> Option<i32> {
    number(set, MAX_REPLICAS).and_then(|n| i32::try_from(n).ok())
}

/// The set with the Deployment's current template, and all others.
#[derive(Debug, Clone, Default)]
pub struct Sets {
    pub new: Option<ReplicaSet>,
    pub old: Vec<ReplicaSet>,
}

impl Sets {
    /// Of several sets with the current template the oldest is the new one.
    pub fn sort(deployment: &Deployment, mut sets: Vec<ReplicaSet>) -> Self {
        sets.sort_by(by_age);
        let current = deployment.spec.as_ref().map(|s| &s.template);
        let is_new = |set: &ReplicaSet| {
            let own = set.spec.as_ref().and_then(|s| s.template.as_ref());
            matches!((own, current), (Some(own), Some(current)) if template::same(own, current))
        };
        let new = sets.iter().position(is_new).map(|i| sets.remove(i));
        Sets { new, old: sets }
    }

    pub fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(self.new.as_ref())
    }

    /// The revision that the new set must have: one above all old ones.
    pub fn next_revision(&self) -> i64 {
        self.old.iter().map(of).max().unwrap_or(0) + 1
    }
}

/// The annotations that the new set should have at `revision`. `fresh` is whether it is about to be made.
pub fn new_annotations(
    deployment: &Deployment,
    current: &BTreeMap<String, String>,
    revision: i64,
    fresh: bool,
) -> BTreeMap<String, String> {
    let mut out = current.clone();
    let inherited = deployment
        .annotations()
        .iter()
        .filter(|(k, _)| !OWN.contains(&k.as_str()));
    out.extend(inherited.map(|(k, v)| (k.clone(), v.clone())));
    let before = current.get(REVISION);
    let before_number: i64 = before.and_then(|r| r.parse().ok()).unwrap_or(0);
    if before_number < revision {
        out.insert(REVISION.into(), revision.to_string());
        // A rollback: the set had another revision before, which `kubectl rollout history` no longer finds.
        if let Some(before) = before {
            let history = current.get(HISTORY).map(String::as_str).unwrap_or_default();
            out.insert(HISTORY.into(), lengthened(history, before));
        }
    }
    if fresh {
        out.extend(size_annotations(Wanted::of(deployment)));
    }
    out
}

fn lengthened(history: &str, revision: &str) -> String {
    let mut all: Vec<&str> = history
        .split(',')
        .filter(|r| !r.is_empty())
        .chain([revision])
        .collect();
    while all.len() > 1 && all.iter().map(|r| r.len() + 1).sum::<usize>() > HISTORY_LENGTH {
        all.remove(0);
    }
    all.join(",")
}

/// What a set remembers of the Deployment's size whenever it is sized itself.
pub fn size_annotations(wanted: Wanted) -> [(String, String); 2] {
    [
        (DESIRED_REPLICAS.to_owned(), wanted.replicas.to_string()),
        (MAX_REPLICAS.to_owned(), wanted.ceiling().to_string()),
    ]
}

/// A set for the Deployment's current template.
pub fn new_set(deployment: &Deployment, revision: i64, replicas: i32) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|s| s.collision_count)
        .unwrap_or(0);
    let hash = template::hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    let labels = labels.clone();
    let mut selector: LabelSelector = spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH_LABEL.into(), hash.clone());
    Some(ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            annotations: Some(new_annotations(
                deployment,
                &BTreeMap::new(),
                revision,
                true,
            )),
            owner_references: Some(vec![controller_ref(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    })
}

/// The old sets that the history limit no longer keeps: the lowest revisions, as far as they are at rest.
pub fn beyond_limit(old: &[ReplicaSet], limit: Option<i32>) -> Vec<&ReplicaSet> {
    let Some(limit) = limit
        .filter(|l| *l != i32::MAX)
        .and_then(|l| usize::try_from(l).ok())
    else {
        return Vec::new();
    };
    let mut kept: Vec<&ReplicaSet> = old
        .iter()
        .filter(|s| s.metadata.deletion_timestamp.is_none())
        .collect();
    let surplus = kept.len().saturating_sub(limit);
    kept.sort_by(|a, b| of(a).cmp(&of(b)).then_with(|| by_age(a, b)));
    kept.truncate(surplus);
    kept.retain(|s| at_rest(s));
    kept
}

fn at_rest(set: &ReplicaSet) -> bool {
    let status = set.status.as_ref();
    let observed = status.and_then(|s| s.observed_generation).unwrap_or(0);
    super::rollout::size(set) == 0
        && status.is_none_or(|s| s.replicas == 0)
        && set.metadata.generation.unwrap_or(0) <= observed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "d", "annotations": {
                "note": "x", REVISION: "9", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "b"}]}}},
        }))
        .unwrap()
    }

    fn set(name: &str, image: &str, revision: &str, size: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": name, "generation": 1, "annotations": {REVISION: revision}},
            "spec": {"replicas": size, "selector": {}, "template": {"metadata": {"labels": {"app": "web", HASH_LABEL: name}},
                "spec": {"containers": [{"name": "c", "image": image}]}}},
            "status": {"replicas": size, "observedGeneration": 1},
        }))
        .unwrap()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn the_new_set_is_the_one_with_the_template() {
        let sets = Sets::sort(
            &deployment(),
            vec![
                set("x", "a", "1", 1),
                set("y", "b", "2", 1),
                set("z", "c", "5", 1),
            ],
        );
        assert_eq!(
            sets.new.as_ref().and_then(|s| s.metadata.name.as_deref()),
            Some("y")
        );
        assert_eq!(sets.next_revision(), 6);
        assert_eq!(sets.all().count(), 3);
    }

    #[test]
    fn annotations_of_the_new_set() {
        let d = deployment();
        let fresh = new_annotations(&d, &BTreeMap::new(), 3, true);
        assert_eq!(
            fresh,
            map(&[
                ("note", "x"),
                (REVISION, "3"),
                (DESIRED_REPLICAS, "4"),
                (MAX_REPLICAS, "5")
            ])
        );
        // Rolled back to: the former revision goes to the history.
        let back = new_annotations(&d, &map(&[(REVISION, "2"), (HISTORY, "1")]), 4, false);
        assert_eq!(
            back,
            map(&[("note", "x"), (REVISION, "4"), (HISTORY, "1,2")])
        );
        let same = map(&[("note", "x"), (REVISION, "4")]);
        assert_eq!(new_annotations(&d, &same, 4, false), same);
        assert_eq!(new_annotations(&d, &same, 3, false), same);
    }

    #[test]
    fn history_is_bounded() {
        let long = (0..1000)
            .map(|i| i.to_string())
            .collect::<Vec<_>>()
            .join(",");
        let out = lengthened(&long, "1000");
        assert!(
            out.len() <= HISTORY_LENGTH && out.ends_with(",999,1000") && !out.starts_with("0,")
        );
    }

    #[test]
    fn a_new_set_selects_by_hash() {
        let made = new_set(&deployment(), 1, 3).unwrap();
        let hash = made.metadata.labels.as_ref().unwrap()[HASH_LABEL].clone();
        assert_eq!(made.metadata.name, Some(format!("web-{hash}")));
        let spec = made.spec.as_ref().unwrap();
        assert_eq!(
            spec.selector.match_labels,
            Some(map(&[("app", "web"), (HASH_LABEL, &hash)]))
        );
        assert_eq!(spec.replicas, Some(3));
        assert!(Sets::sort(&deployment(), vec![made]).new.is_some());
    }

    #[test]
    fn the_lowest_revisions_at_rest_go() {
        let old = [
            set("c", "c", "3", 0),
            set("a", "a", "1", 0),
            set("b", "b", "2", 1),
        ];
        let names = |limit| -> Vec<String> {
            beyond_limit(&old, limit)
                .iter()
                .map(|s| s.name_any())
                .collect()
        };
        assert_eq!(names(Some(1)), ["a"]);
        assert_eq!(names(Some(0)), ["a", "c"]);
        assert!(
            names(Some(3)).is_empty() && names(None).is_empty() && names(Some(i32::MAX)).is_empty()
        );
    }
}
