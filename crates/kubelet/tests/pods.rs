//! Pods that really run, told about in a real API.

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, can_run, is_ready, shell, waiter};
use serde_json::{Value, json};

fn container(pod: &Value, at: usize) -> &Value {
    &pod["status"]["containerStatuses"][at]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    c.create(
        "ConfigMap",
        json!({"metadata": {"name": "settings"}, "data": {"color": "blue", "file": "text"}}),
    )
    .await;
    c.create(
        "Secret",
        json!({"metadata": {"name": "keys"}, "stringData": {"password": "s3cret"}}),
    )
    .await;
    let mut main = waiter("main");
    main["env"] = json!([
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "BOTH", "value": "$(COLOR)-$(NAME)"}]);
    main["volumeMounts"] = json!([
        {"name": "settings", "mountPath": "/etc/settings"}, {"name": "keys", "mountPath": "/etc/keys", "readOnly": true},
        {"name": "scratch", "mountPath": "/scratch"}, {"name": "memory", "mountPath": "/memory"},
        {"name": "settings", "mountPath": "/one", "subPath": "file"}]);
    let spec = json!({"containers": [main], "volumes": [
        {"name": "settings", "configMap": {"name": "settings"}}, {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 256}},
        {"name": "scratch", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]});
    c.run("life", spec).await;
    let pod = c.ready("life").await;
    assert_eq!(
        (&pod["status"]["phase"], &pod["status"]["podIP"]),
        (&json!("Running"), &json!("192.0.2.7"))
    );
    assert_eq!(
        (&pod["status"]["hostIP"], &pod["status"]["qosClass"]),
        (&json!("127.0.0.1"), &json!("BestEffort"))
    );
    assert_eq!(container(&pod, 0)["ready"], true);
    assert_eq!(
        c.exec("life", "echo $COLOR $PASSWORD $NAME $IP $BOTH")
            .await,
        "blue s3cret life 192.0.2.7 blue-life\n"
    );
    assert_eq!(
        c.exec("life", "cat /etc/settings/color /one /etc/keys/password")
            .await,
        "bluetexts3cret"
    );
    assert_eq!(
        c.exec(
            "life",
            "stat -L -c %a /etc/keys/password; stat -c %a /scratch"
        )
        .await,
        "400\n777\n"
    );
    assert!(
        c.exec("life", "mount | grep ' /memory '")
            .await
            .contains("tmpfs")
    );
    assert!(
        c.exec("life", "cat /etc/resolv.conf")
            .await
            .contains("default.svc.cluster.local")
    );
    assert!(
        c.exec("life", "cat /etc/hosts")
            .await
            .contains("192.0.2.7\tlife")
    );
    assert_eq!(
        c.exec(
            "life",
            "cat /var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
        )
        .await,
        "authority"
    );
    assert!(
        c.exec(
            "life",
            "cat /var/run/secrets/kubernetes.io/serviceaccount/token"
        )
        .await
        .starts_with("ey")
    );
    // Changes arrive while it runs.
    c.patch("configmaps/settings", json!({"data": {"color": "red"}}))
        .await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while c.exec("life", "cat /etc/settings/color").await != "red" {
        assert!(Instant::now() < deadline, "the change never arrived");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    c.delete("life").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    let left = |dir: &str| {
        std::fs::read_dir(c.dir.join(dir))
            .map(Iterator::count)
            .unwrap_or(0)
    };
    while left("kubelet/pods") + left("logs") > 0 {
        assert!(Instant::now() < deadline, "directories left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_fast() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    c.run("warm", json!({"containers": [waiter("main")]})).await;
    c.ready("warm").await;
    let mut times = Vec::new();
    for i in 0..5 {
        let name = format!("fast{i}");
        let began = Instant::now();
        c.run(&name, json!({"containers": [waiter("main")]})).await;
        c.ready(&name).await;
        times.push(began.elapsed());
    }
    eprintln!("pod create to Ready: {times:?}");
    let began = Instant::now();
    for i in 0..20 {
        c.run(&format!("many{i}"), json!({"containers": [waiter("main")]}))
            .await;
    }
    for i in 0..20 {
        c.ready(&format!("many{i}")).await;
    }
    eprintln!("20 pods to Ready: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_told() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    let spec = |policy: &str, script: &str| json!({"restartPolicy": policy, "containers": [shell("main", script)]});
    c.run("good", spec("Never", "echo done")).await;
    c.run("bad", spec("OnFailure", "exit 0")).await;
    c.run(
        "ugly",
        spec("Never", "echo -n why > /dev/termination-log; exit 3"),
    )
    .await;
    c.run("loop", spec("Always", "exit 4")).await;
    let mut talker = shell("main", "echo last words; exit 1");
    talker["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    c.run(
        "talker",
        json!({"restartPolicy": "Never", "containers": [talker]}),
    )
    .await;
    let mut sleeper = spec("Never", "while :; do sleep 0.05; done");
    sleeper["activeDeadlineSeconds"] = json!(1);
    c.run("late", sleeper).await;
    c.phase("good", "Succeeded").await;
    c.phase("bad", "Succeeded").await;
    let ugly = c.phase("ugly", "Failed").await;
    let ended = &container(&ugly, 0)["state"]["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["reason"], &ended["message"]),
        (&json!(3), &json!("Error"), &json!("why"))
    );
    let talker = c.phase("talker", "Failed").await;
    assert_eq!(
        container(&talker, 0)["state"]["terminated"]["message"],
        "last words\n"
    );
    let looping = c
        .until("loop", "in back-off", |p| {
            container(p, 0)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    assert_eq!(looping["status"]["phase"], "Running");
    assert_eq!(
        container(&looping, 0)["lastState"]["terminated"]["exitCode"],
        4
    );
    assert_eq!(container(&looping, 0)["restartCount"], 1);
    let late = c.phase("late", "Failed").await;
    assert_eq!(late["status"]["reason"], "DeadlineExceeded");
    for name in ["good", "loop", "late"] {
        c.delete(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_and_sidecars_in_order() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    let mount = |mut container: Value| {
        container["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        container
    };
    let mut sidecar = mount(shell(
        "side",
        "echo -n 2 >> /v/f; touch /tmp/up; trap 'exit 0' TERM; while :; do sleep 0.05; done",
    ));
    sidecar["restartPolicy"] = json!("Always");
    sidecar["startupProbe"] =
        json!({"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1});
    let spec = json!({"restartPolicy": "Never", "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [mount(shell("first", "echo -n 1 >> /v/f")), sidecar, mount(shell("third", "echo -n 3 >> /v/f"))],
        "containers": [mount(shell("main", "echo -n 4 >> /v/f; cat /v/f > /dev/termination-log"))]});
    c.run("order", spec).await;
    let pod = c.phase("order", "Succeeded").await;
    assert_eq!(container(&pod, 0)["state"]["terminated"]["message"], "1234");
    assert!(
        !pod["status"]["initContainerStatuses"][1]["state"]["terminated"].is_null(),
        "the sidecar was ended"
    );
    let failing = json!({"restartPolicy": "Never", "initContainers": [shell("i", "exit 2")], "containers": [waiter("main")]});
    c.run("failing", failing).await;
    let pod = c.phase("failing", "Failed").await;
    assert_eq!(
        container(&pod, 0)["state"]["waiting"]["reason"],
        "PodInitializing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_waited_for() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    let mut main = waiter("main");
    main["envFrom"] = json!([{"configMapRef": {"name": "late"}}]);
    c.run("env", json!({"containers": [main]})).await;
    let pod = c
        .until("env", "refused", |p| {
            !container(p, 0)["state"]["waiting"]["message"].is_null()
        })
        .await;
    let waiting = &container(&pod, 0)["state"]["waiting"];
    assert_eq!(
        (&waiting["reason"], &waiting["message"]),
        (
            &json!("CreateContainerConfigError"),
            &json!("configmap \"late\" not found")
        )
    );
    let mut absent = waiter("main");
    absent["image"] = json!("absent:1");
    absent["imagePullPolicy"] = json!("Never");
    c.run("image", json!({"containers": [absent]})).await;
    c.until("image", "refused", |p| {
        container(p, 0)["state"]["waiting"]["reason"] == "ErrImageNeverPull"
    })
    .await;
    c.run("volume", json!({"containers": [waiter("main")], "volumes": [{"name": "v", "configMap": {"name": "late"}}]})).await;
    c.create(
        "ConfigMap",
        json!({"metadata": {"name": "late"}, "data": {"a": "b"}}),
    )
    .await;
    let began = Instant::now();
    c.ready("env").await;
    c.ready("volume").await;
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_decide() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    // One that is slow on a busy machine has not failed: a restart would lose what the test put there.
    let exec = |path: &str| json!({"exec": {"command": ["test", "-e", path]}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 20});
    let mut main = shell(
        "main",
        "touch /tmp/alive; trap 'exit 0' TERM; while :; do sleep 0.05; done",
    );
    main["readinessProbe"] = exec("/tmp/ready");
    main["livenessProbe"] = exec("/tmp/alive");
    main["livenessProbe"]["initialDelaySeconds"] = json!(1);
    c.run("probed", json!({"containers": [main]})).await;
    c.until("probed", "started", |p| {
        container(p, 0)["started"] == true && !is_ready(p)
    })
    .await;
    c.exec("probed", "touch /tmp/ready").await;
    c.ready("probed").await;
    c.exec("probed", "rm /tmp/ready").await;
    c.until("probed", "unready", |p| !is_ready(p)).await;
    c.exec("probed", "rm /tmp/alive").await;
    let pod = c
        .until("probed", "restarted", |p| {
            container(p, 0)["restartCount"] == 1
        })
        .await;
    assert!(!container(&pod, 0)["lastState"]["terminated"].is_null());
    // Over the network of the node.
    let mut web = shell(
        "web",
        "trap 'exit 0' TERM; httpd -p 127.0.0.1:28123 -h /bin; while :; do sleep 0.05; done",
    );
    web["readinessProbe"] = json!({"httpGet": {"port": 28123, "path": "/busybox"}});
    let mut socket = waiter("socket");
    socket["startupProbe"] =
        json!({"tcpSocket": {"port": 28123}, "periodSeconds": 1, "failureThreshold": 30});
    let began = Instant::now();
    c.run(
        "web",
        json!({"hostNetwork": true, "containers": [web, socket]}),
    )
    .await;
    c.ready("web").await;
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_kubelet_is_not_noticed() {
    if !can_run() {
        return;
    }
    let mut c = Cluster::start().await;
    c.run("stays", json!({"containers": [waiter("main")]}))
        .await;
    c.run("goes", json!({"containers": [waiter("main")]})).await;
    let before = c.ready("stays").await;
    c.ready("goes").await;
    c.stop_kubelet();
    let now = kube::api::DeleteParams {
        grace_period_seconds: Some(0),
        ..Default::default()
    };
    c.pods().delete("goes", &now).await.expect("delete");
    tokio::time::sleep(Duration::from_millis(200)).await;
    c.restart_kubelet().await;
    c.run("new", json!({"containers": [waiter("main")]})).await;
    c.ready("new").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = c.ready("stays").await;
    assert_eq!(container(&before, 0), container(&after, 0));
    assert_eq!(
        before["status"]["conditions"],
        after["status"]["conditions"]
    );
    use knarr_runtime::Runtime;
    let deadline = Instant::now() + Duration::from_secs(10);
    while c.runtime.sandboxes().await.expect("sandboxes").len() != 2 {
        assert!(
            Instant::now() < deadline,
            "the pod deleted meanwhile still runs"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn static_pods_run_and_are_shown() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fixed"}, "spec": {
        "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false, "containers": [waiter("main")]}});
    std::fs::create_dir_all(c.dir.join("manifests")).expect("directory");
    std::fs::write(c.dir.join("manifests/fixed.json"), manifest.to_string()).expect("write");
    let pod = c.ready("fixed-n1").await;
    assert!(!pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null());
    std::fs::remove_file(c.dir.join("manifests/fixed.json")).expect("remove");
    c.until("fixed-n1", "gone", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_and_grace() {
    if !can_run() {
        return;
    }
    let c = Cluster::start().await;
    let mut main = shell(
        "main",
        "trap 'echo -n term >> /v/f; exit 0' TERM; while :; do sleep 0.05; done",
    );
    main["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh", "-c", "echo -n post >> /v/f"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo -n pre >> /v/f; sleep 0.3"]}}});
    main["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    let dir = c.dir.join("shown");
    let spec = json!({"terminationGracePeriodSeconds": 10, "containers": [main],
        "volumes": [{"name": "v", "hostPath": {"path": dir, "type": "DirectoryOrCreate"}}]});
    c.run("polite", spec).await;
    c.ready("polite").await;
    assert_eq!(
        std::fs::read_to_string(dir.join("f")).expect("file"),
        "post"
    );
    c.delete("polite").await;
    assert_eq!(
        std::fs::read_to_string(dir.join("f")).expect("file"),
        "postpreterm"
    );
    // One that will not hear is ended when its time is up.
    let deaf = shell("main", "trap '' TERM; while :; do sleep 0.05; done");
    c.run(
        "deaf",
        json!({"terminationGracePeriodSeconds": 2, "containers": [deaf]}),
    )
    .await;
    c.ready("deaf").await;
    let began = Instant::now();
    c.delete("deaf").await;
    assert!(
        (1.5..6.0).contains(&began.elapsed().as_secs_f64()),
        "{:?}",
        began.elapsed()
    );
}
