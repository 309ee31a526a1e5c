//! Pods from a directory: run without being asked by an API server, shown there through mirror pods.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Node, Pod, Toleration},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use knarr_client::Informer;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use uuid::Uuid;

use crate::{context::Context, logs::watch::Watcher, pods::Pods};

const MIRROR: &str = "kubernetes.io/config.mirror";
const HASH: &str = "kubernetes.io/config.hash";
const SOURCE: &str = "kubernetes.io/config.source";
const RETRY: Duration = Duration::from_secs(5);

/// Whether a pod in the API only shows a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata
        .annotations
        .as_ref()
        .is_some_and(|a| a.contains_key(MIRROR))
}

/// A manifest as the pod that runs for it. Its uid follows from its content: a changed file is another pod.
///
/// # Errors
/// What is wrong with the manifest.
pub fn from_manifest(text: &str, node: &str) -> Result<Pod, String> {
    let mut pod: Pod = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let spec = pod.spec.as_mut().ok_or("the manifest has no spec")?;
    let name = pod
        .metadata
        .name
        .clone()
        .filter(|n| !n.is_empty())
        .ok_or("the manifest has no name")?;
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{node}\n{text}").as_bytes())
        .simple()
        .to_string();
    spec.node_name = Some(node.to_owned());
    let forever = Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Toleration::default()
    };
    spec.tolerations.get_or_insert_default().push(forever);
    pod.metadata.name = Some(format!("{name}-{node}"));
    pod.metadata
        .namespace
        .get_or_insert_with(|| "default".to_owned());
    pod.metadata.uid = Some(hash.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH.to_owned(), hash);
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    Ok(pod)
}

/// What the API shows of a static pod.
fn mirror(pod: &Pod, node: Option<&Node>) -> Pod {
    let mut out = pod.clone();
    let hash = out.metadata.uid.take().unwrap_or_default();
    out.status = None;
    out.metadata
        .annotations
        .get_or_insert_default()
        .insert(MIRROR.to_owned(), hash);
    out.metadata.owner_references = node.map(|n| {
        vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: n.metadata.name.clone().unwrap_or_default(),
            uid: n.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            ..OwnerReference::default()
        }]
    });
    out
}

fn read(dir: &Path, node: &str) -> io::Result<BTreeMap<String, Arc<Pod>>> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        let is_manifest = path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if !is_manifest || entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match fs::read_to_string(&path)
            .map_err(|e| e.to_string())
            .and_then(|text| from_manifest(&text, node))
        {
            Ok(pod) => {
                drop(out.insert(pod.metadata.uid.clone().unwrap_or_default(), Arc::new(pod)))
            }
            Err(error) => tracing::warn!(file = %path.display(), error, "static pod not read"),
        }
    }
    Ok(out)
}

/// Runs the pods of a directory, for ever.
pub async fn run(ctx: Arc<Context>, pods: Pods, dir: std::path::PathBuf, informer: Informer<Pod>) {
    let mut known: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
    let mut changes = informer.subscribe();
    loop {
        let Ok(mut watcher) = Watcher::of_dir(&dir) else {
            tracing::warn!(dir = %dir.display(), "directory of static pods not readable; trying again");
            tokio::time::sleep(RETRY).await;
            continue;
        };
        loop {
            if let Ok(now) = read(&dir, &ctx.config.node_name) {
                for (_, pod) in known.iter().filter(|(uid, _)| !now.contains_key(*uid)) {
                    pods.gone(pod);
                    remove_mirror(&ctx, pod).await;
                }
                for (_, pod) in now.iter().filter(|(uid, _)| !known.contains_key(*uid)) {
                    pods.take(pod.clone(), true);
                }
                known = now;
            }
            let complete = show(&ctx, &known, &informer).await;
            tokio::select! {
                changed = watcher.changed() => if changed.is_err() { break },
                Some(_) = changes.recv() => while changes.try_recv().is_ok() {},
                () = tokio::time::sleep(RETRY), if !complete => {}
            }
        }
    }
}

/// Makes missing mirrors, and replaces those of older files. False when something has to be tried again.
async fn show(ctx: &Context, known: &BTreeMap<String, Arc<Pod>>, informer: &Informer<Pod>) -> bool {
    let mut complete = true;
    for pod in known.values() {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let there = informer.get(namespace, name);
        let hash = |p: &Pod| {
            p.metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get(MIRROR))
                .cloned()
        };
        match there {
            Some(old)
                if hash(&old) == pod.metadata.uid && old.metadata.deletion_timestamp.is_none() =>
            {
                continue;
            }
            Some(old) if is_mirror(&old) => {
                remove_mirror(ctx, pod).await;
                complete = false;
            }
            Some(_) => {}
            None => {
                let node = ctx.node.get("", &ctx.config.node_name);
                let api: Api<Pod> = Api::namespaced(ctx.client().clone(), namespace);
                if let Err(error) = api
                    .create(&PostParams::default(), &mirror(pod, node.as_deref()))
                    .await
                {
                    tracing::debug!(pod = name, %error, "mirror pod not made; trying again");
                    complete = false;
                }
            }
        }
    }
    complete
}

async fn remove_mirror(ctx: &Context, pod: &Pod) {
    let api: Api<Pod> = Api::namespaced(
        ctx.client().clone(),
        pod.metadata.namespace.as_deref().unwrap_or_default(),
    );
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    let _ = api
        .delete(pod.metadata.name.as_deref().unwrap_or_default(), &now)
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: c\n    image: i\n";

    #[test]
    fn manifests() {
        let pod = from_manifest(TEXT, "n1").expect("a pod");
        assert_eq!(pod.metadata.name.as_deref(), Some("web-n1"));
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        let again = from_manifest(TEXT, "n1").expect("a pod");
        assert_eq!(pod.metadata.uid, again.metadata.uid);
        let changed = from_manifest(&TEXT.replace("image: i", "image: j"), "n1").expect("a pod");
        assert_ne!(pod.metadata.uid, changed.metadata.uid);
        assert!(from_manifest("kind: Pod", "n1").is_err());
        assert!(is_mirror(&mirror(&pod, None)) && !is_mirror(&pod));
    }
}
