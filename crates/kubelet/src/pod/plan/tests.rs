use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use knarr_runtime::{ContainerState, ContainerStatus, SandboxConfig, SandboxState, SandboxStatus};
use serde_json::{Value, json};

use super::{Action, Plan, is_over, plan};
use crate::{
    pod::{
        memory::{Busy, Condemned, Ending, Memory, Slot, Step, Why},
        wanted::Wanted,
    },
    view::Observed,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1000 + second).expect("a time")
}

fn wanted(spec: Value) -> Wanted {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec});
    Wanted::new(Arc::new(serde_json::from_value(pod).expect("a pod")))
}

fn sandbox(id: &str, state: SandboxState, attempt: u32) -> SandboxStatus {
    let config = SandboxConfig {
        attempt,
        ..SandboxConfig::default()
    };
    let created_at = at(i64::from(attempt) - 100);
    SandboxStatus {
        id: id.into(),
        config,
        state,
        created_at,
        ips: vec![],
        netns: None,
    }
}

fn container(name: &str, state: ContainerState, code: i32) -> ContainerStatus {
    let ended = state == ContainerState::Exited;
    ContainerStatus {
        id: format!("id-{name}"),
        sandbox_id: "s".into(),
        name: name.into(),
        attempt: 0,
        state,
        created_at: at(-10),
        started_at: Some(at(-10)),
        finished_at: ended.then(|| at(0)),
        exit_code: ended.then_some(code),
        reason: String::new(),
        message: String::new(),
        image_ref: "i".into(),
        image_id: "sha256:0".into(),
        labels: Default::default(),
        annotations: Default::default(),
        log_path: Default::default(),
        pid: None,
    }
}

fn running(name: &str) -> ContainerStatus {
    container(name, ContainerState::Running, 0)
}

fn exited(name: &str, code: i32) -> ContainerStatus {
    container(name, ContainerState::Exited, code)
}

/// A pod whose sandbox and volumes are there.
fn seen(containers: Vec<ContainerStatus>) -> Observed {
    Observed {
        sandboxes: vec![sandbox("s", SandboxState::Ready, 0)],
        containers,
    }
}

fn memory() -> Memory {
    let volumes = Step {
        done: true,
        ..Step::default()
    };
    Memory {
        volumes,
        ..Memory::default()
    }
}

fn started(mut memory: Memory, name: &str) -> Memory {
    *memory.slot(name) = Slot {
        id: format!("id-{name}"),
        started: true,
        ready: true,
        ..Slot::default()
    };
    memory
}

fn busy(mut memory: Memory, name: &str, what: Busy) -> Memory {
    memory.slot(name).busy = Some(what);
    memory
}

/// Actions in short: `+name` start, `-name` stop, `!name` abort, `~name` remove.
fn short(plan: &Plan) -> String {
    let word = |a: &Action| match a {
        Action::Volumes => "volumes".to_owned(),
        Action::Sandbox { attempt, old } => format!(
            "sandbox{attempt}{}",
            if old.is_some() { "(replace)" } else { "" }
        ),
        Action::StopSandboxes(ids) => format!("down({})", ids.join(",")),
        Action::Start { name, attempt, .. } => format!("+{name}{attempt}"),
        Action::Stop { name, .. } => format!("-{name}"),
        Action::Remove { name, .. } => format!("~{name}"),
        Action::Abort { name } => format!("!{name}"),
    };
    plan.actions.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn apps(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]})
}

fn staged() -> Value {
    json!({"initContainers": [{"name": "i", "image": "i"}, {"name": "s", "image": "i", "restartPolicy": "Always"}, {"name": "j", "image": "i"}],
        "containers": [{"name": "a", "image": "i"}]})
}

