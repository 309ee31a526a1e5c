//! What servers of other API groups read to know whom to believe.

use http::Method;
use knarr_json::{Map, Value, json};

use super::Client;
use crate::ExtensionAuthentication;

const COLLECTION: &str = "/api/v1/namespaces/kube-system/configmaps";
const PREFIX: &str = "/registry/configmaps/kube-system/";
const NAME: &str = "extension-apiserver-authentication";
const ROLE: &str = "extension-apiserver-authentication-reader";

/// Writes the ConfigMap, or brings it up to date; what others put into it stays.
///
/// # Errors
/// When it cannot be written.
pub async fn publish(client: &Client, told: &ExtensionAuthentication) -> Result<(), String> {
    readers(client).await?;
    let data = data(told);
    if data.is_empty() {
        return Ok(());
    }
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": "kube-system"}, "data": data});
    let Some(mut stored) = client.stored(PREFIX, &object) else {
        return client.send(Method::POST, COLLECTION, &object).await;
    };
    let before = stored["data"].clone();
    for (key, value) in data {
        stored["data"][key] = value;
    }
    if stored["data"] == before {
        return Ok(());
    }
    client
        .send(Method::PUT, &format!("{COLLECTION}/{NAME}"), &stored)
        .await
}

/// The role that lets such servers read it, and those who always may.
async fn readers(client: &Client) -> Result<(), String> {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system";
    let object = |kind: &str, name: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {
            "name": name, "namespace": "kube-system",
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        }})
    };
    let mut role = object("Role", ROLE);
    role["rules"] = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [NAME], "verbs": ["get", "list", "watch"]}]);
    let mut binding = object("RoleBinding", &format!("system::{ROLE}"));
    binding["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ROLE});
    let user =
        |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    binding["subjects"] = json!([
        user("system:kube-controller-manager"),
        user("system:kube-scheduler")
    ]);
    let (roles, bindings) = (format!("{RBAC}/roles"), format!("{RBAC}/rolebindings"));
    tokio::try_join!(
        client.ensure(&roles, "/registry/roles/kube-system/", role),
        client.ensure(&bindings, "/registry/rolebindings/kube-system/", binding),
    )?;
    Ok(())
}

fn data(told: &ExtensionAuthentication) -> Map {
    let mut out = Map::new();
    if !told.client_ca.is_empty() {
        out.insert("client-ca-file", told.client_ca.as_str().into());
    }
    if told.front_proxy_ca.is_empty() {
        return out;
    }
    let list = |names: &[&str]| Value::from(json!(names).to_string());
    let names: Vec<&str> = told.front_proxy_names.iter().map(String::as_str).collect();
    for (key, value) in [
        ("requestheader-allowed-names", list(&names)),
        (
            "requestheader-client-ca-file",
            told.front_proxy_ca.as_str().into(),
        ),
        (
            "requestheader-extra-headers-prefix",
            list(&["X-Remote-Extra-"]),
        ),
        ("requestheader-group-headers", list(&["X-Remote-Group"])),
        ("requestheader-uid-headers", list(&["X-Remote-Uid"])),
        ("requestheader-username-headers", list(&["X-Remote-User"])),
    ] {
        out.insert(key, value);
    }
    out
}
