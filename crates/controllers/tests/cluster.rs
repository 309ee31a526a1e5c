//! The controllers and the scheduler against the real API server, in one process.

mod common;

use std::time::Duration;

use common::{Cluster, eventually};
use k8s_openapi::api::{
    admissionregistration::v1::ValidatingAdmissionPolicy,
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{
        ConfigMap, Endpoints, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount,
    },
    discovery::v1::EndpointSlice,
};
use knarr_controllers::Config;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy},
};
use serde_json::{Value, json};

fn deployment(replicas: i32, image: &str) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 80}]}]},
            },
        },
    })
}

async fn patch(api: &Api<Deployment>, spec: Value) {
    let patch = Patch::Strategic(json!({"spec": spec}));
    api.patch("web", &PatchParams::default(), &patch)
        .await
        .expect("patched");
}

fn image(image: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}})
}

/// All replicas updated and available, and no other left.
fn settled(d: &Deployment) -> bool {
    let wanted = d.spec.as_ref().and_then(|s| s.replicas);
    d.status.as_ref().is_some_and(|s| {
        s.observed_generation == d.metadata.generation
            && s.replicas == wanted
            && s.updated_replicas == wanted
            && s.available_replicas == wanted
            && s.unavailable_replicas.is_none()
    })
}

fn revision(d: &Deployment) -> &str {
    &d.annotations()["deployment.kubernetes.io/revision"]
}

