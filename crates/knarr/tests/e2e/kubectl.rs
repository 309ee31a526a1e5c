//! What users do with kubectl all day.

use std::time::Duration;

use knarr_testkit::{Cluster, can_run, eventually, images};

use crate::{PATIENCE, cluster};

fn with_busybox() -> Option<Cluster> {
    let Some(busybox) = images::busybox("busybox:test") else {
        eprintln!("skipped: busybox is not installed");
        return None;
    };
    let cluster = cluster();
    cluster.import(&busybox);
    Some(cluster)
}

#[test]
fn deployments_from_create_to_undo() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    let k = |args: &[&str]| cluster.kubectl(args);
    k(&[
        "create",
        "deployment",
        "web",
        "--image=knarr.io/demo:latest",
        "--replicas=2",
        "--port=8080",
    ]);
    cluster.kubectl(&["patch", "deployment", "web", "-p", r#"{"spec":{"template":{"spec":{"containers":[{"name":"demo","imagePullPolicy":"IfNotPresent"}]}}}}"#]);
    k(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    k(&[
        "expose",
        "deployment",
        "web",
        "--port=80",
        "--target-port=8080",
    ]);
    let ip = k(&["get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    eventually("the exposed Service answers", PATIENCE, || {
        cluster.get(&format!("{ip}:80"), "x", "/").is_ok()
    });
    k(&["scale", "deployment", "web", "--replicas=3"]);
    k(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert_eq!(
        k(&[
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.status.readyReplicas}"
        ]),
        "3"
    );
    // Everybody writes under a name of their own.
    let managers = k(&[
        "get",
        "pods",
        "--show-managed-fields",
        "-o",
        "jsonpath={.items[0].metadata.managedFields[*].manager}",
    ]);
    assert_eq!(managers, "kube-controller-manager kubelet");
    k(&["label", "deployment", "web", "tier=front"]);
    k(&["annotate", "deployment", "web", "note=yes"]);
    assert!(
        k(&["get", "deployments", "-l", "tier=front", "-o", "wide"])
            .contains("knarr.io/demo:latest")
    );
    k(&["set", "env", "deployment/web", "COLOUR=blue"]);
    k(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let history = k(&["rollout", "history", "deployment/web"]);
    assert!(history.lines().count() >= 4, "{history}");
    k(&["rollout", "undo", "deployment/web"]);
    k(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert!(!k(&["get", "deployment", "web", "-o", "yaml"]).contains("COLOUR"));
    k(&["rollout", "restart", "deployment/web"]);
    k(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    k(&["set", "image", "deployment/web", "demo=knarr.io/missing:1"]);
    eventually("a missing image is told", PATIENCE, || {
        let pods = k(&["get", "pods"]);
        pods.contains("ErrImagePull") || pods.contains("ImagePullBackOff")
    });
    k(&["rollout", "undo", "deployment/web"]);
    k(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let described = k(&["describe", "deployment", "web"]);
    assert!(described.contains("ScalingReplicaSet"), "{described}");
    k(&["delete", "deployment", "web", "--timeout=60s"]);
    eventually("pods go with their Deployment", PATIENCE, || {
        k(&["get", "pods", "-o", "name"]).is_empty()
    });
}

#[test]
fn pods_are_looked_into() {
    if !can_run() {
        return;
    }
    let Some(cluster) = with_busybox() else {
        return;
    };
    let k = |args: &[&str]| cluster.kubectl(args);
    k(&[
        "run",
        "box",
        "--image=busybox:test",
        "--image-pull-policy=IfNotPresent",
        "--",
        "sh",
        "-c",
        "echo hello; exec sleep 3600",
    ]);
    k(&["wait", "--for=condition=Ready", "pod/box", "--timeout=60s"]);
    // It is ready before it has said anything.
    eventually("it says hello", PATIENCE, || {
        k(&["logs", "box"]) == "hello\n"
    });
    assert_eq!(k(&["exec", "box", "--", "echo", "inside"]), "inside\n");
    let failed = cluster.try_kubectl(&["exec", "box", "--", "sh", "-c", "exit 3"]);
    assert!(
        !failed.success && failed.stderr.contains("exit code 3"),
        "{failed:?}"
    );
    let echoed = cluster.kubectl_with_input(
        &["exec", "-i", "box", "--", "cat"],
        "through standard input\n",
    );
    assert_eq!(echoed.stdout, "through standard input\n", "{echoed:?}");
    let file = cluster.scratch().join("file");
    std::fs::write(&file, "copied").unwrap();
    k(&["cp", &file.display().to_string(), "box:/tmp/file"]);
    assert_eq!(k(&["exec", "box", "--", "cat", "/tmp/file"]), "copied");
    let back = cluster.scratch().join("back");
    k(&["cp", "box:/tmp/file", &back.display().to_string()]);
    assert_eq!(std::fs::read_to_string(back).unwrap(), "copied");
    let resolv = k(&["exec", "box", "--", "cat", "/etc/resolv.conf"]);
    assert!(
        resolv.contains("nameserver 10.96.0.10") && resolv.contains("ndots:5"),
        "{resolv}"
    );
    assert!(
        resolv.contains("search default.svc.cluster.local svc.cluster.local cluster.local"),
        "{resolv}"
    );
    assert!(k(&["describe", "pod", "box"]).contains("Started"));
    let token = k(&[
        "exec",
        "box",
        "--",
        "cat",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
    ]);
    assert_eq!(token.split('.').count(), 3, "a token is mounted");
    let json: serde_json::Value =
        serde_json::from_str(&k(&["get", "pod", "box", "-o", "json"])).unwrap();
    assert_eq!(json["status"]["phase"], "Running");
    k(&["delete", "pod", "box", "--grace-period=1", "--timeout=60s"]);
}

#[test]
fn a_running_process_is_attached_to() {
    if !can_run() {
        return;
    }
    let Some(cluster) = with_busybox() else {
        return;
    };
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: talk}\nspec:\n  restartPolicy: Never\n  containers:\n  - {name: c, image: 'busybox:test', imagePullPolicy: IfNotPresent, stdin: true, command: [sh, -c, 'read line; echo heard $line']}\n",
    );
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/talk", "--timeout=60s"]);
    cluster.kubectl_with_input(&["attach", "-i", "talk"], "a word\n");
    eventually("the process has read and answered", PATIENCE, || {
        cluster.kubectl(&["logs", "talk"]) == "heard a word\n"
    });
    eventually("the pod has completed", PATIENCE, || {
        cluster.kubectl(&["get", "pod", "talk", "-o", "jsonpath={.status.phase}"]) == "Succeeded"
    });
}

#[test]
fn a_port_is_forwarded() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    cluster.kubectl(&[
        "run",
        "web",
        "--image=knarr.io/demo:latest",
        "--image-pull-policy=IfNotPresent",
        "--port=8080",
    ]);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    let mut forward = cluster
        .command("kubectl")
        .args(["port-forward", "pod/web", "18080:8080"])
        .spawn()
        .unwrap();
    eventually("the forwarded port answers", PATIENCE, || {
        cluster
            .get("127.0.0.1:18080", "x", "/forwarded")
            .is_ok_and(|(code, body)| code == 200 && body.contains("uri /forwarded"))
    });
    let _ = forward.kill();
    let _ = forward.wait();
}

#[test]
fn the_api_explains_itself() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    let k = |args: &[&str]| cluster.kubectl(args);
    let resources = k(&["api-resources"]);
    for name in [
        "deployments",
        "ingresses",
        "endpointslices",
        "clusterrolebindings",
    ] {
        assert!(resources.contains(name), "{name}");
    }
    assert!(k(&["api-versions"]).contains("networking.k8s.io/v1"));
    let strategy = k(&["explain", "deployment.spec.strategy"]);
    assert!(
        strategy.contains("rollingUpdate\t<RollingUpdateDeployment>\n    Settings for type"),
        "{strategy}"
    );
    assert_eq!(k(&["auth", "can-i", "create", "pods"]), "yes\n");
    let other = cluster.try_kubectl(&[
        "auth",
        "can-i",
        "create",
        "pods",
        "--as=system:serviceaccount:default:default",
    ]);
    assert_eq!(other.stdout, "no\n");
    let top = cluster.try_kubectl(&["top", "nodes"]);
    assert!(
        !top.success && top.stderr.contains("Metrics API not available"),
        "{top:?}"
    );
    let refused = cluster.kubectl_with_input(
        &["apply", "-f", "-"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatum: {}\n",
    );
    assert!(
        !refused.success && refused.stderr.contains("datum"),
        "{refused:?}"
    );
    k(&["create", "namespace", "gone"]);
    k(&[
        "create",
        "configmap",
        "a",
        "-n",
        "gone",
        "--from-literal=k=v",
    ]);
    k(&["delete", "namespace", "gone", "--timeout=60s"]);
    assert!(!cluster.try_kubectl(&["get", "namespace", "gone"]).success);
    let missing = cluster.try_kubectl(&["get", "pod", "nope"]);
    assert_eq!(
        missing.stderr,
        "Error from server (NotFound): pods \"nope\" not found\n"
    );
}

#[test]
fn an_unschedulable_pod_says_why() {
    if !can_run() {
        return;
    }
    let cluster = cluster();
    cluster.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: big}\nspec:\n  containers:\n  - {name: c, image: 'knarr.io/demo:latest', resources: {requests: {cpu: '1000'}}}\n");
    eventually(
        "the event says what is missing",
        Duration::from_secs(30),
        || {
            cluster
                .kubectl(&["get", "events"])
                .contains("0/1 nodes are available: 1 Insufficient cpu")
        },
    );
}

#[test]
fn a_full_node_takes_no_pods_and_says_so() {
    if !can_run() {
        return;
    }
    let mut cluster = cluster();
    cluster.interrupt();
    // More than any disk has free.
    cluster.up(&["--eviction-hard=nodefs.available<100%"]);
    let disk = "{.status.conditions[?(@.type==\"DiskPressure\")].status}";
    let disk = [
        "get",
        "nodes",
        "-o",
        &format!("jsonpath={{.items[0]{}", &disk[1..]),
    ];
    eventually("the node says so", Duration::from_secs(30), || {
        cluster.kubectl(&disk) == "True"
    });
    let log = cluster.log_text();
    assert!(
        log.contains("disk pressure") && log.contains("--eviction-hard"),
        "{log}"
    );
    let taint = "node.kubernetes.io/disk-pressure";
    eventually("new pods are kept off", Duration::from_secs(30), || {
        cluster.kubectl(&["describe", "nodes"]).contains(taint)
    });
    cluster.interrupt();
    cluster.up(&[]);
    eventually("there is room again", Duration::from_secs(30), || {
        !cluster.kubectl(&["describe", "nodes"]).contains(taint)
    });
}
