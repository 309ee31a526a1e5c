//! A cluster with a node, and plain requests to it.

use common::{Cluster, eventually};
use knarr_controllers::Config;
use serde_json::{Value, json};

use crate::common;

pub const APPS: &str = "/apis/apps/v1/namespaces/default";
pub const CORE: &str = "/api/v1/namespaces/default";

pub struct World(Cluster);

impl World {
    /// API server, controllers, scheduler and a node.
    pub async fn start() -> Self {
        let config = Config {
            root_ca: "PEM".into(),
            ..Config::default()
        };
        let cluster = Cluster::start(config).await;
        cluster.add_node("n1").await;
        World(cluster)
    }

    /// A node whose pods never become ready, and where only those go that are [`doomed`].
    pub async fn add_dead_node(&self) {
        self.0.add_node("dead").await;
        let taints = json!([{"key": "dead", "effect": "NoSchedule"}]);
        let taint = json!({"spec": {"taints": taints}});
        self.patch("/api/v1/nodes/dead", taint).await;
    }

    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Value, u16> {
        let kind = match method {
            "PATCH" => "application/strategic-merge-patch+json",
            _ => "application/json",
        };
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .body(body)
            .expect("a request");
        match self.0.client.request::<Value>(request).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(other) => panic!("{method} {path}: {other}"),
        }
    }

    async fn expect(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.ask(method, path, body).await;
        answer.unwrap_or_else(|code| panic!("{method} {path}: {code}"))
    }

    pub async fn make(&self, path: &str, body: Value) -> Value {
        self.expect("POST", path, body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.expect("GET", path, Value::Null).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Value {
        self.expect("PATCH", path, body).await
    }

    pub async fn delete(&self, path: &str, policy: &str) {
        let options =
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        self.expect("DELETE", path, options).await;
    }

    pub async fn items(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await;
        list["items"].as_array().expect("a list").clone()
    }

    /// Waits until the object is as it should be.
    pub async fn until(&self, path: &str, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        let found = async || self.ask("GET", path, Value::Null).await.ok();
        eventually(&format!("{path} is {what}"), || async {
            found().await.is_some_and(|o| check(&o))
        })
        .await;
        self.get(path).await
    }

    pub async fn until_gone(&self, path: &str) {
        eventually(&format!("{path} is gone"), || async {
            self.ask("GET", path, Value::Null).await == Err(404)
        })
        .await;
    }

    /// Waits until a list has so many items that are as they should be, and no others.
    pub async fn until_all(
        &self,
        path: &str,
        count: usize,
        check: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let all = |items: &[Value]| items.len() == count && items.iter().all(&check);
        eventually(&format!("{count} in {path}"), || async {
            all(&self.items(path).await)
        })
        .await;
        self.items(path).await
    }
}

/// A workload of this many pods with an image; its pods have the label `app` of this value.
pub fn workload(name: &str, app: &str, replicas: u32, image: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": app}}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": template(app, image)}})
}

pub fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

/// Sends the pods of a template to the node where none becomes ready.
pub fn doomed(mut template: Value) -> Value {
    template["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "dead"});
    template["spec"]["tolerations"] = json!([{"key": "dead", "operator": "Exists"}]);
    template
}

pub fn owners(object: &Value) -> Vec<String> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let names = owners.into_iter().flatten().map(|o| o["name"].as_str());
    names.map(|n| n.expect("a name").to_owned()).collect()
}

pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

pub fn runs(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
}