fn addresses(slice: &EndpointSlice) -> usize {
    let all = slice.endpoints.iter().flatten();
    all.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_and_back_behind_its_service() {
    let cluster = Cluster::start(Config::default()).await;
    cluster.add_node("n1").await;
    let deployments: Api<Deployment> = cluster.api();
    let sets: Api<ReplicaSet> = cluster.api();
    let pods: Api<Pod> = cluster.api();
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"},
        "ports": [{"name": "http", "port": 8080, "targetPort": "http"}]}});
    cluster.create(&cluster.api::<Service>(), service).await;
    cluster.create(&deployments, deployment(3, "a")).await;
    let d = cluster
        .until(&deployments, "web", "rolled out", settled)
        .await;
    assert_eq!(revision(&d), "1");
    let progress = d.status.unwrap().conditions.unwrap();
    assert!(
        progress
            .iter()
            .any(|c| c.type_ == "Progressing"
                && c.reason.as_deref() == Some("NewReplicaSetAvailable"))
    );

    let of_service = ListParams::default().labels("kubernetes.io/service-name=web");
    let slices: Api<EndpointSlice> = cluster.api();
    eventually("three ready endpoints in one slice", || async {
        let all = slices.list(&of_service).await.unwrap().items;
        all.len() == 1
            && addresses(&all[0]) == 3
            && all[0].ports.as_ref().unwrap()[0].port == Some(80)
    })
    .await;
    let endpoints: Api<Endpoints> = cluster.api();
    let three = |e: &Endpoints| {
        e.subsets
            .iter()
            .flatten()
            .flat_map(|s| s.addresses.iter().flatten())
            .count()
            == 3
    };
    cluster
        .until(&endpoints, "web", "of three addresses", three)
        .await;

    patch(&deployments, image("b")).await;
    let second = |d: &Deployment| settled(d) && revision(d) == "2";
    cluster
        .until(&deployments, "web", "at revision 2", second)
        .await;
    assert_eq!(
        sets.list(&ListParams::default()).await.unwrap().items.len(),
        2
    );
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    assert!(
        all.iter()
            .all(|p| p.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("b"))
    );

    // Back to the first template: its set is used again, under a new revision.
    patch(&deployments, image("a")).await;
    let third = |d: &Deployment| settled(d) && revision(d) == "3";
    cluster
        .until(&deployments, "web", "at revision 3", third)
        .await;
    assert_eq!(
        sets.list(&ListParams::default()).await.unwrap().items.len(),
        2
    );

    patch(&deployments, json!({"replicas": 5})).await;
    cluster.until(&deployments, "web", "of five", settled).await;
    patch(&deployments, json!({"replicas": 1})).await;
    cluster.until(&deployments, "web", "of one", settled).await;
    eventually("one pod", || async {
        pods.list(&ListParams::default()).await.unwrap().items.len() == 1
    })
    .await;

    deployments
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    eventually("all collected", || async {
        let none = sets
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty();
        none && pods
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    })
    .await;
    eventually("no endpoints", || async {
        let all = slices.list(&of_service).await.unwrap().items;
        all.len() == 1 && addresses(&all[0]) == 0
    })
    .await;
    cluster
        .api::<Service>()
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    cluster.until_gone(&endpoints, "web").await;
    eventually("no slices", || async {
        slices.list(&of_service).await.unwrap().items.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreate_pausing_and_revision_limit() {
    let cluster = Cluster::start(Config::default()).await;
    cluster.add_node("n1").await;
    let deployments: Api<Deployment> = cluster.api();
    let mut object = deployment(2, "a");
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    object["spec"]["revisionHistoryLimit"] = json!(1);
    cluster.create(&deployments, object).await;
    cluster
        .until(&deployments, "web", "rolled out", settled)
        .await;
    for (revision_number, name) in [("2", "b"), ("3", "c"), ("4", "d")] {
        patch(&deployments, image(name)).await;
        let done = |d: &Deployment| settled(d) && revision(d) == revision_number;
        cluster.until(&deployments, "web", name, done).await;
    }
    let sets: Api<ReplicaSet> = cluster.api();
    eventually("one old set kept", || async {
        sets.list(&ListParams::default()).await.unwrap().items.len() == 2
    })
    .await;

    patch(&deployments, json!({"paused": true})).await;
    patch(&deployments, image("e")).await;
    let paused = |d: &Deployment| {
        let all = d.status.as_ref().and_then(|s| s.conditions.as_ref());
        let reason = all
            .into_iter()
            .flatten()
            .find(|c| c.type_ == "Progressing")
            .and_then(|c| c.reason.as_deref());
        reason == Some("DeploymentPaused")
            && d.status.as_ref().unwrap().observed_generation == d.metadata.generation
    };
    cluster.until(&deployments, "web", "paused", paused).await;
    // No set for the new template, so the current one counts among the old: of those the limit keeps one.
    let left = sets.list(&ListParams::default()).await.unwrap().items;
    let images: Vec<_> = left
        .iter()
        .map(|s| s.spec.as_ref().unwrap().template.as_ref().unwrap())
        .map(|t| t.spec.as_ref().unwrap().containers[0].image.clone())
        .collect();
    assert_eq!(images, [Some("d".to_owned())]);
    patch(&deployments, json!({"paused": false})).await;
    let done = |d: &Deployment| settled(d) && revision(d) == "5";
    cluster
        .until(&deployments, "web", "at revision 5", done)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_gets_its_defaults_and_goes_with_all_that_is_in_it() {
    let cluster = Cluster::start(Config {
        root_ca: "PEM".into(),
        ..Config::default()
    })
    .await;
    cluster.add_node("n1").await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    cluster
        .create(&namespaces, json!({"metadata": {"name": "ns"}}))
        .await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "ns");
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "ns");
    cluster.until(&accounts, "default", "there", |_| true).await;
    cluster
        .until(&maps, "kube-root-ca.crt", "there", |m| {
            m.data.as_ref().unwrap()["ca.crt"] == "PEM"
        })
        .await;
    // Both come back when somebody deletes them.
    accounts
        .delete("default", &DeleteParams::default())
        .await
        .unwrap();
    cluster
        .until(&accounts, "default", "there again", |_| true)
        .await;

    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "ns");
    cluster.create(&pods, json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})).await;
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    cluster.create(&maps, held).await;
    namespaces
        .delete("ns", &DeleteParams::default())
        .await
        .unwrap();
    let remaining = |n: &Namespace| {
        let all = n.status.as_ref().and_then(|s| s.conditions.as_ref());
        let message = all
            .into_iter()
            .flatten()
            .find(|c| c.type_ == "NamespaceFinalizersRemaining");
        let words = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances";
        message.and_then(|c| c.message.as_deref()) == Some(words)
    };
    cluster.until(&namespaces, "ns", "held", remaining).await;
    assert!(pods.get_opt("p").await.unwrap().is_none());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &free)
        .await
        .unwrap();
    cluster.until_gone(&namespaces, "ns").await;
}

