//! Which slices to make, change and delete so that they hold the wanted endpoints, touching as few as possible. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::{
    api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use crate::{backends::TRIGGER_TIME, owner};

/// Endpoints in one slice.
pub const CAPACITY: usize = 100;

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Endpoints of one address family that serve the same ports.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// `IPv4` or `IPv6`.
    pub address_type: &'static str,
    /// Sorted by name, so that groups compare.
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<Endpoint>,
}

/// What all slices of one owner share.
#[derive(Debug, Clone)]
pub struct Frame {
    pub owner: OwnerReference,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    /// Beyond the trigger time.
    pub annotations: BTreeMap<String, String>,
    pub trigger_time: Option<String>,
}

/// What to write.
#[derive(Debug, Default)]
pub struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// A slice while it is worked on.
struct Draft<'a> {
    was: &'a Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// Plans from the groups to the `existing` slices of the owner.
pub fn plan(frame: &Frame, groups: Vec<Group>, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let mut spare: Vec<&Arc<EndpointSlice>> = existing.iter().collect();
    let mut fresh: Vec<(Group, Vec<Endpoint>)> = Vec::new();
    for group in groups {
        let is_own = |s: &&Arc<EndpointSlice>| {
            s.address_type == group.address_type && sorted(s.ports.clone()) == group.ports
        };
        let (own, others): (Vec<_>, Vec<_>) = spare.into_iter().partition(is_own);
        spare = others;
        let (drafts, left, unused) = fill(frame, &group, own);
        spare.extend(unused);
        for draft in drafts.into_iter().filter(|d| d.changed) {
            plan.update
                .push(redone(frame, draft.was, &group.ports, draft.endpoints));
        }
        fresh.extend(left.into_iter().map(|endpoints| {
            (
                Group {
                    endpoints: Vec::new(),
                    ..group.clone()
                },
                endpoints,
            )
        }));
    }
    // A slice that would go is given new contents rather than another made.
    for (group, endpoints) in fresh {
        match spare
            .iter()
            .position(|s| s.address_type == group.address_type)
        {
            Some(i) => plan
                .update
                .push(redone(frame, spare.remove(i), &group.ports, endpoints)),
            None => plan.create.push(made(frame, &group, endpoints)),
        }
    }
    plan.delete = spare.into_iter().cloned().collect();
    plan
}

/// Ports in the order in which groups have them.
pub fn sorted(ports: Option<Vec<EndpointPort>>) -> Vec<EndpointPort> {
    let mut ports = ports.unwrap_or_default();
    ports.sort_by(|a, b| (&a.name, a.port, &a.protocol).cmp(&(&b.name, b.port, &b.protocol)));
    ports
}

fn identity(endpoint: &Endpoint) -> (Vec<String>, Option<String>) {
    (
        endpoint.addresses.clone(),
        endpoint.target_ref.as_ref().and_then(|t| t.uid.clone()),
    )
}

type Filled<'a> = (
    Vec<Draft<'a>>,
    Vec<Vec<Endpoint>>,
    Vec<&'a Arc<EndpointSlice>>,
);

