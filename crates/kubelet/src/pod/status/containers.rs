//! The status of each container.

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting, ContainerStatus, VolumeMountStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use knarr_runtime as rt;

use super::{IMAGE_ID, Inputs, Kind};
use crate::pod::{
    memory::{Busy, Waiting},
    plan::exit_code,
};

/// Statuses of the containers of some kinds, in the order of the spec.
pub fn statuses(
    i: &Inputs<'_>,
    kinds: &[Kind],
    before: Option<&[ContainerStatus]>,
) -> Vec<ContainerStatus> {
    let wanted = i
        .wanted
        .containers
        .iter()
        .filter(|(kind, _)| kinds.contains(kind));
    let old = |name: &str| before.unwrap_or(&[]).iter().find(|c| c.name == name);
    wanted
        .map(|(kind, c)| status(i, *kind, c, old(&c.name)))
        .collect()
}

fn status(
    i: &Inputs<'_>,
    kind: Kind,
    container: &Container,
    before: Option<&ContainerStatus>,
) -> ContainerStatus {
    let Some(last) = i.seen.latest(&container.name) else {
        return unborn(i, kind, container, before);
    };
    let slot = i
        .memory
        .containers
        .get(&container.name)
        .cloned()
        .unwrap_or_default();
    let waiting = i.waiting.get(&container.name).or(slot.waiting.as_ref());
    let ended = terminated(i, last);
    let (state, last_state) = match last.state {
        rt::ContainerState::Running => (running(last), older(i, container, last, before)),
        rt::ContainerState::Created => (
            pending(i, kind, container, waiting),
            older(i, container, last, before),
        ),
        _ => match waiting.filter(|_| !i.over) {
            Some(w) => (waits(w), Some(ended)),
            None => (ended, older(i, container, last, before)),
        },
    };
    let is_mine = slot.id == last.id;
    let up =
        last.state == rt::ContainerState::Running && slot.busy != Some(Busy::Starting) && is_mine;
    let done =
        kind == Kind::Init && last.state == rt::ContainerState::Exited && exit_code(last) == 0;
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        image_id: last
            .annotations
            .get(IMAGE_ID)
            .cloned()
            .unwrap_or_else(|| last.image_id.clone()),
        container_id: Some(format!("{}://{}", i.scheme, last.id)),
        restart_count: i32::try_from(last.attempt).unwrap_or(i32::MAX),
        ready: (up && slot.started && slot.ready && kind != Kind::Init) || done,
        started: Some(up && slot.started),
        state: Some(state),
        last_state,
        resources: container.resources.clone(),
        allocated_resources: container
            .resources
            .as_ref()
            .and_then(|r| r.requests.clone()),
        volume_mounts: mounts(container),
        ..ContainerStatus::default()
    }
}

/// A container of which the runtime knows nothing: not made yet, or collected after its end.
fn unborn(
    i: &Inputs<'_>,
    kind: Kind,
    container: &Container,
    before: Option<&ContainerStatus>,
) -> ContainerStatus {
    let was = before.and_then(|b| b.state.as_ref());
    if let Some(old) = before.filter(|_| was.is_some_and(|s| s.terminated.is_some())) {
        return old.clone();
    }
    let waiting = i
        .waiting
        .get(&container.name)
        .or_else(|| i.memory.containers.get(&container.name)?.waiting.as_ref());
    let lost = before.filter(|_| was.is_some_and(|s| s.running.is_some()) && i.over);
    let state = if lost.is_some() {
        unlocated()
    } else {
        pending(i, kind, container, waiting)
    };
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        image_id: before.map(|b| b.image_id.clone()).unwrap_or_default(),
        container_id: before.and_then(|b| b.container_id.clone()),
        restart_count: before.map_or(0, |b| b.restart_count),
        last_state: before
            .and_then(|b| b.last_state.clone())
            .or(Some(ContainerState::default())),
        started: Some(false),
        state: Some(state),
        volume_mounts: mounts(container),
        ..ContainerStatus::default()
    }
}

fn unlocated() -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        ..ContainerStateTerminated::default()
    };
    ContainerState {
        terminated: Some(terminated),
        ..ContainerState::default()
    }
}

fn waits(w: &Waiting) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(w.reason.clone()),
        message: Some(w.message.clone()).filter(|m| !m.is_empty()),
    };
    ContainerState {
        waiting: Some(waiting),
        ..ContainerState::default()
    }
}

fn pending(i: &Inputs<'_>, kind: Kind, _: &Container, waiting: Option<&Waiting>) -> ContainerState {
    let has_init = i
        .wanted
        .containers
        .iter()
        .any(|(k, _)| matches!(k, Kind::Init | Kind::Sidecar));
    let default = if has_init && kind != Kind::Ephemeral {
        "PodInitializing"
    } else {
        "ContainerCreating"
    };
    waits(waiting.unwrap_or(&Waiting::new(default, "")))
}

fn running(c: &rt::ContainerStatus) -> ContainerState {
    let running = ContainerStateRunning {
        started_at: c.started_at.map(Time),
    };
    ContainerState {
        running: Some(running),
        ..ContainerState::default()
    }
}

fn terminated(i: &Inputs<'_>, c: &rt::ContainerStatus) -> ContainerState {
    let code = exit_code(c);
    let default = if code == 0 { "Completed" } else { "Error" };
    let reason = if c.state == rt::ContainerState::Unknown {
        "ContainerStatusUnknown"
    } else {
        &c.reason
    };
    let left = i.memory.messages.get(&c.id).filter(|m| !m.is_empty());
    let message = left
        .cloned()
        .or_else(|| Some(c.message.clone()).filter(|m| !m.is_empty()));
    let terminated = ContainerStateTerminated {
        container_id: Some(format!("{}://{}", i.scheme, c.id)),
        exit_code: code,
        reason: Some(if reason.is_empty() {
            default.to_owned()
        } else {
            reason.to_owned()
        }),
        message,
        started_at: c.started_at.or(Some(c.created_at)).map(Time),
        finished_at: c.finished_at.or(Some(c.created_at)).map(Time),
        signal: None,
    };
    ContainerState {
        terminated: Some(terminated),
        ..ContainerState::default()
    }
}

/// How the container before the newest ended.
fn older(
    i: &Inputs<'_>,
    container: &Container,
    last: &rt::ContainerStatus,
    before: Option<&ContainerStatus>,
) -> Option<ContainerState> {
    if let Some(previous) = i.seen.previous(&container.name) {
        return Some(terminated(i, previous));
    }
    // Its record may have been collected; what was told about it stays true.
    let id = format!("{}://{}", i.scheme, last.id);
    before
        .filter(|b| b.container_id.as_ref() == Some(&id))
        .and_then(|b| b.last_state.clone())
        .or(Some(ContainerState::default()))
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let of = |m: &k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        name: m.name.clone(),
        mount_path: m.mount_path.clone(),
        read_only: m.read_only.filter(|r| *r),
        recursive_read_only: m.read_only.filter(|r| *r).map(|_| "Disabled".to_owned()),
        volume_status: None,
    };
    container
        .volume_mounts
        .as_ref()
        .map(|all| all.iter().map(of).collect())
}
