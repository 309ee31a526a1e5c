//! The files of configMap, secret, downwardAPI and projected volumes. Pure: what they show was fetched before.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection,
};

use super::atomic::{File, Payload, is_inside};
use crate::container::{
    env::Objects,
    fields::{Facts, field, resource},
};

const DEFAULT_MODE: i32 = 0o644;

/// Everything that a pod's projected files are made from.
pub struct Sources<'a> {
    pub pod: &'a Pod,
    pub objects: &'a Objects,
    pub facts: &'a Facts,
    /// Tokens by (volume, path).
    pub tokens: &'a HashMap<(String, String), String>,
    /// The one user all containers run as, when there is one.
    pub user: Option<u32>,
    pub group: Option<u32>,
}

fn mode(of: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(of.or(default).unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o7777
}

fn data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    text.chain(
        map.binary_data
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.0.clone())),
    )
    .collect()
}

fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()))
        .collect()
}

/// The files of a volume; `None` when it is of another kind.
///
/// # Errors
/// What is missing.
pub fn of_volume(volume: &Volume, s: &Sources<'_>) -> Option<Result<Payload, String>> {
    let mut out = Payload::new();
    let done = if let Some(v) = &volume.config_map {
        config_map(
            &v.name,
            v.items.as_deref(),
            v.optional,
            v.default_mode,
            s,
            &mut out,
        )
    } else if let Some(v) = &volume.secret {
        let name = v.secret_name.as_deref().unwrap_or_default();
        secret(
            name,
            v.items.as_deref(),
            v.optional,
            v.default_mode,
            s,
            &mut out,
        )
    } else if let Some(v) = &volume.downward_api {
        downward(
            v.items.as_deref().unwrap_or(&[]),
            v.default_mode,
            s,
            &mut out,
        )
    } else if let Some(v) = &volume.projected {
        let sources = v.sources.as_deref().unwrap_or(&[]);
        sources
            .iter()
            .try_for_each(|source| projection(&volume.name, source, v.default_mode, s, &mut out))
    } else {
        return None;
    };
    Some(done.map(|()| out))
}

fn projection(
    volume: &str,
    source: &VolumeProjection,
    default: Option<i32>,
    s: &Sources<'_>,
    out: &mut Payload,
) -> Result<(), String> {
    if let Some(v) = &source.config_map {
        return config_map(&v.name, v.items.as_deref(), v.optional, default, s, out);
    }
    if let Some(v) = &source.secret {
        return secret(&v.name, v.items.as_deref(), v.optional, default, s, out);
    }
    if let Some(v) = &source.downward_api {
        return downward(v.items.as_deref().unwrap_or(&[]), default, s, out);
    }
    if let Some(v) = &source.service_account_token {
        let token = s
            .tokens
            .get(&(volume.to_owned(), v.path.clone()))
            .ok_or("failed to fetch token: not there yet")?;
        // A token belongs to those who run the pod, nobody else.
        let private = s.user.is_some() || s.group.is_some();
        let mode = if private { 0o600 } else { mode(None, default) };
        return put(
            out,
            &v.path,
            File {
                bytes: token.clone().into_bytes(),
                mode,
                uid: s.user,
            },
        );
    }
    Err("unsupported volume projection".to_owned())
}

fn config_map(
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    default: Option<i32>,
    s: &Sources<'_>,
    out: &mut Payload,
) -> Result<(), String> {
    let optional = optional == Some(true);
    match s.objects.config_maps.get(name) {
        Some(map) => keys(
            &data(map),
            items,
            optional,
            default,
            "configmap references non-existent config key",
            out,
        ),
        None if optional => Ok(()),
        None => Err(format!("configmap \"{name}\" not found")),
    }
}

fn secret(
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    default: Option<i32>,
    s: &Sources<'_>,
    out: &mut Payload,
) -> Result<(), String> {
    let optional = optional == Some(true);
    match s.objects.secrets.get(name) {
        Some(secret) => keys(
            &secret_data(secret),
            items,
            optional,
            default,
            "references non-existent secret key",
            out,
        ),
        None if optional => Ok(()),
        None => Err(format!("secret \"{name}\" not found")),
    }
}

fn keys(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    default: Option<i32>,
    missing: &str,
    out: &mut Payload,
) -> Result<(), String> {
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        for (key, bytes) in data {
            out.insert(
                key.clone(),
                File {
                    bytes: bytes.clone(),
                    mode: mode(None, default),
                    uid: None,
                },
            );
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => put(
                out,
                &item.path,
                File {
                    bytes: bytes.clone(),
                    mode: mode(item.mode, default),
                    uid: None,
                },
            )?,
            None if optional => {}
            None => return Err(format!("{missing}: {}", item.key)),
        }
    }
    Ok(())
}

fn put(out: &mut Payload, path: &str, file: File) -> Result<(), String> {
    if !is_inside(path) {
        return Err(format!("invalid path: {path}"));
    }
    out.insert(path.to_owned(), file);
    Ok(())
}

