//! What the deletion of a namespace came to, in the words of its conditions. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::NamespaceCondition,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::core::ApiResource;

/// What an attempt to empty a namespace came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Groups that discovery failed for.
    pub undiscovered: Vec<String>,
    /// What could not be deleted, and why.
    pub refused: Vec<String>,
    /// Objects left, by resource.
    pub remaining: BTreeMap<String, usize>,
    /// Objects left that have this finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// Seconds that the pods left may take to stop.
    pub grace: i64,
}

impl Outcome {
    /// Takes note of what is left of a resource.
    pub fn left<'a>(
        &mut self,
        api: &ApiResource,
        objects: impl IntoIterator<Item = &'a ObjectMeta>,
    ) {
        let mut count = 0;
        for meta in objects {
            count += 1;
            self.grace = self
                .grace
                .max(meta.deletion_grace_period_seconds.unwrap_or(0));
            for finalizer in meta.finalizers.iter().flatten() {
                *self.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
        if count > 0 {
            self.remaining
                .insert(format!("{}.{}", api.plural, api.group), count);
        }
    }

    /// Whether nothing is left and nothing is in doubt.
    pub fn done(&self) -> bool {
        self.remaining.is_empty() && self.refused.is_empty() && self.undiscovered.is_empty()
    }

    /// (type, whether there is trouble, reason, message) of each condition.
    fn told(&self) -> [(&'static str, bool, &'static str, String); 5] {
        let list = |counts: &BTreeMap<String, usize>, words: &str, after: &str| -> String {
            let parts: Vec<String> = counts
                .iter()
                .map(|(name, n)| format!("{name}{words}{n}{after}"))
                .collect();
            parts.join(", ")
        };
        let remaining = list(&self.remaining, " has ", " resource instances");
        let finalizers = list(&self.finalizers, " in ", " resource instances");
        let either = |trouble: bool, yes: (&'static str, String), no: (&'static str, &str)| {
            if trouble {
                (true, yes.0, yes.1)
            } else {
                (false, no.0, no.1.to_owned())
            }
        };
        let named = |kind, (trouble, reason, message)| (kind, trouble, reason, message);
        let undiscovered = format!(
            "Discovery failed for some groups, {} failing: {}",
            self.undiscovered.len(),
            self.undiscovered.join(", ")
        );
        let refused = format!(
            "Failed to delete all resource types, {} remaining: {}",
            self.refused.len(),
            self.refused.join(", ")
        );
        [
            named(
                "NamespaceDeletionDiscoveryFailure",
                either(
                    !self.undiscovered.is_empty(),
                    ("DiscoveryFailed", undiscovered),
                    (
                        "ResourcesDiscovered",
                        "All resources successfully discovered",
                    ),
                ),
            ),
            named(
                "NamespaceDeletionGroupVersionParsingFailure",
                (
                    false,
                    "ParsedGroupVersions",
                    "All legacy kube types successfully parsed".to_owned(),
                ),
            ),
            named(
                "NamespaceDeletionContentFailure",
                either(
                    !self.refused.is_empty(),
                    ("ContentDeletionFailed", refused),
                    (
                        "ContentDeleted",
                        "All content successfully deleted, may be waiting on finalization",
                    ),
                ),
            ),
            named(
                "NamespaceContentRemaining",
                either(
                    !self.remaining.is_empty(),
                    (
                        "SomeResourcesRemain",
                        format!("Some resources are remaining: {remaining}"),
                    ),
                    ("ContentRemoved", "All content successfully removed"),
                ),
            ),
            named(
                "NamespaceFinalizersRemaining",
                either(
                    !self.finalizers.is_empty(),
                    (
                        "SomeFinalizersRemain",
                        format!(
                            "Some content in the namespace has finalizers remaining: {finalizers}"
                        ),
                    ),
                    (
                        "ContentHasNoFinalizers",
                        "All content-preserving finalizers finished",
                    ),
                ),
            ),
        ]
    }

    /// The namespace's conditions after the attempt. Those that say what they said keep their times.
    pub fn conditions(
        &self,
        current: &[NamespaceCondition],
        now: Timestamp,
    ) -> Vec<NamespaceCondition> {
        let mut out: Vec<NamespaceCondition> = current.to_vec();
        for (kind, trouble, reason, message) in self.told() {
            let status = if trouble { "True" } else { "False" };
            let fresh = NamespaceCondition {
                type_: kind.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message),
                last_transition_time: Some(Time(now)),
            };
            match out.iter_mut().find(|c| c.type_ == kind) {
                Some(c)
                    if c.status == status
                        && c.reason == fresh.reason
                        && c.message == fresh.message => {}
                Some(c) => *c = fresh,
                None => out.push(fresh),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(group: &str, plural: &str) -> ApiResource {
        ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version: "v1".into(),
            kind: String::new(),
            plural: plural.into(),
        }
    }

    fn said(conditions: &[NamespaceCondition], kind: &str) -> String {
        let c = conditions.iter().find(|c| c.type_ == kind).unwrap();
        format!(
            "{} {}: {}",
            c.status,
            c.reason.as_deref().unwrap(),
            c.message.as_deref().unwrap()
        )
    }

    #[test]
    fn what_remains_is_said() {
        let mut outcome = Outcome::default();
        assert!(outcome.done());
        let held = ObjectMeta {
            finalizers: Some(vec!["x/y".into()]),
            deletion_grace_period_seconds: Some(30),
            ..ObjectMeta::default()
        };
        outcome.left(&api("", "pods"), [&held, &ObjectMeta::default()]);
        outcome.left(&api("apps", "deployments"), [&held]);
        outcome.left(&api("apps", "replicasets"), []);
        let conditions = outcome.conditions(&[], Timestamp::UNIX_EPOCH);
        assert_eq!(
            (conditions.len(), outcome.grace, outcome.done()),
            (5, 30, false)
        );
        let words = "True SomeResourcesRemain: Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances";
        assert_eq!(said(&conditions, "NamespaceContentRemaining"), words);
        let words = "True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: x/y in 2 resource instances";
        assert_eq!(said(&conditions, "NamespaceFinalizersRemaining"), words);
        let words = "False ContentDeleted: All content successfully deleted, may be waiting on finalization";
        assert_eq!(said(&conditions, "NamespaceDeletionContentFailure"), words);

        assert_eq!(
            outcome.conditions(&conditions, Timestamp::now()),
            conditions
        );
        let after = Outcome::default().conditions(&conditions, Timestamp::now());
        assert_eq!(
            said(&after, "NamespaceContentRemaining"),
            "False ContentRemoved: All content successfully removed"
        );
    }
}
