//! Talking to processes in containers: exec, attach, terminals, ports, log rotation.

mod common;

use std::time::{Duration, Instant};

use common::{Fixture, can_run, shell};
use knarr_runtime::{ContainerConfig, Error, ExecConfig, Runtime, Streams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

fn exec(words: &[&str]) -> ExecConfig {
    ExecConfig {
        command: Fixture::exec_words(words),
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    }
}

/// Reads until `wanted` shows up.
async fn read_until(streams: &mut Streams, wanted: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        let mut buffer = [0; 1024];
        while !String::from_utf8_lossy(&seen).contains(wanted) {
            let read = streams
                .stdout
                .as_mut()
                .unwrap()
                .read(&mut buffer)
                .await
                .unwrap();
            assert!(read > 0, "ended with {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..read]);
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(10), reading).await;
    let text = String::from_utf8_lossy(&seen).into_owned();
    assert!(done.is_ok(), "waiting for {wanted:?}, got {text:?}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_collects_output_and_code() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("exec").await;
    let id = f.run(&sandbox, &shell("main", SLEEP)).await;
    let run = |words: &[&str], seconds: u64| {
        let (runtime, id, words) = (f.runtime.clone(), id.clone(), Fixture::exec_words(words));
        async move {
            runtime
                .exec_sync(&id, &words, Duration::from_secs(seconds))
                .await
        }
    };
    let output = run(
        &[
            "sh",
            "-c",
            "echo out; echo err >&2; echo $FROM_IMAGE; exit 5",
        ],
        10,
    )
    .await
    .unwrap();
    assert_eq!(
        (&*output.stdout, &*output.stderr, output.exit_code),
        (&b"out\nyes\n"[..], &b"err\n"[..], 5)
    );
    let long = run(&["sh", "-c", "yes | head -c 3000000"], 20)
        .await
        .unwrap();
    assert_eq!(long.stdout.len(), 3_000_000);
    let error = run(&["no-such-thing"], 10).await.unwrap_err().to_string();
    assert!(
        error.contains("exec: \"no-such-thing\": executable file not found in $PATH"),
        "{error}"
    );
    let started = Instant::now();
    let error = run(&["sleep", "30"], 1).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let processes = run(&["ps"], 10).await.unwrap();
    assert!(
        !String::from_utf8_lossy(&processes.stdout).contains("sleep 30"),
        "the command outlived its time limit"
    );
    // What is left running does not hold the answer back for ever.
    let background = run(&["sh", "-c", "sleep 20 & echo started"], 10)
        .await
        .unwrap();
    assert_eq!(background.stdout, b"started\n");
    f.runtime
        .stop_container(&id, Duration::from_secs(5))
        .await
        .unwrap();
    let error = run(&["true"], 5).await.unwrap_err().to_string();
    assert!(error.contains("CONTAINER_EXITED"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_streams_both_ways() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("streams").await;
    let id = f.run(&sandbox, &shell("main", SLEEP)).await;
    let mut streams = f
        .runtime
        .exec(&id, &exec(&["sh", "-c", "cat; echo done >&2; exit 4"]))
        .await
        .unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    read_until(&mut streams, "hello\n").await;
    drop(stdin);
    let mut error = String::new();
    streams
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut error)
        .await
        .unwrap();
    assert_eq!(error, "done\n");
    assert_eq!(streams.exit.await.unwrap().unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_with_a_terminal() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("tty").await;
    let id = f.run(&sandbox, &shell("main", SLEEP)).await;
    let config = ExecConfig {
        tty: true,
        ..exec(&["sh"])
    };
    let mut streams = f.runtime.exec(&id, &config).await.unwrap();
    streams.resize.send((91, 37)).await.unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stdin
        .write_all(b"stty size; tty; echo TERM=$TERM\n")
        .await
        .unwrap();
    let text = read_until(&mut streams, "TERM=xterm\r\n").await;
    assert!(text.contains("37 91\r\n"), "{text}");
    assert!(text.contains("/dev/pts/0\r\n"), "{text}");
    stdin.write_all(b"exit 9\n").await.unwrap();
    let mut rest = Vec::new();
    streams
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut rest)
        .await
        .unwrap();
    assert_eq!(streams.exit.await.unwrap().unwrap(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn attaches_to_the_first_process() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("attach").await;
    let config = ContainerConfig {
        stdin: true,
        stdin_once: true,
        ..shell(
            "cat",
            "while read line; do echo got $line; echo bad $line >&2; done; echo end; exit 6",
        )
    };
    let id = f.run(&sandbox, &config).await;
    let mut streams = f.runtime.attach(&id, &exec(&[])).await.unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    stdin.write_all(b"one\n").await.unwrap();
    read_until(&mut streams, "got one\n").await;
    // A second listener hears what comes from now on.
    let listener = ExecConfig {
        stdin: false,
        ..exec(&[])
    };
    let mut second = f.runtime.attach(&id, &listener).await.unwrap();
    stdin.write_all(b"two\n").await.unwrap();
    assert_eq!(read_until(&mut second, "got two\n").await, "got two\n");
    // The input was to be given once: its end is the end of the program's input.
    drop(stdin);
    let mut rest = String::new();
    streams
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .await
        .unwrap();
    assert!(rest.ends_with("end\n"), "{rest}");
    assert_eq!(streams.exit.await.unwrap().unwrap(), 6);
    assert_eq!(f.wait_exit(&id).await.exit_code, Some(6));
    let log = f.log(&id).await;
    assert!(
        log.contains(&"stdout F got two".to_owned())
            && log.contains(&"stderr F bad one".to_owned()),
        "{log:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_terminal() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("ctty").await;
    let config = ContainerConfig {
        stdin: true,
        tty: true,
        ..shell("sh", "tty; stat -c %t:%T /dev/console; exec sh")
    };
    let id = f.run(&sandbox, &config).await;
    let config = ExecConfig {
        tty: true,
        ..exec(&[])
    };
    let mut streams = f.runtime.attach(&id, &config).await.unwrap();
    streams.resize.send((80, 24)).await.unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stdin.write_all(b"stty size\n").await.unwrap();
    read_until(&mut streams, "24 80\r\n").await;
    // Detaching leaves it running.
    drop((streams, stdin));
    let mut streams = f.runtime.attach(&id, &config).await.unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    stdin.write_all(b"exit 3\n").await.unwrap();
    read_until(&mut streams, "exit 3").await;
    assert_eq!(streams.exit.await.unwrap().unwrap(), 3);
    let log = f.log(&id).await.join("\n");
    assert!(log.contains("/dev/pts/0") && log.contains("88:0"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forwards_ports() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("ports").await;
    // Low, and still no privilege is needed.
    let config = shell("server", "while :; do echo pong | nc -l -p 81; done");
    let id = f.run(&sandbox, &config).await;
    let mut answer = String::new();
    for _ in 0..100 {
        if let Ok(mut stream) = f.runtime.port_forward(&sandbox, 81).await {
            stream.read_to_string(&mut answer).await.unwrap();
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(answer, "pong\n");
    let error = f
        .runtime
        .port_forward(&sandbox, 9)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("dial tcp4 127.0.0.1:9") && error.contains("refused"),
        "{error}"
    );
    f.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_in_a_new_log_after_rotation() {
    if !can_run() {
        return;
    }
    let f = Fixture::new().await;
    let sandbox = f.sandbox("rotate").await;
    let id = f
        .run(
            &sandbox,
            &shell(
                "loud",
                "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done",
            ),
        )
        .await;
    let path = f.runtime.container_status(&id).await.unwrap().log_path;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let old = path.with_extension("log.1");
    std::fs::rename(&path, &old).unwrap();
    f.runtime.reopen_log(&id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    f.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
    let (before, after) = (lines(&old), lines(&path));
    assert!(before > 2 && after > 2, "{before} {after}");
    let all = std::fs::read_to_string(&old).unwrap() + &std::fs::read_to_string(&path).unwrap();
    for (at, line) in all.lines().enumerate() {
        assert!(line.ends_with(&format!("stdout F line {at}")), "{line}");
    }
}
