//! What a write does to the entries of all managers.

use std::collections::BTreeMap;

use knarr_json::Value;

use super::{
    Scope,
    element::{Element, show},
    managed::{Entry, Identity, Managed},
    set::Set,
    typed::{self, Comparison},
};
use crate::{
    schema::Type,
    status::{Cause, Details, Status},
};

/// Paths that an apply would take from other managers, sorted by manager.
#[derive(Debug, Clone, Default)]
pub(super) struct Conflicts(pub BTreeMap<Identity, Set>);

impl Conflicts {
    pub(super) fn paths(&self) -> Set {
        all_of(self.0.values())
    }

    /// Without those on `allowed` paths.
    pub(super) fn without(&self, allowed: &Set) -> Conflicts {
        let left = self
            .0
            .iter()
            .map(|(id, set)| (id.clone(), set.difference(allowed)));
        Conflicts(left.filter(|(_, set)| !set.is_empty()).collect())
    }

    /// The answer: 409 with a cause for each path.
    pub(super) fn status(&self) -> Status {
        let all: Vec<(&Identity, Vec<Element>)> = self
            .0
            .iter()
            .flat_map(|(id, set)| set.paths().into_iter().map(move |path| (id, path)))
            .collect();
        let cause = |(id, path): &(&Identity, Vec<Element>)| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", id.show()),
            field: show(path),
        };
        let message = match &all[..] {
            [(id, path)] => format!(
                "Apply failed with 1 conflict: conflict with {}: {}",
                id.show(),
                show(path)
            ),
            _ => {
                let mut lines = Vec::new();
                for (id, set) in &self.0 {
                    lines.push(format!("conflicts with {}:", id.show()));
                    lines.extend(set.paths().iter().map(|path| format!("- {}", show(path))));
                }
                format!(
                    "Apply failed with {} conflicts: {}",
                    all.len(),
                    lines.join("\n")
                )
            }
        };
        let mut status = Status::failure(409, "Conflict", message);
        status.details = Some(Details {
            causes: all.iter().map(cause).collect(),
            ..Details::default()
        });
        status
    }
}

fn all_of<'s>(sets: impl Iterator<Item = &'s Set>) -> Set {
    sets.fold(Set::default(), |mut all, set| {
        all.extend(set.clone());
        all
    })
}

/// Takes what changed from `old` to `new` away from everybody but `own`. Gives what changed, at the version of the request.
/// Without `force`, changes to what others own are conflicts and nothing is taken.
pub(super) fn settle(
    scope: &Scope<'_>,
    old: &Value,
    new: &Value,
    managed: &mut Managed,
    own: &Identity,
    force: bool,
) -> Result<Comparison, Conflicts> {
    let own_version = Changes::of(typed::compare(scope.ty, old, new).without(scope.reset));
    let mut others = BTreeMap::new();
    let mut conflicts = Conflicts::default();
    let mut left = Managed::default();
    for (id, entry) in &managed.0 {
        if id == own {
            left.0.insert(id.clone(), entry.clone());
            continue;
        }
        let changes = if entry.api_version == scope.api_version {
            &own_version
        } else {
            let version = others
                .entry(entry.api_version.clone())
                .or_insert_with(|| at_version(scope, old, new, &entry.api_version));
            // An entry of a version that is no longer served says nothing any more.
            let Some(changes) = version else { continue };
            changes
        };
        let taken = entry.set.intersection(&changes.set);
        let removed = &changes.comparison.removed;
        let set = entry.set.difference(&taken).difference(removed);
        if !taken.is_empty() {
            conflicts.0.insert(id.clone(), taken);
        }
        if !set.is_empty() {
            left.0.insert(
                id.clone(),
                Entry {
                    set,
                    ..entry.clone()
                },
            );
        }
    }
    if !force && !conflicts.0.is_empty() {
        return Err(conflicts);
    }
    *managed = left;
    Ok(own_version.comparison)
}

/// What a write changes, as a version shows it.
struct Changes {
    comparison: Comparison,
    /// What is there now and was not so before.
    set: Set,
}

impl Changes {
    fn of(comparison: Comparison) -> Self {
        let set = comparison.modified.union(&comparison.added);
        Changes { comparison, set }
    }
}

fn at_version(scope: &Scope<'_>, old: &Value, new: &Value, api_version: &str) -> Option<Changes> {
    let (ty, old) = scope.at_version(old, api_version)?;
    let (_, new) = scope.at_version(new, api_version)?;
    let comparison = typed::compare(&ty, &old, &new).without(scope.reset);
    Some(Changes::of(comparison))
}

/// Takes out of `merged` what this applier applied last time (`last`), does not apply now, and nobody else owns.
pub(super) fn prune(
    scope: &Scope<'_>,
    merged: Value,
    managed: &Managed,
    last: Option<&Entry>,
) -> Value {
    let Some(last) = last.filter(|last| !last.set.is_empty()) else {
        return merged;
    };
    if last.api_version != scope.api_version {
        return prune_at_version(scope, &merged, managed, last).unwrap_or(merged);
    }
    prune_typed(scope.ty, &merged, managed, last)
}

fn prune_at_version(
    scope: &Scope<'_>,
    merged: &Value,
    managed: &Managed,
    last: &Entry,
) -> Option<Value> {
    let (ty, converted) = scope.at_version(merged, &last.api_version)?;
    let pruned = prune_typed(&ty, &converted, managed, last);
    scope
        .at_version(&pruned, scope.api_version)
        .map(|(_, back)| back)
}

fn prune_typed(ty: &Type, merged: &Value, managed: &Managed, last: &Entry) -> Value {
    // Owners at other versions name the same fields wherever the versions do; there is nothing better to go by.
    let owned = all_of(managed.0.values().map(|entry| &entry.set)).with_named_fields(ty);
    let last = last.set.with_named_fields(ty);
    let everything = typed::set_of(ty, merged).with_named_fields(ty);
    let pruned = typed::set_of(ty, &typed::remove(ty, merged, &last)).with_named_fields(ty);
    let kept = typed::remove(ty, merged, &everything.difference(&pruned.union(&owned)));
    let kept = typed::set_of(ty, &kept).with_named_fields(ty);
    // Only what this applier owned may go, not what nobody owns.
    typed::remove(
        ty,
        merged,
        &everything.difference(&kept).intersection(&last),
    )
}