async fn owner_and_dependents(cluster: &Cluster) -> (Api<ConfigMap>, ConfigMap) {
    let maps: Api<ConfigMap> = cluster.api();
    let owner = cluster
        .create(&maps, json!({"metadata": {"name": "owner"}}))
        .await;
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(), "blockOwnerDeletion": true});
    for name in ["one", "two"] {
        let meta = json!({"name": name, "ownerReferences": [reference], "finalizers": ["example.com/hold"]});
        cluster.create(&maps, json!({"metadata": meta})).await;
    }
    (maps, owner)
}

async fn free(maps: &Api<ConfigMap>, name: &str) {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch(name, &PatchParams::default(), &patch)
        .await
        .expect("patched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_go_after_their_dependents_in_the_foreground() {
    let cluster = Cluster::start(Config::default()).await;
    let (maps, _) = owner_and_dependents(&cluster).await;
    maps.delete("owner", &DeleteParams::foreground())
        .await
        .unwrap();
    for name in ["one", "two"] {
        cluster
            .until(&maps, name, "going", |m| {
                m.metadata.deletion_timestamp.is_some()
            })
            .await;
        assert!(maps.get_opt("owner").await.unwrap().is_some());
        free(&maps, name).await;
        cluster.until_gone(&maps, name).await;
    }
    cluster.until_gone(&maps, "owner").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_stay_and_strays_go() {
    let cluster = Cluster::start(Config::default()).await;
    let (maps, _) = owner_and_dependents(&cluster).await;
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    maps.delete("owner", &orphan).await.unwrap();
    cluster.until_gone(&maps, "owner").await;
    for name in ["one", "two"] {
        let left = maps.get(name).await.unwrap().metadata;
        assert!(
            left.owner_references.is_none_or(|o| o.is_empty()) && left.deletion_timestamp.is_none()
        );
    }
    // One that names an owner that never was is deleted; one whose owner has another kind of scope is left alone.
    let never =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "no-such-uid"});
    cluster
        .create(
            &maps,
            json!({"metadata": {"name": "stray", "ownerReferences": [never]}}),
        )
        .await;
    cluster.until_gone(&maps, "stray").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_why_until_it_fits() {
    let cluster = Cluster::start(Config {
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        ..Config::default()
    })
    .await;
    cluster.add_node("n1").await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let ranged =
        |n: &Node| n.spec.as_ref().and_then(|s| s.pod_cidr.as_deref()) == Some("10.244.0.0/24");
    cluster.until(&nodes, "n1", "given addresses", ranged).await;
    let pods: Api<Pod> = cluster.api();
    let asking = |name: &str| {
        let resources = json!({"requests": {"cpu": "3"}});
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
    };
    cluster.create(&pods, asking("first")).await;
    let ready = |p: &Pod| p.status.as_ref().is_some_and(|s| s.pod_ip.is_some());
    cluster.until(&pods, "first", "running", ready).await;
    cluster.create(&pods, asking("second")).await;
    let words = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    let refused = |p: &Pod| {
        let all = p.status.as_ref().and_then(|s| s.conditions.as_ref());
        let scheduled = all
            .into_iter()
            .flatten()
            .find(|c| c.type_ == "PodScheduled");
        scheduled.is_some_and(|c| {
            c.reason.as_deref() == Some("Unschedulable") && c.message.as_deref() == Some(words)
        })
    };
    cluster.until(&pods, "second", "refused", refused).await;
    let events: Api<Event> = cluster.api();
    eventually("an event that says so", || async {
        let all = events.list(&ListParams::default()).await.unwrap().items;
        all.iter().any(|e| {
            e.reason.as_deref() == Some("FailedScheduling") && e.message.as_deref() == Some(words)
        })
    })
    .await;
    pods.delete("first", &DeleteParams::default())
        .await
        .unwrap();
    cluster.until(&pods, "second", "running", ready).await;
    // Room of a second node.
    cluster.create(&pods, asking("third")).await;
    cluster.until(&pods, "third", "refused", refused).await;
    cluster.add_node("n2").await;
    cluster.until(&pods, "third", "running", ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_loses_its_pods() {
    let grace = Duration::from_secs(2);
    let cluster = Cluster::start(Config {
        node_monitor_grace_period: grace,
        ..Config::default()
    })
    .await;
    cluster.add_node("n1").await;
    let pods: Api<Pod> = cluster.api();
    let patient = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists"}]);
    let hasty = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]);
    for (name, tolerations) in [("patient", patient), ("hasty", hasty)] {
        let spec = json!({"containers": [{"name": "c", "image": "i"}], "tolerations": tolerations});
        cluster
            .create(&pods, json!({"metadata": {"name": name}, "spec": spec}))
            .await;
        cluster
            .until(&pods, name, "running", |p| {
                p.status.as_ref().is_some_and(|s| s.pod_ip.is_some())
            })
            .await;
    }
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let unreachable = |n: &Node| {
        let taints = n.spec.as_ref().and_then(|s| s.taints.as_ref());
        let with = |effect: &str| {
            let is = |t: &k8s_openapi::api::core::v1::Taint| {
                t.key.ends_with("/unreachable") && t.effect == effect
            };
            taints.into_iter().flatten().any(is)
        };
        with("NoSchedule") && with("NoExecute")
    };
    cluster
        .until(&nodes, "n1", "unreachable", unreachable)
        .await;
    cluster.until_gone(&pods, "hasty").await;
    let unready = |p: &Pod| {
        let all = p.status.as_ref().and_then(|s| s.conditions.as_ref());
        all.into_iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "False")
    };
    cluster.until(&pods, "patient", "not ready", unready).await;
    // It answers again.
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2030-01-01T00:00:00Z"}]}});
    nodes
        .patch_status("n1", &PatchParams::default(), &Patch::Strategic(ready))
        .await
        .unwrap();
    let clean = |n: &Node| {
        n.spec
            .as_ref()
            .and_then(|s| s.taints.as_ref())
            .is_none_or(Vec::is_empty)
    };
    cluster.until(&nodes, "n1", "without taints", clean).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_told_what_does_not_fit_their_types() {
    let cluster = Cluster::start(Config::default()).await;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]);
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": rules},
        "validations": [
            {"expression": "object.spec.replicas > 1 && object.metadata.labels['a'] == 'b'"},
            {"expression": "object.spec.replicas > '1'"},
        ],
    }});
    cluster.create(&policies, policy).await;
    let checked = cluster
        .until(&policies, "p", "checked", |p| {
            p.status
                .as_ref()
                .is_some_and(|s| s.observed_generation.is_some())
        })
        .await;
    let status = serde_json::to_value(checked.status).unwrap();
    let warning = "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n";
    assert_eq!(
        status["typeChecking"]["expressionWarnings"],
        json!([{"fieldRef": "spec.validations[1].expression", "warning": warning}])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_account_tokens_are_filled_and_go_with_their_account() {
    let cluster = Cluster::start(Config {
        root_ca: "the authority".into(),
        service_account_key: rcgen::KeyPair::generate().unwrap().serialize_pem(),
        ..Config::default()
    })
    .await;
    let accounts: Api<ServiceAccount> = cluster.api();
    let secrets: Api<Secret> = cluster.api();
    cluster
        .create(&accounts, json!({"metadata": {"name": "bot"}}))
        .await;
    let secret = |name: &str, account: &str| {
        json!({"metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": account}},
            "type": "kubernetes.io/service-account-token"})
    };
    cluster.create(&secrets, secret("bot-token", "bot")).await;
    let filled = |s: &Secret| {
        let data = s.data.as_ref();
        ["token", "ca.crt", "namespace"]
            .iter()
            .all(|k| data.is_some_and(|d| d.get(*k).is_some_and(|v| !v.0.is_empty())))
    };
    let made = cluster.until(&secrets, "bot-token", "filled", filled).await;
    assert!(
        made.annotations()
            .contains_key("kubernetes.io/service-account.uid")
    );
    cluster.create(&secrets, secret("lost", "nobody")).await;
    cluster.until_gone(&secrets, "lost").await;
    accounts
        .delete("bot", &DeleteParams::default())
        .await
        .unwrap();
    cluster.until_gone(&secrets, "bot-token").await;
}
