//! Ways around authorization that must not be: each was one once, or is one elsewhere.

mod common;

use common::{Server, request::send};
use http_body_util::BodyExt;
use knarr_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn make(client: &kube::Client, path: &str, body: Value) -> Value {
    let (code, made, _) = send(client, "POST", path, body).await;
    assert_eq!(code, 201, "{path}: {made}");
    made
}

fn role(name: &str, rules: Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

fn binding(kind: &str, name: &str, role: &str, user: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]})
}

/// A server, its administrator, and a user who may what the rules say, everywhere.
async fn ann(dir: &std::path::Path, rules: Value) -> (Server, kube::Client, kube::Client) {
    let server = Server::start(dir).await;
    let admin = server.admin().await;
    make(&admin, &format!("{RBAC}/clusterroles"), role("anns", rules)).await;
    let bound = binding("ClusterRoleBinding", "anns", "anns", "ann");
    make(&admin, &format!("{RBAC}/clusterrolebindings"), bound).await;
    let ann = server.client("ann", &[]).await;
    (server, admin, ann)
}

/// The account that pods run as.
async fn default_account(admin: &kube::Client) {
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    make(admin, "/api/v1/namespaces/default/serviceaccounts", account).await;
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_watch_does_nothing_else_by_the_path_of_watches() {
    let dir = tempfile::tempdir().unwrap();
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["watch"]}]);
    let (server, admin, ann) = ann(dir.path(), rules).await;
    make(&admin, MAPS, map("kept")).await;
    let path = "/api/v1/watch/namespaces/default/configmaps";
    for (method, path, body) in [
        ("DELETE", path.to_owned(), Value::Null),
        ("DELETE", format!("{path}/kept"), Value::Null),
        ("POST", path.to_owned(), map("new")),
        ("PUT", format!("{path}/kept"), map("kept")),
        ("PATCH", format!("{path}/kept"), json!({"data": {"k": "v"}})),
    ] {
        let (code, answer, _) = send(&ann, method, &path, body).await;
        assert_eq!(code, 405, "{method} {path}: {answer}");
    }
    let (_, listed, _) = send(&admin, "GET", MAPS, Value::Null).await;
    let names: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["metadata"]["name"])
        .collect();
    assert!(
        names.contains(&&json!("kept")) && !names.contains(&&json!("new")),
        "{names:?}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_list_one_name_lists_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"], "resourceNames": ["mine"]}]);
    let (server, admin, ann) = ann(dir.path(), rules).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    for name in ["mine", "other"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        make(&admin, secrets, secret).await;
    }
    for (selector, want) in [
        ("metadata.name%3Dmine", 200),
        ("metadata.name%3D%3Dmine,type!%3Dx", 200),
        ("metadata.name%3Dother", 403),
        // A condition on the type that has a condition on the name in its value.
        ("type!%3Dx%5C,metadata.name%3Dmine", 403),
        ("metadata.name!%3Dmine", 403),
    ] {
        let path = format!("{secrets}?fieldSelector={selector}");
        let (code, answer, _) = send(&ann, "GET", &path, Value::Null).await;
        assert_eq!(code, want, "{selector}: {answer}");
        if code == 200 {
            assert_eq!(answer["items"].as_array().unwrap().len(), 1);
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_more_by_what_roles_are_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    // The star is no `escalate` or `bind` on what others may.
    let rules = {
        let mut rules = rules;
        rules[0]["verbs"] = json!(["get", "list", "create", "update", "patch", "delete"]);
        rules
    };
    let (server, admin, ann) = ann(dir.path(), rules).await;
    let roles = format!("{RBAC}/clusterroles");
    let mut small = role(
        "small",
        json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]),
    );
    make(&ann, &roles, small.clone()).await;
    // Rules that are summed up from whatever has a label.
    small["metadata"]["name"] = "sum".into();
    small["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let (code, answer, _) = send(&ann, "POST", &roles, small.clone()).await;
    assert_eq!(code, 403, "{answer}");
    assert_eq!(
        answer["message"],
        "clusterroles.rbac.authorization.k8s.io \"sum\" is forbidden: must have cluster-admin privileges to use the aggregationRule"
    );
    make(&admin, &roles, small).await;
    // A role of others, by a label that has it summed up into one that she has.
    let secrets = role(
        "secrets",
        json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}]),
    );
    make(&admin, &roles, secrets).await;
    let path = format!("{roles}/secrets");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let (code, answer, _) = send(&ann, "PATCH", &path, label).await;
    assert_eq!(code, 403, "{answer}");
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("not currently held"),
        "{answer}"
    );
    let finalizers = json!({"metadata": {"finalizers": ["example.com/x"]}});
    let (code, answer, _) = send(&ann, "PATCH", &path, finalizers).await;
    assert_eq!(code, 200, "the garbage collector must be able to: {answer}");
    // A role that is not there yet may hold anything once it is.
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let later = binding("RoleBinding", "later", "later", "ann");
    let (code, answer, _) = send(&ann, "POST", &bindings, later.clone()).await;
    assert_eq!(code, 404, "{answer}");
    assert_eq!(
        answer["message"],
        "clusterroles.rbac.authorization.k8s.io \"later\" not found"
    );
    make(&admin, &bindings, later).await;
    make(
        &ann,
        &bindings,
        binding("RoleBinding", "bob", "small", "bob"),
    )
    .await;
    server.stop().await;
}

