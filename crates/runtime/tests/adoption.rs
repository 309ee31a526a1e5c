//! Knarr may be killed at any moment; pods live on and are found again.

mod common;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Fixture, can_run, config_in, shell, unique};
use knarr_runtime::{ContainerState, Embedded, Runtime, SandboxState};

/// Runs in a process of its own, started by the test below, which kills it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other half of containers_outlive_knarr"]
async fn owner() {
    let Some(dir) = std::env::var_os("KNARR_TEST_DIR").map(PathBuf::from) else {
        return;
    };
    let runtime = Embedded::open(config_in(&dir)).await.unwrap();
    let archive = common::busybox_image("busybox").build().unwrap();
    runtime
        .image_store()
        .import(std::io::Cursor::new(archive), None)
        .unwrap();
    let sandbox = knarr_runtime::SandboxConfig {
        pod_name: "pod".into(),
        hostname: "pod".into(),
        log_directory: dir.join("logs"),
        cgroup_parent: format!("/{}/pod", dir.file_name().unwrap().to_string_lossy()),
        ..Default::default()
    };
    let sandbox = runtime.run_sandbox(&sandbox).await.unwrap();
    for (name, script) in [
        (
            "counter",
            "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done",
        ),
        ("short", "sleep 1; exit 42"),
    ] {
        let id = runtime
            .create_container(&sandbox, &shell(name, script))
            .await
            .unwrap();
        runtime.start_container(&id).await.unwrap();
    }
    runtime
        .create_container(&sandbox, &shell("waiting", "exit 1"))
        .await
        .unwrap();
    std::fs::write(dir.join("ready"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_knarr() {
    if !can_run() {
        return;
    }
    let dir = PathBuf::from(format!("/var/tmp/knarr-test-{}", unique()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "owner"])
        .env("KNARR_TEST_DIR", &dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !dir.join("ready").exists() {
        assert!(
            Instant::now() < deadline && owner.try_wait().unwrap().is_none(),
            "the owner did not come up"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    // The short one ends while nobody is there.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let f = Fixture::adopt(&dir).await;
    assert_eq!(
        f.runtime.sandboxes().await.unwrap()[0].state,
        SandboxState::Ready
    );
    let all = f.runtime.containers().await.unwrap();
    let named = |name: &str| all.iter().find(|c| c.name == name).unwrap().clone();
    assert_eq!(
        (named("short").state, named("short").exit_code),
        (ContainerState::Exited, Some(42))
    );
    assert_eq!(named("counter").state, ContainerState::Running);
    assert_eq!(named("waiting").state, ContainerState::Created);
    let counter = named("counter").id;
    let output = f
        .runtime
        .exec_sync(
            &counter,
            &Fixture::exec_words(&["hostname"]),
            Duration::from_secs(5),
        )
        .await
        .unwrap();
    assert_eq!(output.stdout, b"pod\n");
    let mut events = f.runtime.events();
    f.runtime
        .stop_container(&counter, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(events.recv().await.unwrap().container_id, counter);
    // No line is missing.
    for (at, line) in f.log(&counter).await.iter().enumerate() {
        assert_eq!(line, &format!("stdout F {at}"));
    }
    assert!(f.log(&counter).await.len() > 25);
    f.runtime
        .start_container(&named("waiting").id)
        .await
        .unwrap();
    assert_eq!(f.wait_exit(&named("waiting").id).await.exit_code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_dies_takes_its_containers_along() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("dies").await;
    let id = f
        .run(&sandbox, &shell("main", "while :; do sleep 1; done"))
        .await;
    let pid = f.runtime.container_status(&id).await.unwrap().pid.unwrap();
    f.kill_shim(&sandbox);
    let status = f.wait_exit(&id).await;
    assert_eq!(status.exit_code, Some(137));
    assert_eq!(
        f.runtime.sandboxes().await.unwrap()[0].state,
        SandboxState::NotReady
    );
    let alive = || {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.contains("sleep"))
    };
    assert!(!alive());
    f.runtime.remove_sandbox(&sandbox).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_while_nobody_watched_is_cleaned_up() {
    if !can_run() {
        return;
    }
    let mut f = Fixture::new().await;
    let sandbox = f.sandbox("gone").await;
    let id = f
        .run(&sandbox, &shell("main", "while :; do sleep 1; done"))
        .await;
    // Remains of a sandbox that was never finished.
    std::fs::create_dir_all(f.dir.join("state/sandboxes/half/containers")).unwrap();
    f.runtime = f.reopen_without(&sandbox).await;
    assert_eq!(
        f.runtime.container_status(&id).await.unwrap().exit_code,
        Some(137)
    );
    assert_eq!(
        f.runtime.sandboxes().await.unwrap()[0].state,
        SandboxState::NotReady
    );
    assert!(!f.dir.join("state/sandboxes/half").exists());
}
