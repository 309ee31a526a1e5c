//! Containers that really run.

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{Fixture, can_run, shell};
use knarr_runtime::{ContainerConfig, ContainerState, LinuxResources, Runtime, SandboxState};

#[tokio::test(flavor = "multi_thread")]
async fn runs_logs_and_reports_exit_codes() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("one").await;
    let (status, log) = f
        .script(
            &sandbox,
            "echo out; echo err >&2; hostname; echo $FROM_IMAGE; exit 3",
        )
        .await;
    assert_eq!((status.exit_code, &*status.reason), (Some(3), "Error"));
    let (mut out, err): (Vec<_>, Vec<_>) = log.into_iter().partition(|l| l.starts_with("stdout"));
    out.sort();
    assert_eq!(out, ["stdout F one", "stdout F out", "stdout F yes"]);
    assert_eq!(err, ["stderr F err"]);
    let (status, _) = f.script(&sandbox, "true").await;
    assert_eq!((status.exit_code, &*status.reason), (Some(0), "Completed"));
    let (status, _) = f.script(&sandbox, "kill -9 $$; sleep 5").await;
    // Process 1 of a namespace cannot kill itself; the sleep ends it.
    assert_eq!(status.exit_code, Some(0));
    assert_eq!(
        f.runtime.sandboxes().await.unwrap()[0].state,
        SandboxState::Ready
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("bad").await;
    let cases = [
        (
            vec!["nothing-like-it"],
            "exec: \"nothing-like-it\": executable file not found in $PATH",
        ),
        (
            vec!["/no/such/file"],
            "exec: \"/no/such/file\": stat /no/such/file: no such file or directory",
        ),
        (
            vec!["/etc/passwd"],
            "exec: \"/etc/passwd\": permission denied",
        ),
    ];
    for (command, reason) in cases {
        let config = ContainerConfig {
            command: Fixture::exec_words(&command),
            args: vec![],
            ..shell("bad", "")
        };
        let id = f.runtime.create_container(&sandbox, &config).await.unwrap();
        let error = f
            .runtime
            .start_container(&id)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{error}");
        let status = f.runtime.container_status(&id).await.unwrap();
        assert_eq!(
            (status.state, status.exit_code, &*status.reason),
            (ContainerState::Exited, Some(128), "StartError")
        );
        assert!(status.message.contains(reason), "{}", status.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_with_grace_and_then_without() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("stop").await;
    let polite = f
        .run(
            &sandbox,
            &shell(
                "polite",
                "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done",
            ),
        )
        .await;
    f.wait_log(&polite, "ready").await;
    f.runtime
        .stop_container(&polite, Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(
        f.runtime.container_status(&polite).await.unwrap().exit_code,
        Some(7)
    );
    assert_eq!(f.log(&polite).await, ["stdout F ready", "stdout F bye"]);
    let deaf = f
        .run(
            &sandbox,
            &shell("deaf", "trap '' TERM; while :; do sleep 1; done"),
        )
        .await;
    f.runtime
        .stop_container(&deaf, Duration::from_millis(300))
        .await
        .unwrap();
    assert_eq!(
        f.runtime.container_status(&deaf).await.unwrap().exit_code,
        Some(137)
    );
    // Again, and for what is unknown, it succeeds.
    f.runtime
        .stop_container(&deaf, Duration::ZERO)
        .await
        .unwrap();
    f.runtime
        .stop_container("unknown", Duration::ZERO)
        .await
        .unwrap();
    f.runtime.remove_container(&deaf).await.unwrap();
    f.runtime.remove_container(&deaf).await.unwrap();
    assert!(f.runtime.container_status(&deaf).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_show_in_the_group_and_memory_is_enforced() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    if !f
        .runtime
        .cgroups()
        .hierarchies()
        .iter()
        .any(|h| h.controllers.iter().any(|c| c == "memory"))
    {
        eprintln!("skipped: no memory controller");
        return;
    }
    let sandbox = f.sandbox("limits").await;
    let resources = LinuxResources {
        cpu_shares: Some(512),
        cpu_quota: Some(20_000),
        cpu_period: Some(100_000),
        memory_limit: Some(32 << 20),
        pids_limit: Some(50),
        hugepage_limits: BTreeMap::new(),
        oom_score_adj: Some(1000),
        ..LinuxResources::default()
    };
    let config = ContainerConfig {
        resources: resources.clone(),
        ..shell("limited", "cat /proc/self/oom_score_adj; sleep 60")
    };
    let id = f.run(&sandbox, &config).await;
    let group = format!("{}/kubepods/podlimits/{id}", f.config.cgroup_root);
    let cgroups = f.runtime.cgroups();
    let read = |controller: &str, file: &str| {
        let hierarchy = cgroups
            .hierarchies()
            .iter()
            .find(|h| h.controllers.iter().any(|c| c == controller))
            .unwrap();
        std::fs::read_to_string(
            hierarchy
                .mount
                .join(group.trim_start_matches('/'))
                .join(file),
        )
        .unwrap()
        .trim()
        .to_owned()
    };
    if cgroups.unified() {
        assert_eq!(read("memory", "memory.max"), (32 << 20).to_string());
    } else {
        assert_eq!(read("cpu", "cpu.shares"), "512");
        assert_eq!(read("cpu", "cpu.cfs_quota_us"), "20000");
        assert_eq!(
            read("memory", "memory.limit_in_bytes"),
            (32 << 20).to_string()
        );
    }
    assert_eq!(read("pids", "pids.max"), "50");
    let larger = LinuxResources {
        pids_limit: Some(60),
        ..resources.clone()
    };
    f.runtime.update_resources(&id, &larger).await.unwrap();
    assert_eq!(read("pids", "pids.max"), "60");
    for megabytes in [64, 16, 32] {
        let memory_limit = Some(megabytes << 20);
        f.runtime
            .update_resources(
                &id,
                &LinuxResources {
                    memory_limit,
                    ..larger.clone()
                },
            )
            .await
            .unwrap();
    }
    let stats = f.runtime.stats().await.unwrap();
    assert!(
        stats
            .iter()
            .any(|s| s.container_id == id && s.memory_usage > 0),
        "{stats:?}"
    );
    f.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    assert_eq!(f.log(&id).await, ["stdout F 1000"]);
    // `tail` keeps what it reads.
    let hungry = ContainerConfig {
        resources,
        ..shell("hungry", "exec tail -c 200000000 /dev/zero")
    };
    let id = f.run(&sandbox, &hungry).await;
    let status = f.wait_exit(&id).await;
    assert_eq!(
        (status.exit_code, &*status.reason),
        (Some(137), "OOMKilled")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_sandbox_ends_its_containers() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("end").await;
    let id = f.run(&sandbox, &shell("forever", "sleep 1000")).await;
    f.runtime.stop_sandbox(&sandbox).await.unwrap();
    let status = f.runtime.container_status(&id).await.unwrap();
    assert_eq!(
        (status.state, status.exit_code),
        (ContainerState::Exited, Some(137))
    );
    assert_eq!(
        f.runtime.sandboxes().await.unwrap()[0].state,
        SandboxState::NotReady
    );
    assert!(
        f.runtime
            .create_container(&sandbox, &shell("late", "true"))
            .await
            .is_err()
    );
    f.runtime.stop_sandbox(&sandbox).await.unwrap();
    f.runtime.remove_sandbox(&sandbox).await.unwrap();
    f.runtime.remove_sandbox(&sandbox).await.unwrap();
    assert!(f.runtime.sandboxes().await.unwrap().is_empty());
    assert!(f.runtime.containers().await.unwrap().is_empty());
}
