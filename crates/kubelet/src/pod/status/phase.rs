//! The one word for how far a pod is.

use k8s_openapi::api::core::v1::ContainerStatus;

use super::{Inputs, Kind};

/// How many containers are in which condition.
#[derive(Default)]
struct Count {
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
    unknown: usize,
}

fn last_exit(c: &ContainerStatus) -> Option<i32> {
    c.last_state
        .as_ref()?
        .terminated
        .as_ref()
        .map(|t| t.exit_code)
}

fn count(wanted: usize, statuses: &[ContainerStatus]) -> Count {
    let mut n = Count {
        unknown: wanted.saturating_sub(statuses.len()),
        ..Count::default()
    };
    for c in statuses {
        let state = c.state.clone().unwrap_or_default();
        if state.running.is_some() {
            n.running += 1;
        } else if let Some(t) = state.terminated {
            n.stopped += 1;
            n.succeeded += usize::from(t.exit_code == 0);
        } else if state.waiting.is_some() {
            // One that ran before and waits to run again has begun its life.
            match last_exit(c) {
                Some(_) => n.stopped += 1,
                None => n.waiting += 1,
            }
        } else {
            n.unknown += 1;
        }
    }
    n
}

/// How the init containers stand: (some are not done, one failed for good).
fn initialization(i: &Inputs<'_>, init: &[ContainerStatus], apps_began: bool) -> (bool, bool) {
    let (mut pending, mut failed) = (false, false);
    for status in init {
        let Some((kind, _)) = i.wanted.container(&status.name) else {
            continue;
        };
        let state = status.state.clone().unwrap_or_default();
        if *kind == Kind::Sidecar {
            pending |= !apps_began && status.started != Some(true);
            continue;
        }
        match (state.terminated.map(|t| t.exit_code), last_exit(status)) {
            (Some(0), _) => {}
            (Some(_), _) => failed = true,
            (None, Some(code)) if code != 0 && state.waiting.is_some() => failed = true,
            _ => pending = true,
        }
    }
    (pending && !apps_began, failed)
}

/// The phase that the containers' states amount to.
pub fn phase(i: &Inputs<'_>, init: &[ContainerStatus], apps: &[ContainerStatus]) -> &'static str {
    let policy = i
        .wanted
        .spec()
        .restart_policy
        .as_deref()
        .unwrap_or("Always");
    let n = count(i.wanted.of_kind(Kind::App).count(), apps);
    let apps_began = n.running + n.stopped > 0;
    let (pending, init_failed) = initialization(i, init, apps_began);
    if init_failed && !apps_began && (i.over || policy == "Never") {
        return "Failed";
    }
    if i.over && pending && i.seen.containers.is_empty() {
        return "Failed";
    }
    if (init_failed && !apps_began) || pending || n.waiting > 0 {
        return if i.over { "Failed" } else { "Pending" };
    }
    if n.running > 0 && n.unknown == 0 {
        return "Running";
    }
    if n.stopped > 0 && n.unknown == 0 {
        let all_good = n.stopped == n.succeeded;
        return match () {
            () if i.over => {
                if all_good {
                    "Succeeded"
                } else {
                    "Failed"
                }
            }
            () => "Running",
        };
    }
    "Pending"
}
