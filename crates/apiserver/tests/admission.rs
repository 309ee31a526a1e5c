//! Admission plugins at work in a server.

mod common;

use common::{Server, request::send};
use futures::future::join_all;
use knarr_json::{Value, json};

const NAMESPACES: &str = "/api/v1/namespaces";

/// Makes a namespace with its default account, which pods need and no controller makes here.
async fn namespace(client: &kube::Client, name: &str, labels: Value) {
    let made = json!({"metadata": {"name": name, "labels": labels}});
    let (code, answer, _) = send(client, "POST", NAMESPACES, made).await;
    assert_eq!(code, 201, "{answer}");
    let accounts = format!("{NAMESPACES}/{name}/serviceaccounts");
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(send(client, "POST", &accounts, account).await.0, 201);
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod =
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key.as_str()] = value.clone();
    }
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold_under_a_crowd() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    namespace(&client, "n", json!({})).await;
    let quotas = format!("{NAMESPACES}/n/resourcequotas");
    let hard = json!({"pods": "7", "count/configmaps": "3", "requests.cpu": "10"});
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    assert_eq!(send(&client, "POST", &quotas, quota).await.0, 201);
    let used = json!({"pods": "0", "count/configmaps": "0", "requests.cpu": "0"});
    let status = json!({"status": {"hard": hard, "used": used}});
    send(&client, "PATCH", &format!("{quotas}/q/status"), status).await;
    let pods = format!("{NAMESPACES}/n/pods");
    let sized = json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]});
    let names: Vec<String> = (0..20).map(|i| format!("p{i}")).collect();
    let made = names
        .iter()
        .map(|name| send(&client, "POST", &pods, pod(name, sized.clone())));
    let codes: Vec<u16> = join_all(made)
        .await
        .into_iter()
        .map(|(code, ..)| code)
        .collect();
    let count = |wanted: u16| codes.iter().filter(|code| **code == wanted).count();
    assert_eq!((count(201), count(403)), (7, 13), "{codes:?}");
    let (_, quota, _) = send(&client, "GET", &format!("{quotas}/q"), Value::Null).await;
    assert_eq!(
        quota["status"]["used"],
        json!({"pods": "7", "count/configmaps": "0", "requests.cpu": "700m"})
    );
    let (code, status, _) = send(&client, "POST", &pods, pod("late", json!({}))).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "pods \"late\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    let maps = format!("{NAMESPACES}/n/configmaps");
    for (name, query, wanted) in [
        ("a", "", 201),
        ("b", "", 201),
        ("d", "?dryRun=All", 201),
        ("c", "", 201),
        ("e", "", 403),
    ] {
        let map = json!({"metadata": {"name": name}});
        assert_eq!(
            send(&client, "POST", &format!("{maps}{query}"), map)
                .await
                .0,
            wanted,
            "{name}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_say_what_their_pods_may() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    namespace(&client, "strict", json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"})).await;
    let pods = format!("{NAMESPACES}/strict/pods");
    let host = || json!({"hostNetwork": true, "hostPID": true});
    let (code, status, _) = send(&client, "POST", &pods, pod("a", host())).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true, hostPID=true)"
    );
    assert_eq!(status["details"], json!({"name": "a", "kind": "pods"}));
    let (code, _, warnings) = send(&client, "POST", &pods, pod("b", json!({}))).await;
    assert_eq!(code, 201);
    assert!(warnings[0].contains("would violate PodSecurity \\\"restricted:latest\\\": allowPrivilegeEscalation != false (container"), "{warnings:?}");
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("x", host())["spec"]});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let path = "/apis/apps/v1/namespaces/strict/deployments";
    let (code, _, warnings) = send(&client, "POST", path, deployment).await;
    assert_eq!(
        (code, warnings.len()),
        (201, 1),
        "workloads are only warned about"
    );

    let bad = json!({"metadata": {"name": "x", "labels": {"pod-security.kubernetes.io/enforce": "much"}}});
    let (code, status, _) = send(&client, "POST", NAMESPACES, bad).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "Namespace \"x\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"much\": must be one of privileged, baseline, restricted"
    );
    let stricter =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let (code, _, warnings) =
        send(&client, "PATCH", &format!("{NAMESPACES}/strict"), stricter).await;
    assert_eq!((code, warnings.len()), (200, 2), "{warnings:?}");
    assert!(warnings[1].contains("b: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_turned_on_and_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |config| {
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect();
        config.admission.enable = names(&[
            "AlwaysPullImages",
            "PodNodeSelector",
            "DenyServiceExternalIPs",
            "ExtendedResourceToleration",
        ]);
        config.admission.disable = names(&["ServiceAccount", "DefaultTolerationSeconds"]);
    })
    .await;
    let client = server.admin().await;
    let annotations = json!({"scheduler.alpha.kubernetes.io/node-selector": "disk=fast"});
    let made = json!({"metadata": {"name": "n", "annotations": annotations}});
    assert_eq!(send(&client, "POST", NAMESPACES, made).await.0, 201);
    let pods = format!("{NAMESPACES}/n/pods");
    let device = json!({"containers": [{"name": "c", "image": "i:1", "resources": {"limits": {"example.com/gpu": "1"}}}]});
    let (code, made, _) = send(&client, "POST", &pods, pod("a", device)).await;
    assert_eq!(code, 201, "{made}");
    let spec = &made["spec"];
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(spec["nodeSelector"], json!({"disk": "fast"}));
    assert_eq!(
        spec["tolerations"],
        json!([{"key": "example.com/gpu", "operator": "Exists"}])
    );
    assert!(spec["serviceAccountName"].is_null());
    let elsewhere = pod("b", json!({"nodeSelector": {"disk": "slow"}}));
    assert_eq!(send(&client, "POST", &pods, elsewhere).await.0, 403);
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.7"]}});
    let (code, status, _) = send(
        &client,
        "POST",
        &format!("{NAMESPACES}/n/services"),
        service,
    )
    .await;
    assert_eq!(code, 403, "{status}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_made_or_missed() {
    let cases = [
        ("NamespaceExists", 404, 404),
        ("NamespaceAutoProvision", 201, 200),
    ];
    for (plugin, made, there) in cases {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(dir.path(), |config| {
            config.admission.enable = vec![plugin.to_owned()];
            // It would refuse first.
            config.admission.disable = vec!["NamespaceLifecycle".to_owned()];
        })
        .await;
        let client = server.admin().await;
        let maps = format!("{NAMESPACES}/new/configmaps");
        let map = json!({"metadata": {"name": "m"}});
        let tried = send(&client, "POST", &format!("{maps}?dryRun=All"), map.clone()).await;
        assert_eq!(tried.0, if made == 404 { 404 } else { 201 }, "{plugin}");
        let missing = send(&client, "GET", &format!("{NAMESPACES}/new"), Value::Null).await;
        assert_eq!(missing.0, 404, "{plugin}");
        let (code, answer, _) = send(&client, "POST", &maps, map).await;
        assert_eq!(code, made, "{plugin}: {answer}");
        if code == 404 {
            assert_eq!(answer["message"], "namespaces \"new\" not found");
        }
        let (code, ..) = send(&client, "GET", &format!("{NAMESPACES}/new"), Value::Null).await;
        assert_eq!(code, there, "{plugin}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_minds_its_own_node() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let kubelet = server.client("system:node:n1", &["system:nodes"]).await;
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    let nodes = "/api/v1/nodes";
    let (code, status, _) = send(&kubelet, "POST", nodes, node("n2", json!({}))).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
    );
    let role = json!({"node-role.kubernetes.io/control-plane": ""});
    assert_eq!(send(&kubelet, "POST", nodes, node("n1", role)).await.0, 403);
    let (code, made, _) = send(
        &kubelet,
        "POST",
        nodes,
        node("n1", json!({"kubernetes.io/os": "linux"})),
    )
    .await;
    assert_eq!(code, 201, "{made}");
    let untaint = json!({"spec": {"taints": null}});
    let (code, status, _) = send(&kubelet, "PATCH", "/api/v1/nodes/n1", untaint).await;
    assert_eq!(code, 403, "{status}");
    namespace(&admin, "n", json!({})).await;
    let pods = format!("{NAMESPACES}/n/pods");
    assert_eq!(
        send(&admin, "POST", &pods, pod("own", json!({"nodeName": "n1"})))
            .await
            .0,
        201
    );
    assert_eq!(
        send(
            &admin,
            "POST",
            &pods,
            pod("other", json!({"nodeName": "n2"}))
        )
        .await
        .0,
        201
    );
    let running = json!({"status": {"phase": "Running"}});
    for (name, wanted) in [("own", 200), ("other", 403)] {
        let path = format!("{pods}/{name}/status");
        assert_eq!(
            send(&kubelet, "PATCH", &path, running.clone()).await.0,
            wanted,
            "{name}"
        );
        let path = format!("{pods}/{name}");
        assert_eq!(
            send(&kubelet, "DELETE", &path, Value::Null).await.0,
            wanted,
            "{name}"
        );
    }
    assert_eq!(
        send(
            &kubelet,
            "POST",
            &pods,
            pod("more", json!({"nodeName": "n1"}))
        )
        .await
        .0,
        403
    );
    tokens_are_for_those_whom_pods_name(&admin, &kubelet).await;
    server.stop().await;
}

async fn tokens_are_for_those_whom_pods_name(admin: &kube::Client, kubelet: &kube::Client) {
    let pods = format!("{NAMESPACES}/n/pods");
    let sources = json!([{"serviceAccountToken": {"path": "t", "audience": "vault"}}]);
    let spec = json!({"nodeName": "n1", "serviceAccountName": "default", "volumes": [{"name": "v", "projected": {"sources": sources}}]});
    let (code, made, _) = send(admin, "POST", &pods, pod("asks", spec)).await;
    assert_eq!(code, 201, "{made}");
    let token = async |client: &kube::Client, audiences: Value| {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "asks", "uid": made["metadata"]["uid"]});
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": audiences, "boundObjectRef": bound}});
        let path = format!("{NAMESPACES}/n/serviceaccounts/default/token");
        let (code, answer, _) = send(client, "POST", &path, request).await;
        (
            code,
            answer["message"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(token(kubelet, json!(["vault"])).await.0, 201);
    for (audiences, want) in [
        (
            json!(["bank"]),
            "audience \"bank\" not found in pod spec volume",
        ),
        (
            json!(["vault", "bank"]),
            "node may only request 0 or 1 audiences",
        ),
    ] {
        let (code, message) = token(kubelet, audiences).await;
        assert!(code == 403 && message.ends_with(want), "{code} {message}");
    }
    assert_eq!(
        token(admin, json!(["bank"])).await.0,
        201,
        "others are not nodes"
    );
}

/// The account of a pod on a node may tell of the devices of its driver there, and allocates nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_claims_is_written_by_those_it_is_for() {
    const GROUP: &str = "/apis/rbac.authorization.k8s.io/v1";
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    namespace(&admin, "n", json!({})).await;
    let claims = "/apis/resource.k8s.io/v1/namespaces/n/resourceclaims";
    let exactly = json!({"deviceClassName": "c.io"});
    let requests = json!([{"name": "r", "exactly": exactly}]);
    let claim = json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}});
    let (code, answer, _) = send(&admin, "POST", claims, claim).await;
    assert_eq!(code, 201, "{answer}");

    let rules = json!([
        {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims", "resourceclaims/status"], "verbs": ["get", "patch"]},
        {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims/driver"], "resourceNames": ["d.io"], "verbs": ["associated-node:patch"]},
    ]);
    let role = json!({"metadata": {"name": "driver"}, "rules": rules});
    let reference =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "driver"});
    let subject =
        |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    let account = "system:serviceaccount:n:driver";
    let binding = json!({"metadata": {"name": "driver"}, "roleRef": reference, "subjects": [subject(account)]});
    for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let (code, answer, _) = send(&admin, "POST", &format!("{GROUP}/{plural}"), object).await;
        assert_eq!(code, 201, "{answer}");
    }

    let result =
        |device: &str| json!({"request": "r", "driver": "d.io", "pool": "p", "device": device});
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": ["here"]}]);
    let allocation = json!({"allocation": {
        "devices": {"results": [result("1")]},
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": fields}]},
    }});
    let status = format!("{claims}/c/status");
    let told = |data: &str| json!({"status": {"devices": [{"driver": "d.io", "pool": "p", "device": "1", "data": {"k": data}}]}});
    let on = |node: &'static str, body: Value| {
        let (admin, status) = (admin.clone(), status.clone());
        async move {
            let request = http::Request::patch(status)
                .header("content-type", "application/merge-patch+json")
                .header("impersonate-user", account)
                .header(
                    "impersonate-extra-authentication.kubernetes.io%2fnode-name",
                    node,
                )
                .body(body.to_string().into_bytes())
                .unwrap();
            let answer = admin.request_text(request).await;
            answer.map_err(|error| error.to_string())
        }
    };
    let refused = on("here", json!({"status": allocation})).await.unwrap_err();
    let words = "status: Forbidden: changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"patch\" permission: resourceclaims.resource.k8s.io is forbidden: User \"system:serviceaccount:n:driver\" cannot patch resource \"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope";
    assert!(refused.contains(words), "{refused}");
    let (code, answer, _) = send(&admin, "PATCH", &status, json!({"status": allocation})).await;
    assert_eq!(code, 200, "{answer}");
    on("here", told("a")).await.unwrap();
    on("elsewhere", told("a")).await.unwrap();
    let refused = on("elsewhere", told("b")).await.unwrap_err();
    let words = "status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[arbitrary-node:patch]\" permission: resourceclaims.resource.k8s.io \"d.io\" is forbidden: User \"system:serviceaccount:n:driver\" cannot arbitrary-node:patch resource \"resourceclaims/driver\" in API group \"resource.k8s.io\" in the namespace \"n\"";
    assert!(refused.contains(words), "{refused}");
}

