//! Streams of clients that do not speak WebSocket yet: exec, attach and port-forward over SPDY/3.1.

use std::process::{Command, Stdio};

use knarr_testkit::{Cluster, can_run, eventually};

use crate::{PATIENCE, cluster};

/// kubectl as it was before it preferred WebSockets.
fn kubectl(cluster: &Cluster, args: &[&str]) -> Command {
    let mut command = cluster.command("kubectl");
    command
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
        .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Output and complaints of kubectl that reads `input`; whether it succeeded.
fn run(cluster: &Cluster, args: &[&str], input: &str) -> (bool, String, String) {
    use std::io::Write;
    let mut child = kubectl(cluster, args).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn streams_go_over_spdy() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: c, image: 'knarr.io/demo:latest', imagePullPolicy: IfNotPresent}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: talk}\nspec:\n  restartPolicy: Never\n  containers:\n  - {name: c, image: 'knarr.io/demo:latest', imagePullPolicy: IfNotPresent, stdin: true, stdinOnce: true, command: [/demo, cat]}\n",
    );
    cluster.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod/web",
        "pod/talk",
        "--timeout=60s",
    ]);
    let big = "a line of text\n".repeat(20_000);
    let (well, out, why) = run(&cluster, &["exec", "-i", "web", "--", "/demo", "cat"], &big);
    assert!(well && out == big, "{} bytes came back: {why}", out.len());
    let (well, _, why) = run(&cluster, &["exec", "web", "--", "/demo", "fail", "3"], "");
    assert!(!well && why.contains("exit code 3"), "{why}");
    let (_, out, why) = run(&cluster, &["attach", "-i", "talk"], "over and back\n");
    assert!(out.contains("over and back"), "{out}{why}");

    let mut forward = kubectl(&cluster, &["port-forward", "pod/web", "18081:8080"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the forwarded port answers", PATIENCE, || {
        cluster
            .get("127.0.0.1:18081", "x", "/forwarded")
            .is_ok_and(|(code, body)| code == 200 && body.contains("uri /forwarded"))
    });
    let _ = forward.kill();
    let _ = forward.wait();
}
