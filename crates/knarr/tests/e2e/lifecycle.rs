//! `knarr up`, `down`, `reset` and what they say when something is wrong.

use std::process::Command;

use knarr_testkit::{Cluster, Namespace, can_run, eventually};

use crate::{PATIENCE, cluster};

fn knarr(namespace: &Namespace, args: &[&str]) -> (bool, String) {
    let output = namespace
        .command(env!("CARGO_BIN_EXE_knarr"))
        .args(args)
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("knarr: ")).collect();
    assert_eq!(lines.len(), 1, "one clear line: {text}");
    lines[0].to_owned()
}

#[test]
fn the_demo_answers_and_reset_leaves_nothing() {
    if !can_run() {
        return;
    }
    let namespace = Namespace::new();
    let dir = tempfile::Builder::new()
        .prefix("knarr-test-")
        .tempdir()
        .unwrap();
    let data = dir.path().join("data");
    let data_text = data.display().to_string();
    let home = dir.path().join("home");
    let run = |args: &[&str]| {
        let mut command = namespace.command(env!("CARGO_BIN_EXE_knarr"));
        let output = command
            .args(["--data-dir", &data_text])
            .args(args)
            .env("HOME", &home)
            .env_remove("KUBECONFIG")
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (ok, _, told) = run(&["up", "--demo", "--detach"]);
    assert!(ok, "{told}");
    assert!(told.contains("curl http://demo.localhost/"), "{told}");
    let get = || {
        let output = namespace
            .command("curl")
            .args([
                "-s",
                "--max-time",
                "5",
                "-H",
                "Host: demo.localhost",
                "http://127.0.0.1/hello",
            ])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    eventually("the demo answers through its Ingress", PATIENCE, || {
        get().contains("uri /hello")
    });
    let kubeconfig = std::fs::read_to_string(home.join(".kube/config")).unwrap();
    assert!(kubeconfig.contains("name: knarr"), "{kubeconfig}");
    assert!(
        run(&["kubeconfig"])
            .1
            .contains("certificate-authority-data")
    );
    let (ok, status, _) = run(&["status"]);
    assert!(ok && status.contains(" Ready"), "{status}");
    assert!(run(&["image", "list"]).1.contains("knarr.io/demo:latest"));

    let (ok, _, told) = run(&["down"]);
    assert!(ok, "{told}");
    assert!(data.join("store").exists(), "data stays");
    assert!(!run(&["status"]).0);
    assert_eq!(
        links(&namespace),
        ["eth0", "lo", "wire"],
        "no interface of ours is left"
    );

    let (ok, _, told) = run(&["up", "--detach"]);
    assert!(ok, "{told}");
    eventually("the demo comes back", PATIENCE, || {
        get().contains("uri /hello")
    });
    let (ok, _, told) = run(&["reset", "--yes"]);
    assert!(ok, "{told}");
    assert!(!data.exists());
    assert_eq!(links(&namespace), ["eth0", "lo", "wire"]);
    let rules = namespace
        .command("nft")
        .args(["list", "ruleset"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&rules.stdout).trim(),
        "",
        "no rule is left"
    );
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&data_text), "no mount is left");
    let kubeconfig = std::fs::read_to_string(home.join(".kube/config")).unwrap();
    assert!(!kubeconfig.contains("name: knarr"), "{kubeconfig}");
    let pids = Command::new("ip")
        .args([
            "netns",
            "pids",
            namespace.path().file_name().unwrap().to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&pids.stdout).trim(),
        "",
        "no process is left"
    );
}

