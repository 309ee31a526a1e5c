//! ServiceAccount: a pod runs as an account of its namespace, pulls with its secrets and finds its token mounted.

use std::sync::LazyLock;

use knarr_api::Status;
use knarr_json::{Map, Value, json};

use super::{Attributes, Operation};
use crate::{Outcome, rest::meta};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Seconds a projected token lives: an hour and a little, so that it is told apart from tokens that were asked for.
const TOKEN_SECONDS: i64 = 3607;
const ENFORCED: &str = "kubernetes.io/enforce-mountable-secrets";
const MIRROR: &str = "kubernetes.io/config.mirror";

pub fn admit(a: &Attributes<'_>, pod: &mut Value) -> Outcome<()> {
    if a.operation != Operation::Create || !pod["spec"].is_object() {
        return Ok(());
    }
    let shown = a.shown_name(pod).to_owned();
    let forbid = |why: String| Err(Status::forbidden("", "pods", &shown, &why).into());
    // A mirror of a static pod has no account: what it stands for runs already.
    if pod["metadata"]["annotations"][MIRROR].is_string() {
        return match pod["spec"]["serviceAccountName"].as_str() {
            None | Some("") => Ok(()),
            Some(_) => forbid("a mirror pod may not reference service accounts".into()),
        };
    }
    let spec = &mut pod["spec"];
    if spec["serviceAccountName"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        spec["serviceAccountName"] = "default".into();
    }
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    let name = spec["serviceAccountName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let namespace = a.namespace();
    let Some(stored) = a
        .call
        .shared
        .store
        .get(&format!("/registry/serviceaccounts/{namespace}/{name}"))
    else {
        return forbid(format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        ));
    };
    let account: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
    if let Err(why) = check_secrets(&account, pod) {
        return forbid(why);
    }
    let spec = &mut pod["spec"];
    let mounts = spec["automountServiceAccountToken"]
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if mounts {
        mount_token(spec, &meta::generate("kube-api-access-"));
    }
    let secrets = &account["imagePullSecrets"];
    if spec["imagePullSecrets"].items().is_empty()
        && secrets.as_array().is_some_and(|s| !s.is_empty())
    {
        spec["imagePullSecrets"] = secrets.clone();
    }
    Ok(())
}

/// An account that says so lets its pods use only the secrets that it names.
fn check_secrets(account: &Value, pod: &Value) -> Result<(), String> {
    if account["metadata"]["annotations"][ENFORCED] != "true" {
        return Ok(());
    }
    let names = |key: &str| -> Vec<&str> {
        let list = account[key].as_array().into_iter().flatten();
        list.filter_map(|s| s["name"].as_str()).collect()
    };
    let (mountable, pullable) = (names("secrets"), names("imagePullSecrets"));
    let who = account["metadata"]["name"].as_str().unwrap_or_default();
    let because = format!("is not allowed because service account {who} does not reference that");
    let spec = &pod["spec"];
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let secret = volume["secret"]["secretName"].as_str();
        if let Some(secret) = secret.filter(|s| !mountable.contains(s)) {
            return Err(format!(
                "volume with secret.secretName={secret:?} {because} secret"
            ));
        }
    }
    for (list, what) in [
        ("initContainers", "init container"),
        ("containers", "container"),
    ] {
        for container in spec[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            for variable in container["env"].as_array().into_iter().flatten() {
                let secret = variable["valueFrom"]["secretKeyRef"]["name"].as_str();
                if let Some(secret) = secret.filter(|s| !mountable.contains(s)) {
                    let variable = variable["name"].as_str().unwrap_or_default();
                    return Err(format!(
                        "{what} {name} with envVar {variable} referencing secret.secretName={secret:?} {because} secret"
                    ));
                }
            }
        }
    }
    for (i, reference) in spec["imagePullSecrets"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let secret = reference["name"].as_str().unwrap_or_default();
        if !pullable.contains(&secret) {
            return Err(format!(
                "imagePullSecrets[{i}].name={secret:?} {because} imagePullSecret"
            ));
        }
    }
    Ok(())
}

/// Mounts the token in every container that has nothing at its place; the volume comes only when one needs it.
fn mount_token(spec: &mut Value, fresh: &str) {
    let there = spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|v| {
            let name = v["name"].as_str()?;
            name.starts_with("kube-api-access-")
                .then(|| name.to_owned())
        });
    let volume = there.clone().unwrap_or_else(|| fresh.to_owned());
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter(|c| c.is_object())
        {
            let taken = container["volumeMounts"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|m| m["mountPath"] == MOUNT);
            if taken {
                continue;
            }
            needed = true;
            let mount = Map::from([
                ("mountPath", Value::from(MOUNT)),
                ("name", volume.as_str().into()),
                ("readOnly", true.into()),
            ]);
            let mount = Value::from(mount);
            match container["volumeMounts"].as_array_mut() {
                Some(mounts) => mounts.push(mount),
                None => container["volumeMounts"] = [mount].into(),
            }
        }
    }
    if needed && there.is_none() {
        let volume = token_volume(&volume);
        match spec["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume),
            None => spec["volumes"] = [volume].into(),
        }
    }
}

fn token_volume(name: &str) -> Value {
    /// What all of them have in common, which they share.
    static PROJECTED: LazyLock<Value> = LazyLock::new(|| {
        json!({"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]})
    });
    Map::from([("name", name.into()), ("projected", PROJECTED.clone())]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_mounted_where_nothing_is() {
        let mut spec = json!({"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT}]}]});
        mount_token(&mut spec, "kube-api-access-x");
        assert_eq!(
            spec["containers"][0]["volumeMounts"][0]["name"],
            "kube-api-access-x"
        );
        assert_eq!(
            spec["containers"][1]["volumeMounts"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            spec["volumes"][0]["projected"]["sources"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
    }
}