async fn with_headers(
    client: &kube::Client,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: Value,
) -> (u16, Value) {
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, http::HeaderValue::from_bytes(value).unwrap());
    }
    let bytes = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let response = client
        .send(request.body(kube::client::Body::from(bytes)).unwrap())
        .await
        .unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_as_another_is_that_one_however_he_is_spelled() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let user = "j\u{fc}rgen";
    let headers: [(&str, &[u8]); 2] = [
        ("impersonate-user", user.as_bytes()),
        ("impersonate-group", "gr\u{fc}n".as_bytes()),
    ];
    let (code, answer) = with_headers(&admin, "POST", path, &headers, review.clone()).await;
    assert_eq!(code, 201, "{answer}");
    let info = &answer["status"]["userInfo"];
    assert_eq!(
        (&info["username"], &info["groups"]),
        (&json!(user), &json!(["gr\u{fc}n", "system:authenticated"]))
    );
    // Without a user it is refused, not passed over.
    let (code, answer) = with_headers(&admin, "POST", path, &headers[1..], review).await;
    assert_eq!(code, 400, "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_look_runs_nothing_by_a_websocket() {
    let dir = tempfile::tempdir().unwrap();
    let rules = json!([{"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get"]}]);
    let (server, admin, ann) = ann(dir.path(), rules).await;
    default_account(&admin).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    make(&admin, "/api/v1/namespaces/default/pods", pod).await;
    let exec = "/api/v1/namespaces/default/pods/p/exec?command=sh&stdout=1";
    let (code, answer, _) = send(&ann, "GET", exec, Value::Null).await;
    assert_eq!(code, 403, "{answer}");
    assert_eq!(
        answer["message"],
        "pods \"p\" is forbidden: User \"ann\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"default\""
    );
    // A request of somebody who may gets as far as the pod, which is nowhere.
    let (code, answer, _) = send(&admin, "GET", exec, Value::Null).await;
    assert_eq!(
        (code, &answer["message"]),
        (400, &json!("pod p does not have a host assigned"))
    );
    server.stop().await;
}

/// Numbers that overflow whatever they are added to.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_numbers_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let most = i64::MAX;
    let path = format!("{MAPS}?watch=1&timeoutSeconds={most}&resourceVersion=0");
    let request = http::Request::get(path)
        .body(kube::client::Body::empty())
        .unwrap();
    let response = admin.send(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    drop(response);
    default_account(&admin).await;
    let pods = "/api/v1/namespaces/default/pods";
    for name in ["by-spec", "by-options"] {
        let seconds = if name == "by-spec" { most } else { 30 };
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": "n",
            "terminationGracePeriodSeconds": seconds, "containers": [{"name": "c", "image": "i"}]}});
        make(&admin, pods, pod).await;
        let options = match name {
            "by-spec" => Value::Null,
            _ => json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": most}),
        };
        let (code, answer, _) = send(&admin, "DELETE", &format!("{pods}/{name}"), options).await;
        assert_eq!(code, 200, "{answer}");
        let now = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
        let (code, answer, _) = send(&admin, "DELETE", &format!("{pods}/{name}"), now).await;
        assert_eq!(code, 200, "{answer}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_cannot_fill_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let nobody = server.nobody().await;
    for n in 0..20 {
        for path in [
            format!("/apis/apps/v{n}x/namespaces/default/deployments"),
            format!("/api/v1/namespaces/default/pods/p/made-up-{n}"),
            format!("/apis/authorization.k8s.io/v1/made-up-{n}"),
        ] {
            send(&nobody, "GET", &path, Value::Null).await;
        }
        let dry = "dryRun=All&".repeat(n + 1);
        send(&nobody, "POST", &format!("{MAPS}?{dry}"), map("m")).await;
    }
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = server.admin().await.request_text(request).await.unwrap();
    assert!(
        !text.contains("made-up-") && !text.contains("v3x") && !text.contains("All,All"),
        "{text}"
    );
    assert!(text.contains("dry_run=\"All\""));
    server.stop().await;
}