#[test]
fn from_nothing_to_running() {
    let cases = [
        (
            "all at once",
            Observed::default(),
            Memory::default(),
            "volumes sandbox0",
        ),
        (
            "sandbox without volumes",
            seen(vec![]),
            Memory::default(),
            "volumes",
        ),
        ("containers", seen(vec![]), memory(), "+a0 +b0"),
        ("one is there", seen(vec![running("a")]), memory(), "+b0"),
        (
            "one is being started",
            seen(vec![]),
            busy(memory(), "a", Busy::Starting),
            "+b0",
        ),
        (
            "made, never started",
            seen(vec![
                container("a", ContainerState::Created, 0),
                running("b"),
            ]),
            memory(),
            "~a",
        ),
        (
            "all is well",
            seen(vec![running("a"), running("b")]),
            memory(),
            "",
        ),
    ];
    for (what, seen, memory, want) in cases {
        assert_eq!(
            short(&plan(&wanted(apps("Always")), &seen, &memory, at(0))),
            want,
            "{what}"
        );
    }
}

#[test]
fn a_lost_sandbox_is_replaced() {
    let down = |containers| Observed {
        sandboxes: vec![sandbox("s", SandboxState::NotReady, 2)],
        containers,
    };
    let lost = down(vec![exited("a", 137), exited("b", 137)]);
    assert_eq!(
        short(&plan(&wanted(apps("Always")), &lost, &memory(), at(0))),
        "sandbox3(replace)"
    );
    let over = plan(&wanted(apps("Never")), &lost, &memory(), at(0));
    assert!(over.over && over.ended && over.actions.is_empty());
    let fresh = Observed {
        sandboxes: vec![sandbox("t", SandboxState::Ready, 3)],
        containers: lost.containers.clone(),
    };
    assert_eq!(
        short(&plan(&wanted(apps("Always")), &fresh, &memory(), at(0))),
        "+a1 +b1"
    );
    let mut waiting = memory();
    waiting.sandbox.retry_at = Some(at(5));
    let later = plan(&wanted(apps("Always")), &lost, &waiting, at(0));
    assert_eq!((short(&later).as_str(), later.wake), ("", Some(at(5))));
}

#[test]
fn restart_policies() {
    let cases = [
        ("Always", 0, "+a1"),
        ("Always", 1, "+a1"),
        ("OnFailure", 0, ""),
        ("OnFailure", 1, "+a1"),
        ("Never", 0, ""),
        ("Never", 1, ""),
    ];
    for (policy, code, want) in cases {
        let plan = plan(
            &wanted(apps(policy)),
            &seen(vec![exited("a", code), running("b")]),
            &memory(),
            at(0),
        );
        assert_eq!(
            (short(&plan).as_str(), plan.over),
            (want, false),
            "{policy} {code}"
        );
    }
    let rules = json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "i", "restartPolicy": "Never",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}]});
    for (code, want) in [(42, "+a1"), (43, "down(s)")] {
        assert_eq!(
            short(&plan(
                &wanted(rules.clone()),
                &seen(vec![exited("a", code)]),
                &memory(),
                at(0)
            )),
            want,
            "{code}"
        );
    }
}

#[test]
fn crashes_are_waited_out() {
    let mut m = memory();
    m.slot("a").crash.next(at(-50), at(-50));
    let seen = seen(vec![exited("a", 1), running("b")]);
    let waits = plan(&wanted(apps("Always")), &seen, &m, at(4));
    assert_eq!((short(&waits).as_str(), waits.wake), ("", Some(at(10))));
    let waiting = &waits.waiting["a"];
    assert_eq!(waiting.reason, "CrashLoopBackOff");
    assert_eq!(
        waiting.message,
        "back-off 10s restarting failed container=a pod=p_ns(u)"
    );
    assert_eq!(
        short(&plan(&wanted(apps("Always")), &seen, &m, at(10))),
        "+a1"
    );
}