fn links(namespace: &Namespace) -> Vec<String> {
    let output = namespace
        .command("ip")
        .args(["-o", "link"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|l| {
            l.split(": ")
                .nth(1)
                .and_then(|n| n.split('@').next())
                .map(str::to_owned)
        })
        // Devices that some kernels put into every namespace.
        .filter(|n| {
            ![
                "sit0", "tunl0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0",
                "ip6gre0",
            ]
            .contains(&n.as_str())
        })
        .collect();
    names.sort();
    names
}

#[test]
fn two_clusters_run_side_by_side() {
    if !can_run() {
        return;
    }
    let (a, b) = (cluster(), cluster());
    for cluster in [&a, &b] {
        cluster.kubectl(&[
            "run",
            "web",
            "--image=knarr.io/demo:latest",
            "--image-pull-policy=IfNotPresent",
        ]);
    }
    for cluster in [&a, &b] {
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    }
}

#[test]
fn mistakes_get_one_clear_line() {
    if !can_run() {
        return;
    }
    let cluster: Cluster = cluster();
    let data = cluster.data_dir().display().to_string();
    let (ok, told) = knarr(
        &cluster.namespace,
        &["--data-dir", &data, "up", "--no-kubeconfig"],
    );
    assert!(!ok && one_line(&told).contains("already runs"), "{told}");
    let other = cluster.scratch().join("other").display().to_string();
    let (ok, told) = knarr(
        &cluster.namespace,
        &["--data-dir", &other, "up", "--no-kubeconfig"],
    );
    assert!(!ok && one_line(&told).contains("is taken"), "{told}");
    assert!(
        !std::path::Path::new(&other).exists(),
        "a refused start leaves nothing behind"
    );
    let (ok, told) = knarr(&cluster.namespace, &["--data-dir", "/proc/knarr", "up"]);
    assert!(!ok && one_line(&told).contains("--data-dir"), "{told}");
    let (ok, told) = knarr(
        &cluster.namespace,
        &["--data-dir", &other, "up", "-f", "/nonexistent.yaml"],
    );
    assert!(
        !ok && one_line(&told).contains("/nonexistent.yaml"),
        "{told}"
    );
    let (ok, told) = knarr(&cluster.namespace, &["--data-dir", &data, "reset"]);
    assert!(!ok && one_line(&told).contains("--yes"), "{told}");
    let unprivileged = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--clear-groups",
            env!("CARGO_BIN_EXE_knarr"),
            "--data-dir",
            "/tmp/knarr-nobody",
            "up",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&unprivileged.stderr).into_owned();
    // Where the build directory is closed to others, the program cannot even be started.
    assert!(
        told.contains("needs root") || told.contains("Permission denied"),
        "{told}"
    );
}

/// The files of a cluster's store with what is in them.
fn store_files(cluster: &Cluster) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let dir = std::fs::read_dir(cluster.data_dir().join("store")).unwrap();
    let mut files: Vec<_> = dir
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && !path.ends_with("lock"))
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_damaged_data_directory_is_told_and_left_alone() {
    if !can_run() {
        return;
    }
    let mut cluster: Cluster = cluster();
    cluster.interrupt();
    let (log, content) = store_files(&cluster)
        .into_iter()
        .max_by_key(|(_, content)| content.len())
        .unwrap();
    let mut damaged = content.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    std::fs::write(&log, &damaged).unwrap();
    let before = store_files(&cluster);
    let data = cluster.data_dir().display().to_string();
    let up = || {
        let args = ["--data-dir", &data, "up", "--no-kubeconfig"];
        knarr(&cluster.namespace, &args)
    };
    let (ok, told) = up();
    let line = one_line(&told);
    assert!(
        !ok && line.contains("damaged") && line.contains("backup"),
        "{told}"
    );
    assert_eq!(store_files(&cluster), before, "nothing was changed");
    std::fs::write(&log, &content).unwrap();
    // A certificate that was half written when the machine died.
    let key = cluster.data_dir().join("pki/ca.key");
    let whole = std::fs::read(&key).unwrap();
    std::fs::write(&key, &whole[..whole.len() / 2]).unwrap();
    let (ok, told) = up();
    assert!(!ok && one_line(&told).contains("ca.key"), "{told}");
    std::fs::write(&key, &whole).unwrap();
    cluster.up(&[]);
}
