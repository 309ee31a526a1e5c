//! Manifests: read from files, applied through the API as `kubectl apply --server-side` does.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::{self, ApiCapabilities, ApiResource, Scope},
};
use serde_json::Value;

const MANAGER: &str = "knarr";

/// All objects of all files, in order. A directory gives its `.yaml`, `.yml` and `.json` files by name.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for path in paths {
        for file in files(path)? {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            objects.extend(parse(&text).with_context(|| file.display().to_string())?);
        }
    }
    Ok(objects)
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let wanted = |p: &PathBuf| {
        p.extension()
            .is_some_and(|e| ["yaml", "yml", "json"].iter().any(|w| e == *w))
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(wanted)
        .collect();
    found.sort();
    if found.is_empty() {
        bail!("{} holds no .yaml, .yml or .json file", path.display());
    }
    Ok(found)
}

/// The documents of a YAML or JSON text; `List`s are taken apart.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let mut objects = Vec::new();
    for document in documents {
        match document["items"].as_array() {
            Some(items)
                if document["kind"]
                    .as_str()
                    .is_some_and(|k| k.ends_with("List")) =>
            {
                objects.extend(items.clone())
            }
            _ if document.is_null() => {}
            _ => objects.push(document),
        }
    }
    for object in &objects {
        for field in ["apiVersion", "kind"] {
            if !object[field].is_string() {
                bail!("an object has no {field}");
            }
        }
    }
    Ok(objects)
}

/// Applies objects in order.
pub async fn apply(client: &Client, objects: &[Value]) -> Result<()> {
    for object in objects {
        let what = describe(object);
        let (api, object) = target(client, object).await.with_context(|| what.clone())?;
        let name = object
            .metadata
            .name
            .clone()
            .with_context(|| format!("{what} has no name"))?;
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(&object))
            .await
            .with_context(|| what)?;
    }
    Ok(())
}

/// Creates those objects that do not exist, however long the API takes to let them in.
pub async fn create_missing(client: &Client, objects: &[Value]) {
    for object in objects {
        while let Err(error) = create(client, object).await {
            tracing::debug!(
                object = describe(object),
                error = format!("{error:#}"),
                "creating; trying again"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn create(client: &Client, object: &Value) -> Result<()> {
    let (api, object) = target(client, object).await?;
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop).map_err(Into::into),
    }
}

fn describe(object: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or("?").to_owned();
    format!(
        "{} {}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

async fn target(client: &Client, object: &Value) -> Result<(Api<DynamicObject>, DynamicObject)> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object.types.clone().context("no apiVersion and kind")?;
    let kind = GroupVersionKind::try_from(&types)?;
    let (resource, capabilities): (ApiResource, ApiCapabilities) =
        discovery::pinned_kind(client, &kind).await?;
    let api = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    Ok((api, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n";
        let names: Vec<String> = parse(text).unwrap().iter().map(describe).collect();
        assert_eq!(names, ["ConfigMap a", "Secret b"]);
        assert!(parse("kind: Pod\n").is_err());
        assert!(parse("a: [").is_err());
    }
}