fn downward(
    items: &[DownwardAPIVolumeFile],
    default: Option<i32>,
    s: &Sources<'_>,
    out: &mut Payload,
) -> Result<(), String> {
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(selector), _) => field(s.pod, selector, s.facts)?,
            (None, Some(selector)) => resource(
                s.pod,
                selector.container_name.as_deref().unwrap_or_default(),
                selector,
                s.facts,
            )?,
            (None, None) => continue,
        };
        put(
            out,
            &item.path,
            File {
                bytes: text.into_bytes(),
                mode: mode(item.mode, default),
                uid: None,
            },
        )?;
    }
    Ok(())
}

/// ConfigMaps and Secrets that a pod refers to anywhere, by name.
pub fn references(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    let Some(spec) = &pod.spec else {
        return (maps, secrets);
    };
    for v in spec.volumes.iter().flatten() {
        maps.extend(v.config_map.as_ref().map(|m| m.name.clone()));
        secrets.extend(v.secret.as_ref().and_then(|s| s.secret_name.clone()));
        for source in v.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            maps.extend(source.config_map.as_ref().map(|m| m.name.clone()));
            secrets.extend(source.secret.as_ref().map(|s| s.name.clone()));
        }
    }
    let containers = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers);
    let of_containers = containers.map(|c| (&c.env, &c.env_from));
    let of_ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|c| (&c.env, &c.env_from));
    for (env, from) in of_containers.chain(of_ephemeral) {
        for source in env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
            secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
        }
        for source in from.iter().flatten() {
            maps.extend(source.config_map_ref.as_ref().map(|r| r.name.clone()));
            secrets.extend(source.secret_ref.as_ref().map(|r| r.name.clone()));
        }
    }
    secrets.extend(
        spec.image_pull_secrets
            .iter()
            .flatten()
            .map(|s| s.name.clone()),
    );
    for list in [&mut maps, &mut secrets] {
        list.retain(|n| !n.is_empty());
        list.sort();
        list.dedup();
    }
    (maps, secrets)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn from<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
        serde_json::from_value(json).expect("an object")
    }

    fn run(volume: serde_json::Value) -> Result<Vec<(String, String, u32)>, String> {
        let pod: Pod = from(serde_json::json!({"metadata": {"name": "p", "labels": {"a": "b"}}}));
        let map: ConfigMap = from(
            serde_json::json!({"metadata": {"name": "m"}, "data": {"k": "v"}, "binaryData": {"bin": "AAE="}}),
        );
        let objects = Objects {
            config_maps: HashMap::from([("m".to_owned(), Arc::new(map))]),
            ..Objects::default()
        };
        let tokens = HashMap::from([(("v".to_owned(), "token".to_owned()), "jwt".to_owned())]);
        let sources = Sources {
            pod: &pod,
            objects: &objects,
            facts: &Facts::default(),
            tokens: &tokens,
            user: None,
            group: Some(5),
        };
        let payload = of_volume(&from(volume), &sources).expect("a projected kind")?;
        Ok(payload
            .into_iter()
            .map(|(p, f)| (p, String::from_utf8_lossy(&f.bytes).into_owned(), f.mode))
            .collect())
    }

    fn file(path: &str, text: &str, mode: u32) -> (String, String, u32) {
        (path.to_owned(), text.to_owned(), mode)
    }

    #[test]
    fn kinds() {
        let all =
            run(serde_json::json!({"name": "v", "configMap": {"name": "m", "defaultMode": 0o400}}));
        assert_eq!(
            all,
            Ok(vec![file("bin", "\0\u{1}", 0o400), file("k", "v", 0o400)])
        );
        let items = serde_json::json!({"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "x/y", "mode": 0o600}]}});
        assert_eq!(run(items), Ok(vec![file("x/y", "v", 0o600)]));
        let projected = serde_json::json!({"name": "v", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "m", "items": [{"key": "k", "path": "ca"}]}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}});
        assert_eq!(
            run(projected),
            Ok(vec![
                file("ca", "v", 0o644),
                file("labels", "a=\"b\"", 0o644),
                file("token", "jwt", 0o600)
            ])
        );
    }

    #[test]
    fn what_is_missing() {
        let cases = [
            (
                serde_json::json!({"name": "x"}),
                Err("configmap \"x\" not found".to_owned()),
            ),
            (
                serde_json::json!({"name": "x", "optional": true}),
                Ok(vec![]),
            ),
            (
                serde_json::json!({"name": "m", "items": [{"key": "z", "path": "z"}]}),
                Err("configmap references non-existent config key: z".to_owned()),
            ),
            (
                serde_json::json!({"name": "m", "optional": true, "items": [{"key": "z", "path": "z"}]}),
                Ok(vec![]),
            ),
            (
                serde_json::json!({"name": "m", "items": [{"key": "k", "path": "../z"}]}),
                Err("invalid path: ../z".to_owned()),
            ),
        ];
        for (source, want) in cases {
            assert_eq!(
                run(serde_json::json!({"name": "v", "configMap": source})),
                want
            );
        }
    }
}