/// Puts a group's endpoints into its slices: drafts, the contents of slices yet to make, and slices no longer needed.
fn fill<'a>(frame: &Frame, group: &Group, own: Vec<&'a Arc<EndpointSlice>>) -> Filled<'a> {
    let placeholder = group.endpoints.is_empty();
    let mut left: Vec<Option<&Endpoint>> = group.endpoints.iter().map(Some).collect();
    let mut places: HashMap<_, usize> = group
        .endpoints
        .iter()
        .enumerate()
        .map(|(i, e)| (identity(e), i))
        .collect();
    let mut drafts: Vec<Draft> = Vec::new();
    for was in own {
        let before = was.endpoints.as_deref().unwrap_or_default();
        let kept = before
            .iter()
            .filter_map(|e| left[places.remove(&identity(e))?].take())
            .cloned();
        let endpoints: Vec<Endpoint> = kept.collect();
        let changed = endpoints != before || !framed(frame, was);
        drafts.push(Draft {
            was,
            endpoints,
            changed,
        });
    }
    let mut left: Vec<Endpoint> = left.into_iter().flatten().cloned().collect();
    let mut top_up = |draft: &mut Draft| {
        let room = CAPACITY
            .saturating_sub(draft.endpoints.len())
            .min(left.len());
        if room > 0 {
            draft.endpoints.extend(left.drain(..room));
            draft.changed = true;
        }
    };
    drafts
        .iter_mut()
        .filter(|d| d.changed)
        .for_each(&mut top_up);
    // Fullest first, so that slices fill up.
    drafts.sort_by_key(|d| std::cmp::Reverse(d.endpoints.len()));
    drafts
        .iter_mut()
        .filter(|d| !d.changed && d.endpoints.len() < CAPACITY)
        .for_each(&mut top_up);
    let fresh: Vec<Vec<Endpoint>> = left.chunks(CAPACITY).map(<[Endpoint]>::to_vec).collect();

    let (mut full, mut empty): (Vec<Draft>, Vec<Draft>) =
        drafts.into_iter().partition(|d| !d.endpoints.is_empty());
    if placeholder {
        match empty.pop() {
            Some(draft) => full.push(draft),
            None => return (full, vec![Vec::new()], Vec::new()),
        }
    }
    (full, fresh, empty.into_iter().map(|d| d.was).collect())
}

/// Whether the slice has the labels, annotations and owner that it should have.
fn framed(frame: &Frame, slice: &EndpointSlice) -> bool {
    let meta = &slice.metadata;
    let annotations = meta.annotations.clone().unwrap_or_default();
    meta.labels.as_ref().is_some_and(|l| *l == frame.labels)
        && annotations
            .iter()
            .filter(|(k, _)| *k != TRIGGER_TIME)
            .eq(frame.annotations.iter())
        && owner::controller_of(meta).is_some_and(|o| o.uid == frame.owner.uid)
}

fn dressed(frame: &Frame, mut meta: ObjectMeta) -> ObjectMeta {
    let mut annotations = frame.annotations.clone();
    annotations.extend(
        frame
            .trigger_time
            .iter()
            .map(|t| (TRIGGER_TIME.to_owned(), t.clone())),
    );
    meta.labels = Some(frame.labels.clone());
    meta.annotations = (!annotations.is_empty()).then_some(annotations);
    meta.owner_references = Some(vec![frame.owner.clone()]);
    meta
}

fn redone(
    frame: &Frame,
    was: &EndpointSlice,
    ports: &[EndpointPort],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    EndpointSlice {
        metadata: dressed(frame, was.metadata.clone()),
        address_type: was.address_type.clone(),
        ports: Some(ports.to_vec()),
        endpoints: Some(endpoints),
    }
}

