//! Who decides what users may: policies in a file, and a configuration that changes while the server runs.

mod common;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Server, request::send, site::Site};
use knarr_apiserver::authorization::{Mode, Policies, parse};
use knarr_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn code(client: &kube::Client, method: &str, path: &str) -> u16 {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-"}});
    let body = if method == "POST" { body } else { Value::Null };
    send(client, method, path, body).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_a_file_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let file = r#"{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "bob", "namespace": "default", "resource": "configmaps", "readonly": true}}"#;
    let policies = Arc::new(Policies::parse(file).unwrap());
    let server = Server::start_with(dir.path(), |config| {
        config.authorization.modes = vec![Mode::Abac(policies), Mode::Rbac];
    })
    .await;
    let bob = server.client("bob", &[]).await;
    assert_eq!(code(&bob, "GET", MAPS).await, 200);
    assert_eq!(code(&bob, "POST", MAPS).await, 403);
    // The other mode is asked, too.
    assert_eq!(code(&bob, "GET", "/api").await, 200);
    let (_, refused, _) = send(
        &bob,
        "GET",
        "/api/v1/namespaces/default/secrets",
        Value::Null,
    )
    .await;
    assert_eq!(
        refused["message"],
        "secrets is forbidden: User \"bob\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\": No policy matched."
    );
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let (_, told, _) = send(&bob, "POST", path, review).await;
    let rules = told["status"]["resourceRules"].as_array().unwrap();
    let own =
        json!({"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"]});
    assert!(rules.contains(&own), "{told}");
    server.stop().await;
}

fn configuration(webhook: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n{webhook}- {{type: Node, name: node}}\n- {{type: RBAC, name: rbac}}\n"
    )
}

fn webhook(kubeconfig: &Path) -> String {
    format!(
        "- type: Webhook\n  name: site\n  webhook:\n    timeout: 3s\n    subjectAccessReviewVersion: v1\n    failurePolicy: Deny\n    cacheAuthorizedRequests: false\n    cacheUnauthorizedRequests: false\n    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}\n",
        kubeconfig.display()
    )
}

async fn metric(client: &kube::Client, name: &str, status: &str) -> Option<u64> {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = client.request_text(request).await.unwrap();
    let status = format!("status=\"{status}\"");
    let mut lines = text.lines();
    let line = lines.find(|l| l.starts_with(&format!("{name}{{")) && l.contains(&status))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_read_again_without_a_request_being_lost() {
    const RELOADS: &str = "apiserver_authorization_config_controller_automatic_reloads_total";
    let dir = tempfile::tempdir().unwrap();
    let site = Site::start(|_, _, _| json!({"status": {"allowed": true}})).await;
    let kubeconfig = site.kubeconfig(dir.path(), "/authorize");
    let file = dir.path().join("authorization.yaml");
    std::fs::write(&file, configuration("")).unwrap();
    let (text, path) = (configuration(""), file.clone());
    let server = Server::start_with(dir.path(), |config| {
        config.authorization.modes = parse(&text, None).unwrap();
        config.authorization.file = Some(path);
    })
    .await;
    let (admin, eve) = (server.admin().await, server.client("eve", &[]).await);
    assert_eq!(code(&eve, "GET", MAPS).await, 403);

    // Somebody who may at all times asks all the while.
    let done = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let (stop, count, reader) = (done.clone(), asked.clone(), server.client("eve", &[]).await);
    let asking = tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(code(&reader, "GET", "/version").await, 200);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let until = async |wanted: u16| {
        for _ in 0..100 {
            if code(&eve, "GET", MAPS).await == wanted {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    };
    std::fs::write(&file, configuration(&webhook(&kubeconfig))).unwrap();
    assert!(until(200).await, "the webhook is never asked");
    assert_eq!(metric(&admin, RELOADS, "success").await, Some(1));

    // What is broken, lacks a type or has a new one changes nothing.
    let rbac = "- {type: RBAC, name: rbac}\n";
    for (n, broken) in [
        "kind: [".to_owned(),
        configuration("").replace(rbac, ""),
        configuration("- {type: ABAC, name: abac}\n"),
        configuration(&webhook(&dir.path().join("nowhere"))),
    ]
    .iter()
    .enumerate()
    {
        std::fs::write(&file, broken).unwrap();
        let failures = n as u64 + 1;
        for _ in 0..100 {
            if metric(&admin, RELOADS, "failure").await == Some(failures) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(
            metric(&admin, RELOADS, "failure").await,
            Some(failures),
            "{broken}"
        );
        assert_eq!(code(&eve, "GET", MAPS).await, 200, "{broken}");
    }
    std::fs::write(&file, configuration("")).unwrap();
    assert!(until(403).await, "the webhook is still asked");
    done.store(true, Ordering::Relaxed);
    asking.await.unwrap();
    assert!(asked.load(Ordering::Relaxed) > 10);
    server.stop().await;
}

/// Nobody waits for a grant that was answered with 201, nor profits from one that was taken back.
#[tokio::test(flavor = "multi_thread")]
async fn grants_hold_from_their_answer_on() {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let (admin, bob) = (server.admin().await, server.client("bob", &[]).await);
    let rules = json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]);
    let role = json!({"metadata": {"name": "lists"}, "rules": rules});
    let reference =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lists"});
    let subjects =
        json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]);
    let binding = json!({"metadata": {"name": "bob"}, "roleRef": reference, "subjects": subjects});
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    for _ in 0..50 {
        for (path, object) in [
            (format!("{RBAC}/clusterroles"), &role),
            (bindings.clone(), &binding),
        ] {
            let (made, answer, _) = send(&admin, "POST", &path, object.clone()).await;
            assert_eq!(made, 201, "{answer}");
        }
        assert_eq!(code(&bob, "GET", MAPS).await, 200);
        for path in [
            format!("{bindings}/bob"),
            format!("{RBAC}/clusterroles/lists"),
        ] {
            let (gone, answer, _) = send(&admin, "DELETE", &path, Value::Null).await;
            assert_eq!(gone, 200, "{answer}");
            assert_eq!(code(&bob, "GET", MAPS).await, 403);
        }
    }
    server.stop().await;
}
