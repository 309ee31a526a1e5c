//! What a cluster has from the start: namespaces, the `kubernetes` Service, RBAC's default roles, priority classes, priority
//! and fairness, the range of Service addresses.
//!
//! Everything is written through the server's own chain, so that it is defaulted and checked as if a client had sent it;
//! all at once, so that one sync makes it durable.

mod endpoint;
mod extension;
mod ranges;
mod roles;

use std::{collections::HashSet, sync::Arc};

use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use knarr_api::strategy::flowcontrol;
use knarr_json::{Value, json};

use crate::{
    UserInfo, aggregation, body,
    chain::{self, Peer},
    leaks, respond,
    server::Shared,
    user::MASTERS,
};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

pub(crate) use roles::node_rules;

/// # Errors
/// The first object that could not be written, and why.
pub(crate) async fn run(shared: &Arc<Shared>) -> Result<(), String> {
    let client = Client::new(shared.clone());
    let namespaces = NAMESPACES.map(|name| {
        client.ensure(
            "/api/v1/namespaces",
            "/registry/namespaces/",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        )
    });
    futures::future::try_join_all(namespaces).await?;
    ranges::addresses(&client).await?;
    leaks::mark_all(shared).await;
    shared.addresses.reload();
    tokio::try_join!(
        roles(&client),
        classes(&client),
        endpoint::publish(&client),
        fairness(&client),
        ranges::publish(&client),
        aggregation::register(&client, shared),
        extension::publish(&client, &shared.extension_authentication),
    )?;
    Ok(())
}

/// Priority levels, and the flows that lead to them.
async fn fairness(client: &Client) -> Result<(), String> {
    let ensure = |plural: &'static str, object: Value| async move {
        let path = format!("/apis/flowcontrol.apiserver.k8s.io/v1/{plural}");
        let prefix = format!("/registry/{plural}/");
        client.ensure(&path, &prefix, object).await
    };
    let levels = flowcontrol::fixed::levels();
    let levels = levels
        .into_iter()
        .map(|l| ensure("prioritylevelconfigurations", l));
    let schemas = flowcontrol::fixed::schemas();
    let schemas = schemas.into_iter().map(|s| ensure("flowschemas", s));
    tokio::try_join!(
        futures::future::try_join_all(levels),
        futures::future::try_join_all(schemas)
    )?;
    Ok(())
}

async fn classes(client: &Client) -> Result<(), String> {
    let class = |name: &str, value: i64, description: &str| {
        let object = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "description": description,
        });
        client.ensure(
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            "/registry/priorityclasses/",
            object,
        )
    };
    let node = class(
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    );
    let cluster = class(
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    );
    tokio::try_join!(node, cluster).map(|_| ())
}

/// Creates the default roles and bindings that are missing, and gives those there are the rules and subjects they lack.
/// What users added stays; roles that they took out of automatic updates are left alone.
async fn roles(client: &Client) -> Result<(), String> {
    let all = roles::all();
    futures::future::try_join_all(all.into_iter().map(|object| reconcile(client, object))).await?;
    Ok(())
}

