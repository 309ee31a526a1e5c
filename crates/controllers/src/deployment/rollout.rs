//! Rollout arithmetic: which ReplicaSet gets how many replicas. Pure.

use std::cmp::Reverse;

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::revision;

/// What rollouts ask of a Deployment, with its defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub replicas: i32,
    pub rolling: bool,
    /// Pods above `replicas` that a rollout may make.
    pub max_surge: i32,
    /// Pods below `replicas` that a rollout may do without.
    pub max_unavailable: i32,
}

impl Wanted {
    pub fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let replicas = spec.and_then(|s| s.replicas).unwrap_or(1);
        let strategy = spec.and_then(|s| s.strategy.as_ref());
        let rolling = strategy.and_then(|s| s.type_.as_deref()) != Some("Recreate");
        if !rolling {
            return Wanted {
                replicas,
                rolling,
                max_surge: 0,
                max_unavailable: 0,
            };
        }
        let update = strategy.and_then(|s| s.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".into());
        let max_surge = scaled(
            update
                .and_then(|u| u.max_surge.as_ref())
                .unwrap_or(&quarter),
            replicas,
            true,
        );
        let unavailable = update
            .and_then(|u| u.max_unavailable.as_ref())
            .unwrap_or(&quarter);
        let mut max_unavailable = scaled(unavailable, replicas, false);
        // Both zero would never get anywhere.
        if max_surge == 0 && max_unavailable == 0 {
            max_unavailable = 1;
        }
        Wanted {
            replicas,
            rolling,
            max_surge,
            max_unavailable: max_unavailable.min(replicas),
        }
    }

    /// Most pods there may be at once.
    pub fn ceiling(&self) -> i32 {
        self.replicas.saturating_add(self.max_surge)
    }
}

/// A number, or a share of `total`. What cannot be read counts as nothing: validation keeps it out.
fn scaled(value: &IntOrString, total: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(n) => *n,
        IntOrString::String(s) => {
            let percent: i64 = s
                .strip_suffix('%')
                .and_then(|p| p.parse().ok())
                .unwrap_or(0);
            let exact = percent * i64::from(total);
            let round = if up { 99 } else { 0 };
            i32::try_from((exact + round) / 100).unwrap_or(i32::MAX)
        }
    }
}

/// Replicas that a set's spec asks for.
pub fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// Available replicas that a set's status tells of.
pub fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|s| s.available_replicas)
        .unwrap_or(0)
}

/// The replicas that all these specs ask for.
pub fn total<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i32 {
    sets.into_iter().map(size).sum()
}

/// The size of the new set when `sets` (the new one among them, if it exists) ask for `current` pods in all and it for `own`.
pub fn new_size(wanted: Wanted, current: i32, own: i32) -> i32 {
    if !wanted.rolling {
        return wanted.replicas;
    }
    if current >= wanted.ceiling() {
        return own;
    }
    own + (wanted.ceiling() - current).min(wanted.replicas - own)
}

/// The next size of the new set in a rolling update.
pub fn grow_new(wanted: Wanted, new: &ReplicaSet, old: &[ReplicaSet]) -> i32 {
    match size(new) {
        own if own >= wanted.replicas => wanted.replicas,
        own => new_size(wanted, own + total(old), own),
    }
}

