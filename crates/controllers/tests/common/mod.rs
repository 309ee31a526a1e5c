//! A control plane in this process, with a stand-in for kubelets: pods that are bound run and are ready at once.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{fmt::Debug, future::Future, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Node, Pod, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use knarr_apiserver::{ApiServer, UserInfo};
use knarr_client::{Change, Informers};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub struct Cluster {
    pub client: Client,
    _api: ApiServer,
    _tasks: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// API server, controllers and scheduler.
    pub async fn start(config: knarr_controllers::Config) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let registry = knarr_api::builtin::registry();
        let heads = knarr_apiserver::head_of(&registry);
        let store = knarr_store::Store::open(knarr_store::Options::new(dir.path()), heads)
            .await
            .expect("a store");
        let ranges = vec!["10.96.0.0/16".parse().expect("a range")];
        let api = ApiServer::new(knarr_apiserver::Config::new(store, registry, ranges))
            .await
            .expect("an API server");
        let client = knarr_client::in_process(
            api.service(UserInfo::new("system:admin", ["system:masters"])),
            "test",
        );
        let informers = Informers::new(client.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(knarr_controllers::run(informers.clone(), config));
        tasks.spawn(knarr_scheduler::run(
            informers.clone(),
            knarr_scheduler::Config::default(),
        ));
        tasks.spawn(kubelets(informers));
        let cluster = Cluster {
            client,
            _api: api,
            _tasks: tasks,
            _dir: dir,
        };
        // Pods are refused until their namespace has its account.
        let accounts: Api<ServiceAccount> = cluster.api();
        cluster.until(&accounts, "default", "there", |_| true).await;
        cluster
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create<K>(&self, api: &Api<K>, object: Value) -> K
    where
        K: Clone + DeserializeOwned + Serialize + Debug,
    {
        let object = serde_json::from_value(object).expect("an object");
        api.create(&PostParams::default(), &object)
            .await
            .expect("created")
    }

    /// A node that is ready, with 4 cpus.
    pub async fn add_node(&self, name: &str) {
        let api: Api<Node> = Api::all(self.client.clone());
        self.create(
            &api,
            json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}),
        )
        .await;
        let allocatable = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        let ready =
            json!({"type": "Ready", "status": "True", "lastHeartbeatTime": Time(Timestamp::now())});
        let status = json!({"status": {"capacity": allocatable, "allocatable": allocatable, "conditions": [ready]}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .expect("a status");
    }

    /// Waits until the object is as it should be.
    pub async fn until<K>(
        &self,
        api: &Api<K>,
        name: &str,
        what: &str,
        test: impl Fn(&K) -> bool,
    ) -> K
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let mut last = None;
        for _ in 0..1500 {
            last = api.get_opt(name).await.expect("an answer");
            if let Some(object) = last.as_ref().filter(|o| test(o)) {
                return object.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} never came to be {what}: {last:#?}");
    }

    /// Waits until the object is gone.
    pub async fn until_gone<K: Clone + DeserializeOwned + Debug>(&self, api: &Api<K>, name: &str) {
        let mut last = None;
        for _ in 0..1500 {
            last = api.get_opt(name).await.expect("an answer");
            if last.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} never went: {last:#?}");
    }
}

/// Waits until `test` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, test: impl Fn() -> F) {
    for _ in 0..1500 {
        if test().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

async fn kubelets(informers: Informers) {
    let pods = informers.of::<Pod>();
    let mut changes = pods.subscribe();
    let mut next = 0u32;
    while let Some(change) = changes.recv().await {
        let Change::Applied { new, .. } = change else {
            continue;
        };
        let bound = new
            .spec
            .as_ref()
            .and_then(|s| s.node_name.as_deref())
            .is_some_and(|n| !n.starts_with("dead"));
        if !bound {
            continue;
        }
        let api: Api<Pod> = Api::namespaced(
            informers.client().clone(),
            &new.namespace().unwrap_or_default(),
        );
        let started = new.status.as_ref().is_some_and(|s| s.pod_ip.is_some());
        next += u32::from(!started);
        tokio::spawn(settle(api, new, started, next));
    }
}

async fn settle(api: Api<Pod>, pod: Arc<Pod>, started: bool, number: u32) {
    // Whatever fails is tried again with the pod's next change; a test that needs it waits in vain and says so.
    if pod.metadata.deletion_timestamp.is_some() {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        let _ = api.delete(&pod.name_any(), &now).await;
    } else if !started {
        let ip = format!("10.244.{}.{}", number / 250, number % 250 + 1);
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": Time(Timestamp::now())});
        let status =
            json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [ready]});
        let patch = Patch::Strategic(json!({"status": status}));
        let _ = api
            .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await;
    }
}
