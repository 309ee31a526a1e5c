use super::*;
use crate::authz::selectors;

fn ask(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        verb: verb.into(),
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        is_resource: true,
        ..Attributes::default()
    }
}

#[test]
fn leases_csinodes_and_nodes_are_the_nodes_own() {
    let lease_ns = "kube-node-lease";
    let group = "coordination.k8s.io";
    let table = [
        (
            lease("n", &ask("get", group, "leases", lease_ns, "n")),
            true,
        ),
        (
            lease("n", &ask("get", group, "leases", lease_ns, "m")),
            false,
        ),
        (
            lease("n", &ask("create", group, "leases", lease_ns, "")),
            true,
        ),
        (
            lease("n", &ask("list", group, "leases", lease_ns, "")),
            false,
        ),
        (
            lease("n", &ask("get", group, "leases", "default", "n")),
            false,
        ),
        (csi_node("n", &ask("patch", "", "csinodes", "", "n")), true),
        (
            csi_node("n", &ask("delete", "", "csinodes", "", "m")),
            false,
        ),
        (own_node("n", &ask("get", "", "nodes", "", "n")), true),
        (own_node("n", &ask("list", "", "nodes", "", "")), false),
        (own_node("n", &ask("watch", "", "nodes", "", "m")), false),
        (
            own_node("n", &ask("patch", "", "nodes/status", "", "n")),
            true,
        ),
        (own_node("n", &ask("delete", "", "nodes", "", "n")), false),
    ];
    for (n, (got, want)) in table.into_iter().enumerate() {
        assert_eq!(got.is_ok(), want, "row {n}: {got:?}");
    }
}

#[tokio::test]
async fn pods_make_objects_their_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let registry = knarr_api::builtin::registry();
    let options = knarr_store::Options::new(dir.path());
    let store = Store::open(options, crate::head_of(&registry))
        .await
        .unwrap();
    let put = |key: &str, object: Value| {
        let head = registry_head(&registry, key, &object);
        let value = knarr_api::head::Encoded::new(&object).unwrap();
        store.write(knarr_store::Write::Create {
            key: key.to_owned(),
            value,
            head,
        })
    };
    let pod = knarr_json::json!({"metadata": {"name": "p", "namespace": "a", "uid": "1"}, "spec": {
        "nodeName": "n", "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    put("/registry/pods/a/p", pod).await.unwrap();
    let volume = knarr_json::json!({"metadata": {"name": "pv"}, "spec": {
        "claimRef": {"namespace": "a", "name": "c"},
        "csi": {"nodePublishSecretRef": {"namespace": "b", "name": "mount"}}}});
    put("/registry/persistentvolumes/pv", volume).await.unwrap();
    let nodes = Nodes::new(store.clone());
    let may = |node: &str, mut ask: Attributes| {
        ask.user = UserInfo::new(&format!("system:node:{node}"), ["system:nodes"]);
        nodes.decide(&ask).allowed
    };
    let table = [
        (ask("get", "", "secrets", "a", "pull"), true),
        (ask("watch", "", "secrets", "a", "pull"), true),
        (ask("get", "", "secrets", "a", "other"), false),
        (ask("list", "", "secrets", "a", ""), false),
        (ask("get", "", "secrets", "b", "mount"), true),
        (ask("get", "", "persistentvolumeclaims", "a", "c"), true),
        (ask("get", "", "persistentvolumes", "", "pv"), true),
        (ask("create", "", "serviceaccounts/token", "a", "sa"), true),
        (
            ask("create", "", "serviceaccounts/token", "a", "default"),
            false,
        ),
        (ask("get", "", "pods", "a", "p"), true),
        (ask("list", "", "pods", "", ""), false),
        (ask("get", "", "services", "a", "s"), true),
        (ask("delete", "", "services", "a", "s"), false),
    ];
    for (ask, want) in table {
        assert_eq!(may("n", ask.clone()), want, "{ask:?}");
        let of_any = matches!(ask.resource.as_str(), "services");
        assert_eq!(
            may("m", ask.clone()),
            want && of_any,
            "another node: {ask:?}"
        );
    }
    let secret = ask("get", "", "secrets", "a", "pull");
    assert!(!may("system:node:n", secret), "a prefix is one only once");
    let own = Attributes {
        fields: selectors::fields("spec.nodeName=n"),
        ..ask("list", "", "pods", "", "")
    };
    assert!(may("n", own.clone()) && !may("m", own));
    let revision = store.get("/registry/pods/a/p").unwrap().revision;
    let delete = knarr_store::Write::Delete {
        key: "/registry/pods/a/p".into(),
        expect: revision,
    };
    store.write(delete).await.unwrap();
    assert!(
        !may("n", ask("get", "", "secrets", "a", "pull")),
        "the pod is gone"
    );
    store.close().await;
}

fn registry_head(registry: &knarr_api::Registry, key: &str, object: &Value) -> knarr_api::Head {
    crate::head_of(registry)(key, object.to_string().as_bytes())
}
