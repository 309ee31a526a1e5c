//! What kubectl does with an API server alone.

use std::{path::PathBuf, process::Stdio};

use knarr_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::{kinds::template, world::World};

pub struct Kubectl {
    kubeconfig: PathBuf,
    home: PathBuf,
}

pub struct Output {
    ok: bool,
    out: String,
    err: String,
}

impl Output {
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.ok, "{}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    pub fn fails(self) -> String {
        assert!(!self.ok, "{}", self.out);
        self.err
    }
}

impl Kubectl {
    /// None, with a word, where there is no kubectl.
    pub fn of(world: &World) -> Option<Self> {
        let there = std::process::Command::new("kubectl")
            .args(["version", "--client"])
            .output();
        if there.is_err() {
            eprintln!("skipped: no kubectl");
            return None;
        }
        let home = world.dir.path().to_owned();
        let kubeconfig = home.join("kubeconfig");
        let text = world.server.kubeconfig("admin", &["system:masters"]);
        std::fs::write(&kubeconfig, text).unwrap();
        Some(Kubectl { kubeconfig, home })
    }

    fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("kubectl");
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, args: &[&str]) -> Output {
        self.fed(args, "").await
    }

    pub async fn fed(&self, args: &[&str], input: &str) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A kubectl that reads nothing may be gone by now.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        Output {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_addresses_are_told() {
    let world = World::start().await;
    let Some(kubectl) = Kubectl::of(&world) else {
        return;
    };
    let versions = kubectl.run(&["api-versions"]).await.ok();
    assert!(versions.lines().any(|l| l == "v1"), "{versions}");
    let info = kubectl.run(&["cluster-info"]).await.ok();
    assert!(info.contains("Kubernetes control plane"), "{info}");
    assert!(info.contains(&world.server.address.to_string()), "{info}");
    let versions = kubectl.run(&["version"]).await.ok();
    for words in ["Client Version: v", "Server Version: v1.36"] {
        assert!(versions.contains(words), "{versions}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_found_before_it_is_made() {
    let world = World::start().await;
    let Some(kubectl) = Kubectl::of(&world) else {
        return;
    };
    let deployment = |image: &str| {
        let mut template = template();
        template["spec"]["containers"][0]["image"] = json!(image);
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "httpd-deployment"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}, "template": template}})
        .to_string()
    };
    kubectl
        .fed(&["create", "-f", "-"], &deployment("httpd:1"))
        .await
        .ok();
    let same = kubectl
        .fed(&["diff", "-f", "-"], &deployment("httpd:1"))
        .await;
    assert_eq!(same.ok(), "");
    let other = kubectl
        .fed(&["diff", "-f", "-"], &deployment("httpd:2"))
        .await;
    assert!(!other.ok);
    assert!(
        other.out.contains("-      - image: httpd:1")
            && other.out.contains("+      - image: httpd:2"),
        "{}{}",
        other.out,
        other.err
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_run_labelled_patched_and_replaced() {
    let world = World::start().await;
    let Some(kubectl) = Kubectl::of(&world) else {
        return;
    };
    let path = "/api/v1/namespaces/default/pods/p";
    kubectl
        .run(&[
            "run",
            "p",
            "--restart=Never",
            "--image=httpd:1",
            "--labels=run=p",
        ])
        .await
        .ok();
    let image = async || world.get(path).await["spec"]["containers"][0]["image"].clone();
    assert_eq!(world.get(path).await["spec"]["restartPolicy"], "Never");
    assert_eq!(image().await, "httpd:1");

    kubectl
        .run(&["label", "pods", "p", "testing-label=testing-label-value"])
        .await
        .ok();
    let shown = kubectl
        .run(&["get", "pod", "p", "-L", "testing-label"])
        .await
        .ok();
    assert!(shown.contains("testing-label-value"), "{shown}");
    kubectl
        .run(&["label", "pods", "p", "testing-label-"])
        .await
        .ok();
    let shown = kubectl
        .run(&["get", "pod", "p", "-L", "testing-label"])
        .await
        .ok();
    assert!(!shown.contains("testing-label-value"), "{shown}");

    let note = r#"{"metadata":{"annotations":{"x":"y"}}}"#;
    kubectl.run(&["patch", "pod", "p", "-p", note]).await.ok();
    assert_eq!(world.get(path).await["metadata"]["annotations"]["x"], "y");

    // A dry run is answered and comes to nothing.
    let dry = r#"{"spec":{"containers":[{"name":"p","image":"busybox:9"}]}}"#;
    let said = kubectl
        .run(&[
            "patch",
            "pod",
            "p",
            "-p",
            dry,
            "--dry-run=server",
            "-o",
            "yaml",
        ])
        .await
        .ok();
    assert!(said.contains("image: busybox:9"), "{said}");
    assert_eq!(image().await, "httpd:1");

    let mut pod = world.get(path).await;
    pod["spec"]["containers"][0]["image"] = json!("busybox:1");
    kubectl
        .fed(&["replace", "-f", "-"], &pod.to_string())
        .await
        .ok();
    assert_eq!(image().await, "busybox:1");
    let described = kubectl.run(&["describe", "pod", "p"]).await.ok();
    for words in [
        "Name:",
        "p",
        "Namespace:",
        "default",
        "Labels:",
        "run=p",
        "Annotations:",
        "Image:",
        "busybox:1",
    ] {
        assert!(described.contains(words), "{words}: {described}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_controllers_are_described_and_exposed() {
    let world = World::start().await;
    let Some(kubectl) = Kubectl::of(&world) else {
        return;
    };
    let mut template = template();
    template["spec"]["containers"][0]["ports"] = json!([{"containerPort": 6379}]);
    let controller = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "agnhost-primary", "labels": {"app": "a"}},
        "spec": {"replicas": 1, "selector": {"app": "a"}, "template": template}});
    kubectl
        .fed(&["create", "-f", "-"], &controller.to_string())
        .await
        .ok();
    let described = kubectl
        .run(&["describe", "rc", "agnhost-primary"])
        .await
        .ok();
    for words in [
        "Name:",
        "agnhost-primary",
        "Namespace:",
        "Selector:",
        "app=a",
        "Labels:",
        "Replicas:",
        "Pods Status:",
        "Pod Template:",
        "Image:",
    ] {
        assert!(described.contains(words), "{words}: {described}");
    }
    for what in [&["service", "kubernetes"][..], &["namespace", "default"]] {
        let described = kubectl.run(&[&["describe"], what].concat()).await.ok();
        assert!(described.contains("Labels:"), "{described}");
    }
    kubectl
        .run(&[
            "expose",
            "rc",
            "agnhost-primary",
            "--name=rm2",
            "--port=1234",
            "--target-port=6379",
        ])
        .await
        .ok();
    let service = world.get("/api/v1/namespaces/default/services/rm2").await;
    assert_eq!(service["spec"]["selector"], json!({"app": "a"}));
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 6379);
    kubectl
        .run(&["scale", "rc", "agnhost-primary", "--replicas=2"])
        .await
        .ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_on_a_port_and_on_a_socket() {
    let world = World::start().await;
    let Some(kubectl) = Kubectl::of(&world) else {
        return;
    };
    let socket = world.dir.path().join("proxy.sock");
    let by_socket = format!("--unix-socket={}", socket.display());
    for how in [
        &["proxy", "-p", "0", "--disable-filter"][..],
        &["proxy", &by_socket],
    ] {
        let mut child = kubectl.command(how).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let place = line.rsplit(' ').next().unwrap().to_owned();
        let answer = tokio::task::spawn_blocking(move || {
            let mut curl = std::process::Command::new("curl");
            match place.starts_with('/') {
                true => curl.args(["-s", "--unix-socket", &place, "http://localhost/api/"]),
                false => curl.arg("-s").arg(format!("http://{place}/api/")),
            };
            curl.output().unwrap()
        });
        let answer = answer.await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!(answer["versions"], json!(["v1"]));
        child.kill().await.unwrap();
    }
    world.stop().await;
}
