//! The server over HTTPS and in process, driven by kube-rs and by plain requests.

mod common;

use std::time::Duration;

use common::Server;
use futures::StreamExt;
use k8s_openapi::api::{
    authentication::v1::{SelfSubjectReview, TokenRequest},
    core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount},
    rbac::v1::{ClusterRole, RoleBinding},
};
use knarr_json::{Value, json};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    knarr_json::from_value(value).unwrap()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}, "data": {"k": value}}))
}

async fn get(client: &kube::Client, path: &str) -> Result<String, kube::Error> {
    client
        .request_text(http::Request::get(path).body(Vec::new()).unwrap())
        .await
}

fn code(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("no answer of the server: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_and_dies() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let maps: Api<ConfigMap> = Api::namespaced(server.admin().await, "default");
    let made = maps
        .create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    assert!(made.uid().is_some() && made.metadata.managed_fields.is_some());
    let error = maps
        .create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap_err();
    assert_eq!(code(error), (409, "AlreadyExists".into()));

    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    let patched = maps
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_ne!(patched.resource_version(), made.resource_version());
    let same = maps
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(
        same.resource_version(),
        patched.resource_version(),
        "a patch that changes nothing writes nothing"
    );
    let stale = ConfigMap {
        data: None,
        ..made.clone()
    };
    let error = maps
        .replace("a", &PostParams::default(), &stale)
        .await
        .unwrap_err();
    assert_eq!(code(error), (409, "Conflict".into()));

    let hold = Patch::Merge(json!({"metadata": {"finalizers": ["example.test/hold"]}}));
    maps.patch("a", &PatchParams::default(), &hold)
        .await
        .unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(
        maps.get("a")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("a", &PatchParams::default(), &free)
        .await
        .unwrap();
    assert_eq!(
        code(maps.get("a").await.unwrap_err()),
        (404, "NotFound".into())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_show_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let maps: Api<ConfigMap> = Api::namespaced(server.admin().await, "default");
    for i in 0..5 {
        maps.create(&PostParams::default(), &config_map(&format!("m{i}"), "1"))
            .await
            .unwrap();
    }
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    maps.delete("m3", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    let rest = maps
        .list(&ListParams::default().continue_token(&token))
        .await
        .unwrap();
    let names: Vec<String> = rest.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["m2", "m3", "m4"]);
    assert_eq!(
        rest.metadata.resource_version,
        first.metadata.resource_version
    );
    let filtered = maps
        .list(&ListParams::default().fields("metadata.name=m1"))
        .await
        .unwrap();
    assert_eq!(filtered.items.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_hold_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    maps.create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    let table = async |query: &str| {
        let path = format!("/api/v1/namespaces/default/configmaps{query}");
        let request = http::Request::get(path)
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new());
        client.request::<Value>(request.unwrap()).await
    };
    for (include, kind) in [
        ("", json!("PartialObjectMetadata")),
        ("Metadata", json!("PartialObjectMetadata")),
        ("Object", json!("ConfigMap")),
        ("None", Value::Null),
    ] {
        for name in ["", "/a"] {
            let shown = table(&format!("{name}?includeObject={include}"))
                .await
                .unwrap();
            assert_eq!(shown["rows"][0]["object"]["kind"], kind, "{include}");
        }
    }
    for query in [
        "?includeObject=x",
        "/a?includeObject=x",
        "?watch=1&includeObject=x",
    ] {
        let Err(kube::Error::Api(refused)) = table(query).await else {
            panic!("{query} was answered")
        };
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (
                400,
                "Unable to convert to Table as requested: includeObject: Invalid value: \"x\": must be 'Metadata', 'Object', 'None', or empty"
            )
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_tell_every_change_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = knarr_client::in_process(
        server
            .api
            .service(knarr_apiserver::UserInfo::new("inside", ["system:masters"])),
        "test",
    );
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    maps.create(&PostParams::default(), &config_map("there", "0"))
        .await
        .unwrap();
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let mut seen = watcher(maps.clone(), config)
            .default_backoff()
            .applied_objects()
            .boxed();
        assert_eq!(seen.next().await.unwrap().unwrap().name_any(), "there");
        for i in 0..20 {
            let patch = Patch::Merge(
                json!({"data": {"k": format!("{i}"), "at": format!("{:?}", std::time::Instant::now())}}),
            );
            maps.patch("there", &PatchParams::default(), &patch)
                .await
                .unwrap();
        }
        for i in 0..20 {
            let map = seen.next().await.unwrap().unwrap();
            assert_eq!(map.data.unwrap()["k"], format!("{i}"));
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_turns_changes_into_additions_and_removals() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let maps: Api<ConfigMap> = Api::namespaced(server.admin().await, "default");
    let start = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    maps.create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap();
    for labels in [json!({"x": "1"}), json!({"y": "2"}), json!({"x": null})] {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        maps.patch("a", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    let params = WatchParams::default().labels("x=1").timeout(2);
    let events: Vec<_> = maps.watch(&params, &start).await.unwrap().collect().await;
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| match e.as_ref().unwrap() {
            WatchEvent::Added(_) => "ADDED",
            WatchEvent::Modified(_) => "MODIFIED",
            WatchEvent::Deleted(_) => "DELETED",
            _ => "OTHER",
        })
        .collect();
    assert_eq!(
        kinds
            .into_iter()
            .filter(|k| *k != "OTHER")
            .collect::<Vec<_>>(),
        ["ADDED", "MODIFIED", "DELETED"]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_decide_who_may_what() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let ann = server.client("ann", &["crew"]).await;
    let maps: Api<ConfigMap> = Api::namespaced(ann.clone(), "default");
    let error = maps.list(&ListParams::default()).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("configmaps is forbidden: User \"ann\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""), "{words}");
    let binding: RoleBinding = object(json!({
        "metadata": {"name": "crew"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "crew"}],
    }));
    Api::<RoleBinding>::namespaced(admin.clone(), "default")
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    for _ in 0..100 {
        if maps.list(&ListParams::default()).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    maps.list(&ListParams::default()).await.unwrap();
    let error = maps
        .create(&PostParams::default(), &config_map("a", "1"))
        .await
        .unwrap_err();
    assert_eq!(code(error), (403, "Forbidden".into()));
    // Everybody who is known may discover; nobody else may anything but ask whether the server lives.
    assert!(get(&ann, "/apis").await.is_ok());
    let nobody = server.bearer("wrong").await;
    assert!(get(&nobody, "/apis").await.is_err());
    let ali = server.bearer("sesame").await;
    let review = SelfSubjectReview::default();
    let me = Api::<SelfSubjectReview>::all(ali)
        .create(&PostParams::default(), &review)
        .await
        .unwrap();
    assert_eq!(
        me.status.unwrap().user_info.unwrap().username.as_deref(),
        Some("ali")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_grants_what_he_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let bind = |name: &str, role: &str, user: &str| -> RoleBinding {
        object(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }))
    };
    let of = |client| Api::<RoleBinding>::namespaced(client, "default");
    let admin = of(server.admin().await);
    admin
        .create(&PostParams::default(), &bind("ann", "admin", "ann"))
        .await
        .unwrap();
    let ann = of(server.client("ann", &[]).await);
    let view = bind("bob", "view", "bob");
    for _ in 0..100 {
        if ann.create(&PostParams::default(), &view).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        ann.get("bob").await.is_ok(),
        "what she holds she may pass on"
    );
    let more = ann
        .create(
            &PostParams::default(),
            &bind("carl", "cluster-admin", "carl"),
        )
        .await;
    let words = more.unwrap_err().to_string();
    assert!(
        words.contains("attempting to grant RBAC permissions not currently held"),
        "{words}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_live_as_long_as_what_they_are_bound_to() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "default");
    accounts
        .create(
            &PostParams::default(),
            &object(json!({"metadata": {"name": "bot"}})),
        )
        .await
        .unwrap();
    let request: TokenRequest =
        object(json!({"spec": {"audiences": [], "expirationSeconds": 600}}));
    let granted = accounts
        .create_token_request("bot", &PostParams::default(), &request)
        .await
        .unwrap();
    let bot = server.bearer(&granted.status.unwrap().token.unwrap()).await;
    let reviews: Api<SelfSubjectReview> = Api::all(bot);
    let me = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    let user = me.status.unwrap().user_info.unwrap();
    assert_eq!(
        user.username.as_deref(),
        Some("system:serviceaccount:default:bot")
    );
    assert!(
        user.groups
            .unwrap()
            .contains(&"system:serviceaccounts:default".to_owned())
    );
    accounts
        .delete("bot", &DeleteParams::default())
        .await
        .unwrap();
    assert!(
        reviews
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await
            .is_err()
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_get_addresses_and_give_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let services: Api<Service> = Api::namespaced(server.admin().await, "default");
    let service = |name: &str, ip: Option<&str>| -> Service {
        object(
            json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "clusterIP": ip, "ports": [{"port": 80}]}}),
        )
    };
    let a = services
        .create(&PostParams::default(), &service("a", None))
        .await
        .unwrap();
    let spec = a.spec.unwrap();
    let ip = spec.cluster_ip.unwrap();
    assert!(
        ip.starts_with("10.96.")
            && spec.ports.unwrap()[0]
                .node_port
                .is_some_and(|p| (30000..=32767).contains(&p))
    );
    let error = services
        .create(&PostParams::default(), &service("b", Some(&ip)))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("provided IP is already allocated"),
        "{error}"
    );
    server.stop().await;
    // What is taken is known again after a restart.
    let server = Server::start(dir.path()).await;
    let services: Api<Service> = Api::namespaced(server.admin().await, "default");
    assert!(
        services
            .create(&PostParams::default(), &service("b", Some(&ip)))
            .await
            .is_err()
    );
    services
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();
    services
        .create(&PostParams::default(), &service("b", Some(&ip)))
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_bound_and_deleted_with_grace() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "default");
    accounts
        .create(
            &PostParams::default(),
            &object(json!({"metadata": {"name": "default"}})),
        )
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
    let pod: Pod = object(
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    );
    let made = pods.create(&PostParams::default(), &pod).await.unwrap();
    let spec = made.spec.unwrap();
    assert!(
        spec.volumes.unwrap()[0]
            .name
            .starts_with("kube-api-access-")
    );
    assert_eq!(spec.tolerations.unwrap().len(), 2);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let request = http::Request::post("/api/v1/namespaces/default/pods/p/binding")
        .body(binding.to_string().into_bytes())
        .unwrap();
    admin.request_text(request).await.unwrap();
    assert_eq!(
        pods.get("p")
            .await
            .unwrap()
            .spec
            .unwrap()
            .node_name
            .as_deref(),
        Some("n")
    );
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        pods.get("p")
            .await
            .unwrap()
            .metadata
            .deletion_grace_period_seconds,
        Some(30)
    );
    pods.delete("p", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_what_was_written_and_what_users_changed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    let patch = Patch::Json::<()>(knarr_json::from_value(json!([
        {"op": "add", "path": "/rules/-", "value": {"verbs": ["get"], "apiGroups": ["example.test"], "resources": ["things"]}}
    ])).unwrap());
    roles
        .patch("system:basic-user", &PatchParams::default(), &patch)
        .await
        .unwrap();
    Api::<Namespace>::all(admin)
        .create(
            &PostParams::default(),
            &object(json!({"metadata": {"name": "kept"}})),
        )
        .await
        .unwrap();
    server.stop().await;
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    assert!(
        Api::<Namespace>::all(admin.clone())
            .get("kept")
            .await
            .is_ok()
    );
    let role = Api::<ClusterRole>::all(admin)
        .get("system:basic-user")
        .await
        .unwrap();
    assert!(role.rules.unwrap().iter().any(|r| {
        r.resources
            .as_ref()
            .is_some_and(|r| r.contains(&"things".to_owned()))
    }));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_documents_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    for (path, part) in [
        ("/version", "v1.36"),
        ("/healthz", "ok"),
        ("/readyz?verbose", "readyz check passed"),
        ("/api", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/api/v1", "\"pods/log\""),
        ("/apis/apps/v1", "\"deployments/scale\""),
        ("/openapi/v3", "/openapi/v3/apis/apps/v1?hash="),
        ("/openapi/v3/api/v1", "io.k8s.api.core.v1.Pod"),
        ("/openid/v1/jwks", "keys"),
    ] {
        let text = get(&admin, path).await.unwrap();
        assert!(
            text.contains(part),
            "{path}: {}",
            &text[..text.len().min(200)]
        );
    }
    let aggregated = http::Request::get("/apis")
        .header(
            "accept",
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
        )
        .body(Vec::new())
        .unwrap();
    let document: Value =
        serde_json::from_str(&admin.request_text(aggregated).await.unwrap()).unwrap();
    assert_eq!(document["kind"], "APIGroupDiscoveryList");
    assert!(
        document["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|g| g["metadata"]["name"] == "apps")
    );
    server.stop().await;
}

/// What is given empty is shown empty, what is not given as null, whether the body is JSON or not.
#[tokio::test(flavor = "multi_thread")]
async fn refused_values_are_shown_as_they_were_given() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let template = r#"{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}"#;
    let rules = |policy: &str| {
        format!(
            r#"{{"metadata":{{"name":"j"}},"spec":{{"successPolicy":{policy},"template":{template}}}}}"#
        )
    };
    let codes = |codes: &str| {
        let rule = format!(r#"{{"action":"Ignore","onExitCodes":{codes}}}"#);
        format!(
            r#"{{"metadata":{{"name":"j"}},"spec":{{"podFailurePolicy":{{"rules":[{rule}]}},"template":{template}}}}}"#
        )
    };
    for (kind, body, want) in [
        (
            "json",
            rules(r#"{"rules":[]}"#),
            r#"{"Rules":[]}: requires"#,
        ),
        (
            "yaml",
            rules(r#"{"rules":[]}"#),
            r#"{"Rules":[]}: requires"#,
        ),
        ("json", rules("{}"), r#"{"Rules":null}: requires"#),
        (
            "json",
            codes(r#"{"operator":"In","values":[]}"#),
            "[]: at least one",
        ),
        ("json", codes(r#"{"operator":"In"}"#), "null: at least one"),
    ] {
        let request = http::Request::post("/apis/batch/v1/namespaces/default/jobs")
            .header("content-type", format!("application/{kind}"))
            .body(body.clone().into_bytes())
            .unwrap();
        let error = client.request_text(request).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("Invalid value: {want}")),
            "{body}: {text}"
        );
    }
}

/// The same of what patches make and configurations say.
#[tokio::test(flavor = "multi_thread")]
async fn patched_values_are_shown_as_they_were_given() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let service = r#"{"service":{"name":"s","port":{"number":80}}}"#;
    let made = format!(r#"{{"metadata":{{"name":"i"}},"spec":{{"defaultBackend":{service}}}}}"#);
    let request = http::Request::post(ingresses).header("content-type", "application/json");
    let request = request.body(made.into_bytes()).unwrap();
    client.request_text(request).await.unwrap();
    let applied = |name: &str, spec: &str| {
        format!(
            r#"{{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{{"name":"{name}"}},"spec":{spec}}}"#
        )
    };
    for (name, kind, patch, want) in [
        (
            "i",
            "merge-patch+json",
            r#"{"spec":{"defaultBackend":null,"rules":[]}}"#.to_owned(),
            "[]",
        ),
        (
            "i",
            "merge-patch+json",
            r#"{"spec":{"defaultBackend":null}}"#.to_owned(),
            "null",
        ),
        (
            "i",
            "strategic-merge-patch+json",
            r#"{"spec":{"defaultBackend":null,"rules":[]}}"#.to_owned(),
            "[]",
        ),
        (
            "i",
            "json-patch+json",
            r#"[{"op":"replace","path":"/spec","value":{"rules":[]}}]"#.to_owned(),
            "[]",
        ),
        (
            "i",
            "json-patch+json",
            r#"[{"op":"remove","path":"/spec"}]"#.to_owned(),
            "null",
        ),
        (
            "j",
            "apply-patch+yaml",
            applied("j", r#"{"rules":[]}"#),
            "[]",
        ),
        ("j", "apply-patch+yaml", applied("j", "{}"), "null"),
    ] {
        let request = http::Request::patch(format!("{ingresses}/{name}?fieldManager=m"))
            .header("content-type", format!("application/{kind}"))
            .body(patch.clone().into_bytes())
            .unwrap();
        let text = client.request_text(request).await.unwrap_err().to_string();
        let want = format!("Invalid value: {want}: either `defaultBackend` or `rules`");
        assert!(text.contains(&want), "{kind} {patch}: {text}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_kinds_do_not_take_head() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    for (method, path, want) in [
        ("GET", "/api/v1/namespaces/default", 200),
        ("HEAD", "/api/v1/namespaces/default", 405),
        ("HEAD", "/api/v1/namespaces", 405),
        (
            "HEAD",
            "/api/v1/namespaces/default/services/none/proxy",
            404,
        ),
        ("HEAD", "/healthz", 200),
    ] {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.body(kube::client::Body::empty()).unwrap();
        let code = client.send(request).await.unwrap().status().as_u16();
        assert_eq!(code, want, "{method} {path}");
    }
    server.stop().await;
}