async fn reconcile(client: &Client, wanted: Value) -> Result<(), String> {
    let (path, prefix, list) = match wanted["kind"].as_str() {
        Some("ClusterRole") => (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
            "/registry/clusterroles/".to_owned(),
            "rules",
        ),
        Some("ClusterRoleBinding") => (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
            "/registry/clusterrolebindings/".to_owned(),
            "subjects",
        ),
        kind => {
            let namespace = wanted["metadata"]["namespace"].as_str().unwrap_or_default();
            let (plural, list) = if kind == Some("Role") {
                ("roles", "rules")
            } else {
                ("rolebindings", "subjects")
            };
            let path =
                format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{plural}");
            (path, format!("/registry/{plural}/{namespace}/"), list)
        }
    };
    let Some(old) = client.stored(&prefix, &wanted) else {
        return client.ensure(&path, &prefix, wanted).await;
    };
    match updated(&old, &wanted, list) {
        Some(new) => {
            let name = new["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            client
                .send(Method::PUT, &format!("{path}/{name}"), &new)
                .await
        }
        None => Ok(()),
    }
}

/// The old object with what it lacks; none when it lacks nothing or is not to be touched. Pure.
fn updated(old: &Value, wanted: &Value, list: &str) -> Option<Value> {
    if old["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] != "true"
        || wanted["aggregationRule"].is_object()
    {
        return None;
    }
    let have: HashSet<String> = old[list]
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect();
    let missing: Vec<Value> = wanted[list]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|v| !have.contains(&v.to_string()))
        .cloned()
        .collect();
    if missing.is_empty() {
        return None;
    }
    let mut new = old.clone();
    match new[list].as_array_mut() {
        Some(there) => there.extend(missing),
        None => new[list] = missing.into(),
    }
    Some(new)
}

/// Requests of the server to itself.
pub(crate) struct Client {
    shared: Arc<Shared>,
    peer: Peer,
}

impl Client {
    pub fn new(shared: Arc<Shared>) -> Self {
        Client {
            shared,
            peer: Peer::Local(Arc::new(UserInfo::new("system:apiserver", [MASTERS]))),
        }
    }

    /// The stored object of the same name.
    pub fn stored(&self, prefix: &str, object: &Value) -> Option<Value> {
        let name = object["metadata"]["name"].as_str()?;
        let stored = self.shared.store.get(&format!("{prefix}{name}"))?;
        serde_json::from_slice(&stored.json).ok()
    }

    /// Creates an object unless it is there.
    pub async fn ensure(
        &self,
        collection: &str,
        prefix: &str,
        object: Value,
    ) -> Result<(), String> {
        if self.stored(prefix, &object).is_some() {
            return Ok(());
        }
        self.send(Method::POST, collection, &object).await
    }

    /// # Errors
    /// The answer, when it is a refusal. Kinds that are not served are left out.
    pub async fn send(&self, method: Method, path: &str, object: &Value) -> Result<(), String> {
        let (code, answer) = self.request(method, path, object).await?;
        if code.is_success() || code == StatusCode::CONFLICT {
            return Ok(());
        }
        if code == StatusCode::NOT_FOUND {
            tracing::debug!(path, "not served: default object left out");
            return Ok(());
        }
        let name = &object["metadata"]["name"];
        Err(format!("{path} {name}: {}", answer.trim()))
    }

    /// Applies a configuration; `path` has the query that says on whose behalf.
    ///
    /// # Errors
    /// The answer, when it is a refusal. What is not there is left alone.
    pub async fn apply(&self, path: &str, object: &Value) -> Result<(), String> {
        const APPLY: &str = "application/apply-patch+yaml";
        let (code, answer) = self.send_as(Method::PATCH, path, APPLY, object).await?;
        if code.is_success() || code == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(format!("{path}: {}", answer.trim()))
    }

    /// Patches an object with what is to be otherwise.
    ///
    /// # Errors
    /// The answer, when it is a refusal.
    pub async fn merge(&self, path: &str, object: &Value) -> Result<(), String> {
        const MERGE: &str = "application/merge-patch+json";
        let (code, answer) = self.send_as(Method::PATCH, path, MERGE, object).await?;
        if code.is_success() {
            return Ok(());
        }
        Err(format!("{path}: {}", answer.trim()))
    }

    /// Sends a body, and gives the code and text of the answer.
    ///
    /// # Errors
    /// When the request makes no sense or the answer breaks off.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, String), String> {
        self.send_as(method, path, respond::JSON, body).await
    }

    async fn send_as(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<(StatusCode, String), String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::USER_AGENT, "kube-apiserver")
            .body(body::full(body.to_string()))
            .map_err(|e| e.to_string())?;
        let response = chain::handle(self.shared.clone(), request, self.peer.clone()).await;
        let code = response.status();
        let bytes = response
            .into_body()
            .collect()
            .await
            .map_err(|e| e.to_string())?
            .to_bytes();
        Ok((code, String::from_utf8_lossy(&bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_get_what_they_lack_and_keep_the_rest() {
        let annotations = json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
        let old = json!({"metadata": {"annotations": annotations}, "rules": [{"verbs": ["own"]}]});
        let wanted = json!({"rules": [{"verbs": ["get"]}]});
        let new = updated(&old, &wanted, "rules").unwrap();
        assert_eq!(
            new["rules"],
            json!([{"verbs": ["own"]}, {"verbs": ["get"]}])
        );
        assert_eq!(updated(&new, &wanted, "rules"), None);
        assert_eq!(updated(&json!({"rules": []}), &wanted, "rules"), None);
    }
}
