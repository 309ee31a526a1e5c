//! A pod's status from what was observed and what is remembered. Pure.

mod conditions;
mod containers;
mod phase;

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{HostIP, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::{
    memory::{Memory, Waiting, Why},
    wanted::{Kind, Wanted},
};
use crate::{resources::qos, view::Observed};

/// Annotation of a container's record: what `imageID` says.
pub const IMAGE_ID: &str = "knarr.io/image-id";

/// Everything a status is made from.
pub struct Inputs<'a> {
    pub wanted: &'a Wanted,
    pub seen: &'a Observed,
    pub memory: &'a Memory,
    /// Containers in back-off.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// The status told last, by this or an earlier run.
    pub before: &'a PodStatus,
    pub node_ips: &'a [IpAddr],
    /// Scheme of container ids, e.g. `knarr`.
    pub scheme: &'a str,
    /// Nothing will run any more.
    pub over: bool,
    pub now: Timestamp,
}

/// Makes the status that the API is to have.
pub fn pod_status(i: &Inputs<'_>) -> PodStatus {
    let init = containers::statuses(
        i,
        &[Kind::Init, Kind::Sidecar],
        i.before.init_container_statuses.as_deref(),
    );
    let apps = containers::statuses(i, &[Kind::App], i.before.container_statuses.as_deref());
    let ephemeral = containers::statuses(
        i,
        &[Kind::Ephemeral],
        i.before.ephemeral_container_statuses.as_deref(),
    );
    let phase = final_phase(i).unwrap_or_else(|| phase::phase(i, &init, &apps).to_owned());
    let conditions = conditions::conditions(i, &phase, &init, &apps);
    let (reason, message) = reason(i);
    let ips = pod_ips(i);
    let some = |v: Vec<_>| (!v.is_empty()).then_some(v);
    PodStatus {
        phase: Some(phase),
        reason,
        message,
        conditions: Some(conditions),
        init_container_statuses: some(init),
        container_statuses: some(apps),
        ephemeral_container_statuses: some(ephemeral),
        host_ip: i.node_ips.first().map(ToString::to_string),
        host_ips: Some(
            i.node_ips
                .iter()
                .map(|ip| HostIP { ip: ip.to_string() })
                .collect(),
        )
        .filter(|v: &Vec<_>| !v.is_empty()),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        qos_class: Some(
            i.before
                .qos_class
                .clone()
                .unwrap_or_else(|| qos(&i.wanted.pod).name().to_owned()),
        ),
        start_time: i.before.start_time.clone().or(Some(Time(i.now))),
        observed_generation: i.wanted.pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// A phase that this node or an earlier run decided and that nothing observed may change.
fn final_phase(i: &Inputs<'_>) -> Option<String> {
    if let Some(Why::Failed { .. }) = i.memory.ending.as_ref().map(|e| &e.why) {
        return Some("Failed".to_owned());
    }
    i.before
        .phase
        .clone()
        .filter(|p| p == "Succeeded" || p == "Failed")
}

fn reason(i: &Inputs<'_>) -> (Option<String>, Option<String>) {
    match i.memory.ending.as_ref().map(|e| &e.why) {
        Some(Why::Failed { reason, message }) => (Some(reason.clone()), Some(message.clone())),
        _ => (i.before.reason.clone(), i.before.message.clone()),
    }
}

fn pod_ips(i: &Inputs<'_>) -> Vec<String> {
    if i.wanted.host_network() {
        return i.node_ips.iter().map(ToString::to_string).collect();
    }
    match i.seen.sandboxes.first() {
        Some(sandbox) if !sandbox.ips.is_empty() => {
            sandbox.ips.iter().map(ToString::to_string).collect()
        }
        _ => i
            .before
            .pod_ips
            .iter()
            .flatten()
            .map(|p| p.ip.clone())
            .collect(),
    }
}