fn made(frame: &Frame, group: &Group, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let meta = ObjectMeta {
        generate_name: Some(format!("{}-", frame.owner.name)),
        namespace: Some(frame.namespace.clone()),
        ..ObjectMeta::default()
    };
    EndpointSlice {
        metadata: dressed(frame, meta),
        address_type: group.address_type.into(),
        ports: Some(group.ports.clone()),
        endpoints: Some(endpoints),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            owner: OwnerReference {
                uid: "svc".into(),
                name: "web".into(),
                controller: Some(true),
                ..Default::default()
            },
            namespace: "default".into(),
            labels: [(SERVICE_NAME.to_owned(), "web".to_owned())].into(),
            annotations: BTreeMap::new(),
            trigger_time: None,
        }
    }

    fn port(number: i32) -> Vec<EndpointPort> {
        vec![EndpointPort {
            port: Some(number),
            ..EndpointPort::default()
        }]
    }

    fn group(number: i32, addresses: std::ops::Range<u32>) -> Group {
        let endpoint = |i| Endpoint {
            addresses: vec![format!("10.0.{}.{}", i / 250, i % 250)],
            ..Endpoint::default()
        };
        Group {
            address_type: "IPv4",
            ports: port(number),
            endpoints: addresses.map(endpoint).collect(),
        }
    }

    /// Carries a plan out, as the API server would.
    fn carried_out(
        plan: Plan,
        existing: &[Arc<EndpointSlice>],
        names: &mut u32,
    ) -> Vec<Arc<EndpointSlice>> {
        let gone = |s: &EndpointSlice| {
            let same = |o: &EndpointSlice| o.metadata.name == s.metadata.name;
            plan.delete.iter().any(|d| same(d)) || plan.update.iter().any(same)
        };
        let mut out: Vec<_> = existing.iter().filter(|s| !gone(s)).cloned().collect();
        out.extend(plan.update.iter().cloned().map(Arc::new));
        for mut made in plan.create.iter().cloned() {
            *names += 1;
            made.metadata.name = Some(format!("web-{names}"));
            out.push(Arc::new(made));
        }
        out
    }

    fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
        let mut sizes: Vec<usize> = slices
            .iter()
            .map(|s| s.endpoints.as_ref().unwrap().len())
            .collect();
        sizes.sort();
        sizes
    }

    fn counts(plan: &Plan) -> (usize, usize, usize) {
        (plan.create.len(), plan.update.len(), plan.delete.len())
    }

    #[test]
    fn slices_hold_a_hundred_and_change_as_little_as_can_be() {
        let names = &mut 0;
        let first = plan(&frame(), vec![group(80, 0..250)], &[]);
        assert_eq!(counts(&first), (3, 0, 0));
        let slices = carried_out(first, &[], names);
        assert_eq!(sizes(&slices), [50, 100, 100]);
        assert_eq!(
            counts(&plan(&frame(), vec![group(80, 0..250)], &slices)),
            (0, 0, 0)
        );

        let more = plan(&frame(), vec![group(80, 0..260)], &slices);
        assert_eq!(counts(&more), (0, 1, 0));
        let slices = carried_out(more, &slices, names);
        assert_eq!(sizes(&slices), [60, 100, 100]);

        // Those that changed anyway take the new ones.
        let moved = plan(&frame(), vec![group(80, 10..280)], &slices);
        assert_eq!(counts(&moved), (0, 2, 0));
        assert_eq!(sizes(&carried_out(moved, &slices, names)), [70, 100, 100]);

        let fewer = plan(&frame(), vec![group(80, 0..100)], &slices);
        assert_eq!(counts(&fewer), (0, 0, 2));
    }

    #[test]
    fn an_empty_group_keeps_one_slice() {
        let names = &mut 0;
        let nothing = || Group {
            address_type: "IPv4",
            ports: Vec::new(),
            endpoints: Vec::new(),
        };
        let first = plan(&frame(), vec![nothing()], &[]);
        assert_eq!(counts(&first), (1, 0, 0));
        let slices = carried_out(first, &[], names);
        assert_eq!(counts(&plan(&frame(), vec![nothing()], &slices)), (0, 0, 0));
        // Its slice becomes the first with endpoints, and back.
        let filled = plan(&frame(), vec![group(80, 0..1)], &slices);
        assert_eq!(counts(&filled), (0, 1, 0));
        let slices = carried_out(filled, &slices, names);
        assert_eq!(counts(&plan(&frame(), vec![nothing()], &slices)), (0, 1, 0));
    }

    #[test]
    fn labels_are_kept_right() {
        let slices = carried_out(plan(&frame(), vec![group(80, 0..1)], &[]), &[], &mut 0);
        let mut other = frame();
        other.labels.insert("a".into(), "b".into());
        assert_eq!(
            counts(&plan(&other, vec![group(80, 0..1)], &slices)),
            (0, 1, 0)
        );
        let mut timed = frame();
        timed.trigger_time = Some("now".into());
        assert_eq!(
            counts(&plan(&timed, vec![group(80, 0..1)], &slices)),
            (0, 0, 0)
        );
    }

    #[test]
    fn groups_by_ports_have_slices_of_their_own() {
        let slices = carried_out(
            plan(&frame(), vec![group(80, 0..5), group(81, 5..7)], &[]),
            &[],
            &mut 0,
        );
        assert_eq!(sizes(&slices), [2, 5]);
        assert_eq!(
            counts(&plan(&frame(), vec![group(80, 0..5)], &slices)),
            (0, 0, 1)
        );
    }
}