/// New sizes of old sets, by index, as far as the rolling update can do without their pods: the unhealthy ones first.
pub fn shrink_old(
    wanted: Wanted,
    new: Option<&ReplicaSet>,
    old: &[ReplicaSet],
) -> Vec<(usize, i32)> {
    let mut sizes: Vec<i32> = old.iter().map(size).collect();
    let old_total: i32 = sizes.iter().sum();
    if old_total == 0 {
        return Vec::new();
    }
    let min_available = wanted.replicas - wanted.max_unavailable;
    let (new_total, new_available) = new.map_or((0, 0), |n| (size(n), available(n)));
    let most = old_total + new_total - min_available - (new_total - new_available);
    if most <= 0 {
        return Vec::new();
    }
    let mut oldest_first: Vec<usize> = (0..old.len()).collect();
    oldest_first.sort_by(|a, b| revision::by_age(&old[*a], &old[*b]));

    let mut left = most;
    for &i in &oldest_first {
        let cut = left.min(sizes[i] - available(&old[i])).max(0);
        sizes[i] -= cut;
        left -= cut;
    }
    let mut left = (new_available + old.iter().map(available).sum::<i32>() - min_available).max(0);
    for &i in &oldest_first {
        let cut = left.min(sizes[i]);
        sizes[i] -= cut;
        left -= cut;
    }
    let changed = sizes
        .into_iter()
        .enumerate()
        .filter(|(i, n)| *n != size(&old[*i]));
    changed.collect()
}

/// Spreads a change of the Deployment's replicas over its sets that have pods, by their share. Only for more than one such
/// set: a rollout is under way. The result is the new size of each.
pub fn proportions(wanted: Wanted, status_replicas: i32, sets: &[&ReplicaSet]) -> Vec<i32> {
    let mut sizes: Vec<i32> = sets.iter().map(|s| size(s)).collect();
    let allowed = if wanted.replicas > 0 {
        wanted.ceiling()
    } else {
        0
    };
    let change = allowed - sizes.iter().sum::<i32>();
    if change == 0 {
        return sizes;
    }
    // The largest first; of equal ones the newest gains, the oldest loses.
    let mut order: Vec<usize> = (0..sets.len()).collect();
    order.sort_by(|a, b| {
        let age = revision::by_age(sets[*a], sets[*b]);
        Reverse(size(sets[*a]))
            .cmp(&Reverse(size(sets[*b])))
            .then(if change > 0 { age.reverse() } else { age })
    });
    let mut added = 0;
    for &i in &order {
        let share = share(wanted, status_replicas, sets[i], change, added);
        sizes[i] += share;
        added += share;
    }
    if let Some(&first) = order.first() {
        sizes[first] = (sizes[first] + change - added).max(0);
    }
    sizes
}

