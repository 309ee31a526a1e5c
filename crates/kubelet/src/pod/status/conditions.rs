//! What is true of a pod, and since when.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use knarr_runtime::SandboxState;

use super::{Inputs, Kind};

struct Truth {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Truth {
    fn yes() -> Self {
        Truth {
            holds: true,
            reason: None,
            message: None,
        }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Truth {
            holds: false,
            reason: Some(reason),
            message: (!message.is_empty()).then_some(message),
        }
    }
}

/// The conditions this node answers for, and those of others as they were.
pub fn conditions(
    i: &Inputs<'_>,
    phase: &str,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(i, phase, init, apps);
    let ready = ready(i, &containers_ready);
    let mine = [
        (
            "PodReadyToStartContainers",
            Truth {
                holds: has_network(i),
                reason: None,
                message: None,
            },
        ),
        ("Initialized", initialized(i, phase, init, apps)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Truth::yes()),
    ];
    let known = current(i);
    let mut out: Vec<PodCondition> = mine
        .into_iter()
        .map(|(type_, truth)| condition(i, &known, type_, truth))
        .collect();
    let foreign = known
        .iter()
        .filter(|c| !out.iter().any(|o| o.type_ == c.type_))
        .cloned()
        .collect::<Vec<_>>();
    out.extend(foreign);
    out
}

/// Conditions as last told, with what others wrote into the API since.
fn current(i: &Inputs<'_>) -> Vec<PodCondition> {
    let own = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    let api = i
        .wanted
        .pod
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or(&[]);
    let told = i.before.conditions.as_deref().unwrap_or(&[]);
    let mine = told.iter().filter(|c| own.contains(&c.type_.as_str()));
    let foreign = api.iter().filter(|c| !own.contains(&c.type_.as_str()));
    let scheduled = api
        .iter()
        .filter(|c| c.type_ == "PodScheduled" && !told.iter().any(|t| t.type_ == c.type_));
    mine.chain(foreign).chain(scheduled).cloned().collect()
}

fn condition(i: &Inputs<'_>, known: &[PodCondition], type_: &str, truth: Truth) -> PodCondition {
    let status = if truth.holds { "True" } else { "False" };
    let same = known
        .iter()
        .find(|c| c.type_ == type_ && c.status == status);
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: truth.reason.map(str::to_owned),
        message: truth.message,
        last_transition_time: same
            .and_then(|c| c.last_transition_time.clone())
            .or(Some(Time(i.now))),
        last_probe_time: None,
        observed_generation: i.wanted.pod.metadata.generation,
    }
}

fn has_network(i: &Inputs<'_>) -> bool {
    i.seen.sandboxes.first().is_some_and(|s| {
        s.state == SandboxState::Ready && (i.wanted.host_network() || !s.ips.is_empty())
    })
}

fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn initialized(
    i: &Inputs<'_>,
    phase: &str,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
) -> Truth {
    if phase == "Succeeded" {
        return Truth {
            holds: true,
            reason: Some("PodCompleted"),
            message: None,
        };
    }
    let began = |c: &ContainerStatus| c.container_id.is_some();
    if apps.iter().any(began) {
        return Truth::yes();
    }
    let is_done = |c: &&ContainerStatus| match i.wanted.container(&c.name) {
        Some((Kind::Sidecar, _)) => c.started == Some(true),
        _ => c.ready,
    };
    let missing: Vec<&str> = init
        .iter()
        .filter(|c| !is_done(c))
        .map(|c| c.name.as_str())
        .collect();
    if missing.is_empty() {
        return Truth::yes();
    }
    Truth::no(
        "ContainersNotInitialized",
        format!("containers with incomplete status: {}", listed(&missing)),
    )
}

fn containers_ready(
    i: &Inputs<'_>,
    phase: &str,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
) -> Truth {
    match phase {
        "Succeeded" => return Truth::no("PodCompleted", String::new()),
        "Failed" => return Truth::no("PodFailed", String::new()),
        _ => {}
    }
    let sidecar =
        |c: &&ContainerStatus| matches!(i.wanted.container(&c.name), Some((Kind::Sidecar, _)));
    let unready = init.iter().filter(sidecar).chain(apps).filter(|c| !c.ready);
    let unready: Vec<&str> = unready.map(|c| c.name.as_str()).collect();
    if unready.is_empty() {
        return Truth::yes();
    }
    Truth::no(
        "ContainersNotReady",
        format!("containers with unready status: {}", listed(&unready)),
    )
}

/// Ready needs ready containers and every readiness gate.
fn ready(i: &Inputs<'_>, containers: &Truth) -> Truth {
    if !containers.holds {
        return Truth {
            holds: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let api = i
        .wanted
        .pod
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or(&[]);
    let closed = i
        .wanted
        .spec()
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| {
            let type_ = &gate.condition_type;
            match api.iter().find(|c| c.type_ == *type_) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{type_}\" does not exist."
                )),
                Some(c) if c.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{type_}\" is not \"True\", but {}",
                    c.status
                )),
                Some(_) => None,
            }
        });
    let closed: Vec<String> = closed.collect();
    if closed.is_empty() {
        Truth::yes()
    } else {
        Truth::no("ReadinessGatesNotReady", closed.join(", "))
    }
}