/// What the kubelet of a pod's node does not know does not happen to the pod.
#[tokio::test(flavor = "multi_thread")]
async fn pods_change_as_their_nodes_declare() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    namespace(&client, "n", json!({})).await;
    let node = json!({"metadata": {"name": "w", "labels": {"kubernetes.io/os": "linux"}}});
    assert_eq!(send(&client, "POST", "/api/v1/nodes", node).await.0, 201);
    let declare = |features: Value| {
        let allocatable = json!({"cpu": "8", "memory": "8Gi", "pods": "10"});
        let body = json!({"status": {"allocatable": allocatable, "capacity": allocatable, "declaredFeatures": features}});
        let client = client.clone();
        async move { send(&client, "PATCH", "/api/v1/nodes/w/status", body).await }
    };
    assert_eq!(declare(json!([])).await.0, 200);
    let sized = |cpu: &str| {
        let amounts = json!({"cpu": cpu, "memory": "1Gi"});
        json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": amounts, "limits": amounts}}], "nodeName": "w"})
    };
    let pods = format!("{NAMESPACES}/n/pods");
    let (code, answer, _) = send(&client, "POST", &pods, pod("p", sized("1"))).await;
    assert_eq!(code, 201, "{answer}");
    let resize = format!("{pods}/p/resize");
    let larger = json!({"spec": {"containers": sized("2")["containers"]}});
    let (code, answer, _) = send(&client, "PATCH", &resize, larger.clone()).await;
    let words = "pods \"p\" is forbidden: pod update requires features GuaranteedQoSPodCPUResize which are not available on node \"w\"";
    assert_eq!((code, answer["message"].as_str()), (403, Some(words)));
    declare(json!(["GuaranteedQoSPodCPUResize"])).await;
    let (code, answer, _) = send(&client, "PATCH", &resize, larger).await;
    assert_eq!(code, 200, "{answer}");
}
