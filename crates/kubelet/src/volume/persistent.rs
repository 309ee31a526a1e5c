//! Volumes behind PersistentVolumeClaims, as far as the node has them itself: `hostPath` and `local`.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::Api;

use super::host_path;
use crate::context::Context;

/// The path behind a volume's claim; `None` when it has no claim.
pub async fn path(ctx: &Context, pod: &Pod, volume: &Volume) -> Result<Option<PathBuf>, String> {
    let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => source.claim_name.clone(),
        (None, Some(_)) => format!(
            "{}-{}",
            pod.metadata.name.as_deref().unwrap_or_default(),
            volume.name
        ),
        (None, None) => return Ok(None),
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client().clone(), namespace);
    let found = claims.get(&claim).await.map_err(|e| e.to_string())?;
    let bound = found
        .spec
        .and_then(|s| s.volume_name)
        .filter(|v| !v.is_empty());
    let name = bound.ok_or_else(|| format!("PVC {namespace}/{claim} is not bound"))?;
    let volumes: Api<PersistentVolume> = Api::all(ctx.client().clone());
    let spec = volumes
        .get(&name)
        .await
        .map_err(|e| e.to_string())?
        .spec
        .unwrap_or_default();
    let (path, kind) = match (spec.host_path, spec.local) {
        (Some(h), _) => (h.path, h.type_.unwrap_or_default()),
        (None, Some(l)) => (l.path, "Directory".to_owned()),
        (None, None) => return Err("no support for this kind of volume".to_owned()),
    };
    host_path::prepare(&PathBuf::from(&path), &kind)?;
    Ok(Some(PathBuf::from(path)))
}
