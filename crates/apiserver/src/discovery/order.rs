//! In which order groups and versions are listed: by the priorities of their APIServices.

use std::cmp::Reverse;

use knarr_api::{Registry, custom::compare_versions};

use super::group_versions;
use crate::aggregation::{Aggregator, priority};

/// The group of APIServices themselves. It comes before all others and has no APIService.
const FIRST: &str = "apiregistration.k8s.io";
/// Priorities of groups that are gone from the original: behind all that are still there.
const GONE: (i64, i64) = (15_000, 1);

/// A group version with its place among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub group: String,
    pub version: String,
    pub group_priority: i64,
    pub version_priority: i64,
}

/// What decides between groups of the same priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// The name of the APIService, which begins with the version.
    Service,
    Group,
}

impl Place {
    fn is(&self, other: &Place) -> bool {
        self.group == other.group && self.version == other.version
    }

    fn key(&self, tie: Tie) -> (Reverse<i64>, String) {
        let name = match tie {
            Tie::Service => format!("{}.{}", self.version, self.group),
            Tie::Group => self.group.clone(),
        };
        (Reverse(self.group_priority), name)
    }
}

/// Groups with their versions, those that come first in front: a group stands where the first of its versions would. Pure.
pub(crate) fn sorted(mut places: Vec<Place>, tie: Tie) -> Vec<(String, Vec<String>)> {
    places.sort_by_cached_key(|p| p.key(tie));
    let mut groups: Vec<(String, Vec<Place>)> = Vec::new();
    for place in places {
        match groups.iter_mut().find(|(group, _)| *group == place.group) {
            Some((_, versions)) => versions.push(place),
            None => groups.push((place.group.clone(), vec![place])),
        }
    }
    let versions = |mut places: Vec<Place>| -> Vec<String> {
        places.sort_by(|a, b| {
            let by_priority = b.version_priority.cmp(&a.version_priority);
            by_priority.then_with(|| compare_versions(&a.version, &b.version))
        });
        places.into_iter().map(|p| p.version).collect()
    };
    let groups = groups.into_iter();
    groups.map(|(group, all)| (group, versions(all))).collect()
}

/// What is served here, apart from the core group.
fn local(registry: &Registry) -> Vec<Place> {
    let mut out = Vec::new();
    for (group, versions) in group_versions(registry) {
        let custom = registry
            .iter()
            .any(|r| r.group == group && r.custom.is_some());
        for version in versions {
            let usual = if custom { priority::CUSTOM } else { GONE };
            let (of_group, of_version) = match priority::of(&group, &version) {
                Some((g, v)) => (i64::from(g), i64::from(v)),
                None if group == FIRST => (i64::MAX, i64::from(version == "v1")),
                None => usual,
            };
            out.push(Place {
                group: group.clone(),
                version,
                group_priority: of_group,
                version_priority: of_version,
            });
        }
    }
    out
}

/// Groups as `/apis` lists them: what has an APIService, and what is served here and will have one in a moment.
pub(crate) fn listed(registry: &Registry, aggregator: &Aggregator) -> Vec<(String, Vec<String>)> {
    let mut places = local(registry);
    for stored in aggregator.services().iter() {
        match places.iter_mut().find(|p| p.is(&stored.place)) {
            Some(own) if own.group != FIRST => *own = stored.place.clone(),
            Some(_) => {}
            // What it stood for is gone, and it will follow.
            None if stored.managed => {}
            None => places.push(stored.place.clone()),
        }
    }
    places.retain(|p| !p.group.is_empty());
    sorted(places, Tie::Service)
}

/// Groups as the aggregated document lists them: what is served here, and what others serve.
pub(crate) fn served(registry: &Registry, aggregator: &Aggregator) -> Vec<(String, Vec<String>)> {
    let mut places = local(registry);
    for stored in aggregator.services().iter().filter(|s| s.remote) {
        places.retain(|p| !p.is(&stored.place));
        places.push(stored.place.clone());
    }
    sorted(places, Tie::Group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, group_priority: i64, version_priority: i64) -> Place {
        let (group, version) = text.split_once('/').unwrap();
        Place {
            group: group.into(),
            version: version.into(),
            group_priority,
            version_priority,
        }
    }

    fn line(groups: &[(String, Vec<String>)]) -> String {
        let group = |(g, v): &(String, Vec<String>)| format!("{g}={}", v.join(","));
        groups.iter().map(group).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn groups_and_versions_are_sorted_by_priority() {
        let places = vec![
            place("z.io/v1", 1000, 100),
            place("a.io/v1beta1", 1000, 100),
            place("a.io/v1alpha1", 1000, 100),
            place("m.io/v1", 2000, 1),
            place("m.io/v2beta1", 100, 9),
            place("m.io/v2", 100, 9),
        ];
        for (tie, want) in [
            (
                Tie::Service,
                "m.io=v2,v2beta1,v1 z.io=v1 a.io=v1beta1,v1alpha1",
            ),
            (
                Tie::Group,
                "m.io=v2,v2beta1,v1 a.io=v1beta1,v1alpha1 z.io=v1",
            ),
        ] {
            assert_eq!(line(&sorted(places.clone(), tie)), want, "{tie:?}");
        }
    }

    #[test]
    fn built_in_groups_come_as_in_the_original() {
        let registry = knarr_api::builtin::registry();
        let got = line(&listed(&registry, &Aggregator::new(None)));
        assert_eq!(
            got,
            "apiregistration.k8s.io=v1 apps=v1 events.k8s.io=v1 authentication.k8s.io=v1 authorization.k8s.io=v1 \
             autoscaling=v2,v1 batch=v1 certificates.k8s.io=v1 networking.k8s.io=v1 policy=v1 rbac.authorization.k8s.io=v1 \
             storage.k8s.io=v1 admissionregistration.k8s.io=v1 apiextensions.k8s.io=v1 scheduling.k8s.io=v1 \
             coordination.k8s.io=v1 node.k8s.io=v1 discovery.k8s.io=v1 resource.k8s.io=v1 flowcontrol.apiserver.k8s.io=v1"
        );
        assert_eq!(got, line(&served(&registry, &Aggregator::new(None))));
    }
}
