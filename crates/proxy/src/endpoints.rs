//! Which endpoints of a Service this node uses.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

use crate::{
    map::Node,
    service::{Endpoint, IpFamily, Protocol, Routing},
};

/// An endpoint with what decides about its use.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    at: Endpoint,
    ready: bool,
    /// Answers, though it is about to go.
    serving_to_the_end: bool,
    local: bool,
    zones: Vec<String>,
    nodes: Vec<String>,
}

/// Which port of which family endpoints are wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub family: IpFamily,
    pub protocol: Protocol,
    pub port_name: &'a str,
}

/// The endpoints for the whole cluster and those of this node.
pub fn select<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    wanted: Wanted,
    node: &Node,
) -> (Routing, Routing) {
    let candidates = candidates(slices, wanted, node);
    let everywhere = usable(by_topology(&candidates, node).into_iter());
    let here = usable(candidates.iter().filter(|c| c.local));
    let exist = !everywhere.is_empty() || !here.is_empty();
    (routing(everywhere, exist), routing(here, exist))
}

fn routing(endpoints: Vec<Endpoint>, exist_elsewhere: bool) -> Routing {
    match endpoints.is_empty() {
        false => Routing::To(endpoints),
        true if exist_elsewhere => Routing::Drop,
        true => Routing::Reject,
    }
}

/// The ready ones; when there is none, those that end but still answer.
fn usable<'a>(candidates: impl Iterator<Item = &'a Candidate> + Clone) -> Vec<Endpoint> {
    let pick = |of: fn(&Candidate) -> bool| -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> =
            candidates.clone().filter(|c| of(c)).map(|c| c.at).collect();
        endpoints.sort();
        endpoints
    };
    let ready = pick(|c| c.ready);
    if ready.is_empty() {
        pick(|c| c.serving_to_the_end)
    } else {
        ready
    }
}

/// Follows the hints of the slices: those for this node, else those for its zone; all when hints are incomplete or would
/// leave nothing.
fn by_topology<'a>(candidates: &'a [Candidate], node: &Node) -> Vec<&'a Candidate> {
    let ready: Vec<&Candidate> = candidates.iter().filter(|c| c.ready).collect();
    let hinted = |hints: fn(&Candidate) -> &Vec<String>, name: &str| {
        let complete = !ready.is_empty() && ready.iter().all(|c| !hints(c).is_empty());
        let ours: Vec<&Candidate> = ready
            .iter()
            .copied()
            .filter(|c| hints(c).iter().any(|h| h == name))
            .collect();
        (complete && !ours.is_empty()).then_some(ours)
    };
    hinted(|c| &c.nodes, &node.name)
        .or_else(|| hinted(|c| &c.zones, node.zone.as_deref()?))
        .unwrap_or_else(|| candidates.iter().collect())
}

/// Slices may repeat an endpoint while it moves between them: one that is ready wins.
fn candidates<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    wanted: Wanted,
    node: &Node,
) -> Vec<Candidate> {
    let mut found: BTreeMap<Endpoint, Candidate> = BTreeMap::new();
    for slice in slices.filter(|s| family(s) == Some(wanted.family)) {
        for port in ports(slice, wanted) {
            let endpoints = slice.endpoints.iter().flatten();
            for candidate in endpoints.filter_map(|e| candidate(e, port, wanted.family, node)) {
                match found.get(&candidate.at) {
                    Some(known) if known.ready || !candidate.ready => {}
                    _ => {
                        found.insert(candidate.at, candidate);
                    }
                }
            }
        }
    }
    found.into_values().collect()
}

fn family(slice: &EndpointSlice) -> Option<IpFamily> {
    match slice.address_type.as_str() {
        "IPv4" => Some(IpFamily::V4),
        "IPv6" => Some(IpFamily::V6),
        _ => None,
    }
}

fn ports(slice: &EndpointSlice, wanted: Wanted) -> Vec<u16> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    ports
        .iter()
        .filter(|p| p.name.as_deref().unwrap_or_default() == wanted.port_name)
        .filter(|p| Protocol::parse(p.protocol.as_deref()) == Some(wanted.protocol))
        .filter_map(|p| u16::try_from(p.port?).ok())
        .filter(|p| *p != 0)
        .collect()
}

fn candidate(
    endpoint: &SliceEndpoint,
    port: u16,
    family: IpFamily,
    node: &Node,
) -> Option<Candidate> {
    let ip = endpoint
        .addresses
        .first()?
        .parse()
        .ok()
        .filter(|ip| IpFamily::of(*ip) == family)?;
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    let hints = endpoint.hints.as_ref();
    let zones = hints
        .and_then(|h| h.for_zones.as_deref())
        .unwrap_or_default();
    let nodes = hints
        .and_then(|h| h.for_nodes.as_deref())
        .unwrap_or_default();
    Some(Candidate {
        at: Endpoint { ip, port },
        ready,
        serving_to_the_end: serving && terminating,
        local: endpoint.node_name.as_deref() == Some(node.name.as_str()),
        zones: zones.iter().map(|z| z.name.clone()).collect(),
        nodes: nodes.iter().map(|n| n.name.clone()).collect(),
    })
}