/// How much of `change` one set takes, when `added` of it is taken.
fn share(wanted: Wanted, status_replicas: i32, set: &ReplicaSet, change: i32, added: i32) -> i32 {
    let own = size(set);
    let left = change - added;
    if own == 0 || left == 0 {
        return 0;
    }
    let fraction = if wanted.replicas == 0 {
        -own
    } else {
        // What the set was sized for; a set without the note (from before) was part of what the status tells.
        let before = revision::max_replicas(set)
            .filter(|n| *n > 0)
            .unwrap_or(status_replicas);
        if before <= 0 {
            return 0;
        }
        let scaled = f64::from(own) * f64::from(wanted.ceiling()) / f64::from(before);
        scaled.round() as i32 - own
    };
    if change > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(replicas: i32, strategy: serde_json::Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "d"},
            "spec": {"replicas": replicas, "strategy": strategy, "selector": {}, "template": {}},
        }))
        .unwrap()
    }

    fn rolling(replicas: i32, surge: serde_json::Value, unavailable: serde_json::Value) -> Wanted {
        Wanted::of(&deployment(
            replicas,
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}),
        ))
    }

    /// A set made at second `at`.
    fn set(at: i64, size: i32, available: i32, max: Option<i32>) -> ReplicaSet {
        let mut set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": format!("rs{at}"), "creationTimestamp": format!("2026-01-01T00:00:{at:02}Z")},
            "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "availableReplicas": available},
        }))
        .unwrap();
        if let Some(max) = max {
            set.metadata.annotations =
                Some([(revision::MAX_REPLICAS.to_owned(), max.to_string())].into());
        }
        set
    }

    #[test]
    fn fenceposts() {
        let table = [
            (rolling(10, json!("25%"), json!("25%")), (3, 2)),
            (rolling(1, json!("25%"), json!("25%")), (1, 0)),
            (rolling(4, json!(0), json!("10%")), (0, 1)),
            (rolling(2, json!(0), json!(5)), (0, 2)),
            (rolling(0, json!(0), json!(0)), (0, 0)),
            (rolling(3, json!("100%"), json!(0)), (3, 0)),
            (Wanted::of(&deployment(4, json!(null))), (1, 1)),
            (
                Wanted::of(&deployment(4, json!({"type": "Recreate"}))),
                (0, 0),
            ),
        ];
        for (i, (wanted, want)) in table.into_iter().enumerate() {
            assert_eq!((wanted.max_surge, wanted.max_unavailable), want, "row {i}");
        }
    }

    #[test]
    fn the_new_set_grows_within_the_ceiling() {
        // replicas, surge, old, new → new
        let table = [
            (10, 3, 10, 0, 3),
            (10, 3, 8, 3, 5),
            (10, 0, 10, 0, 0),
            (10, 5, 0, 10, 10),
            (5, 2, 0, 8, 5),
            (4, 1, 0, 2, 4),
        ];
        for (replicas, surge, old, new, want) in table {
            let wanted = rolling(replicas, json!(surge), json!(1));
            assert_eq!(
                grow_new(wanted, &set(2, new, new, None), &[set(1, old, old, None)]),
                want
            );
        }
    }

    #[test]
    fn old_sets_shrink_as_far_as_availability_allows() {
        // (replicas, max unavailable), (new size, available), old (size, available) oldest first → sizes of those changed
        type Row = (
            (i32, i32),
            (i32, i32),
            &'static [(i32, i32)],
            &'static [(usize, i32)],
        );
        let table: [Row; 8] = [
            ((10, 2), (3, 0), &[(10, 10)], &[(0, 8)]),
            ((10, 2), (5, 5), &[(8, 8)], &[(0, 3)]),
            ((10, 0), (3, 0), &[(10, 10)], &[]),
            ((10, 2), (0, 0), &[(10, 0)], &[(0, 8)]),
            ((10, 2), (2, 0), &[(5, 5), (5, 0)], &[(1, 3)]),
            ((10, 0), (10, 10), &[(1, 1), (2, 2)], &[(0, 0), (1, 0)]),
            ((4, 1), (4, 2), &[(0, 0), (2, 2)], &[(1, 1)]),
            ((4, 1), (4, 0), &[(0, 0)], &[]),
        ];
        for (i, ((replicas, unavailable), new, old, want)) in table.into_iter().enumerate() {
            let wanted = rolling(replicas, json!(3), json!(unavailable));
            let old: Vec<_> = (1..)
                .zip(old)
                .map(|(at, (size, ready))| set(at, *size, *ready, None))
                .collect();
            assert_eq!(
                shrink_old(wanted, Some(&set(30, new.0, new.1, None)), &old),
                want,
                "row {i}"
            );
        }
    }

    #[test]
    fn scaling_in_a_rollout_keeps_the_shares() {
        // replicas after, surge, sizes (oldest first), max-replicas before → sizes
        type Row = (i32, i32, &'static [i32], i32, &'static [i32]);
        let table: [Row; 6] = [
            (15, 3, &[8, 5], 13, &[11, 7]),
            (5, 3, &[8, 5], 13, &[5, 3]),
            (10, 0, &[5, 5], 10, &[5, 5]),
            (0, 3, &[8, 5], 13, &[0, 0]),
            (20, 0, &[5, 5], 10, &[10, 10]),
            (11, 0, &[5, 5], 10, &[5, 6]),
        ];
        for (i, (replicas, surge, sizes, before, want)) in table.into_iter().enumerate() {
            let sets: Vec<_> = (1..)
                .zip(sizes)
                .map(|(at, n)| set(at, *n, *n, Some(before)))
                .collect();
            let wanted = rolling(replicas, json!(surge), json!(1));
            assert_eq!(
                proportions(wanted, 0, &sets.iter().collect::<Vec<_>>()),
                want,
                "row {i}"
            );
        }
    }
}