#[test]
fn init_containers_in_order() {
    let done = || exited("i", 0);
    let cases = [
        ("first", vec![], memory(), "+i0"),
        ("first runs", vec![running("i")], memory(), ""),
        ("first failed", vec![exited("i", 1)], memory(), "+i1"),
        ("then the sidecar", vec![done()], memory(), "+s0"),
        ("not started yet", vec![done(), running("s")], memory(), ""),
        (
            "started",
            vec![done(), running("s")],
            started(memory(), "s"),
            "+j0",
        ),
        (
            "the app",
            vec![done(), running("s"), exited("j", 0)],
            started(memory(), "s"),
            "+a0",
        ),
        (
            "a sidecar comes back",
            vec![done(), exited("s", 1), exited("j", 0), running("a")],
            memory(),
            "+s1",
        ),
        (
            "init never again",
            vec![running("s"), running("a")],
            started(memory(), "s"),
            "",
        ),
    ];
    for (what, containers, memory, want) in cases {
        assert_eq!(
            short(&plan(&wanted(staged()), &seen(containers), &memory, at(0))),
            want,
            "{what}"
        );
    }
    let mut never = staged();
    never["restartPolicy"] = json!("Never");
    assert!(is_over(
        &wanted(never),
        &seen(vec![exited("i", 1)]),
        &memory()
    ));
}

#[test]
fn what_is_condemned_or_changed_is_stopped() {
    let mut m = started(started(memory(), "a"), "b");
    m.slot("a").condemned = Some(Condemned {
        message: "why".into(),
        grace: Some(3),
    });
    let acted = plan(
        &wanted(apps("Always")),
        &seen(vec![running("a"), running("b")]),
        &m,
        at(0),
    );
    let stop = Action::Stop {
        name: "a".into(),
        id: "id-a".into(),
        deadline: at(3),
        message: "why".into(),
    };
    assert_eq!(acted.actions, [stop]);
    let mut other = running("b");
    other.image_ref = "older".into();
    assert_eq!(
        short(&plan(
            &wanted(apps("Always")),
            &seen(vec![running("a"), other]),
            &memory(),
            at(0)
        )),
        "-b"
    );
}

#[test]
fn ending() {
    let end = |mut m: Memory| {
        m.ending = Some(Ending {
            why: Why::Deleted,
            deadline: at(30),
        });
        m
    };
    let all = || vec![exited("i", 0), running("s"), exited("j", 0), running("a")];
    let after = || vec![exited("i", 0), running("s"), exited("j", 0), exited("a", 0)];
    let gone = || vec![exited("s", 0), exited("a", 0)];
    let cases = [
        ("apps first", all(), memory(), "-a", false),
        (
            "while they stop",
            all(),
            busy(memory(), "a", Busy::Stopping),
            "",
            false,
        ),
        ("then sidecars", after(), memory(), "-s", false),
        ("then the sandbox", gone(), memory(), "down(s)", false),
        (
            "a start is given up",
            vec![],
            busy(memory(), "i", Busy::Starting),
            "!i",
            false,
        ),
    ];
    for (what, containers, memory, want, ended) in cases {
        let plan = plan(&wanted(staged()), &seen(containers), &end(memory), at(0));
        assert_eq!(
            (short(&plan).as_str(), plan.ended, plan.over),
            (want, ended, true),
            "{what}"
        );
    }
    let down = Observed {
        sandboxes: vec![sandbox("s", SandboxState::NotReady, 0)],
        containers: gone(),
    };
    assert!(plan(&wanted(staged()), &down, &end(memory()), at(0)).ended);
    assert!(
        plan(
            &wanted(staged()),
            &Observed::default(),
            &end(memory()),
            at(0)
        )
        .ended
    );
}

#[test]
fn deadlines_only_come_nearer() {
    let first = super::ending(Why::Deleted, None, 30, at(0));
    assert_eq!(first.deadline, at(30));
    assert_eq!(
        super::ending(Why::Deleted, Some(&first), 60, at(0)).deadline,
        at(30)
    );
    assert_eq!(
        super::ending(Why::Deleted, Some(&first), 0, at(0)).deadline,
        at(1)
    );
    let w = wanted(json!({"activeDeadlineSeconds": 5, "containers": []}));
    assert_eq!(
        super::active_deadline(&w, Some(at(0))),
        at(0).checked_add(SignedDuration::from_secs(5)).ok()
    );
    assert_eq!(super::active_deadline(&w, None), None);
}
