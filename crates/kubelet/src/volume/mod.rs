//! A pod's volumes: made before its containers, kept current while they run, taken away after.

pub mod atomic;
mod host_path;
pub mod mounts;
mod ownership;
pub mod payload;
mod persistent;
pub mod token;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};

use crate::{
    container::{env::Objects, fields::Facts},
    context::Context,
    quantity::units,
    resources::pod_resources,
};

/// Where each volume is on the node, by name.
pub type Paths = BTreeMap<String, PathBuf>;

/// Everything volumes are made from, fetched before.
pub struct Sources {
    pub pod: Arc<Pod>,
    pub dir: PathBuf,
    pub objects: Objects,
    pub facts: Facts,
    pub tokens: token::Tokens,
    /// Host paths behind claims, by volume name.
    pub claims: Paths,
}

/// Fetches what stands behind the pod's claims.
///
/// # Errors
/// Why a claim has nothing behind it yet.
pub async fn claims(ctx: &Context, pod: &Pod) -> Result<Paths, String> {
    let mut out = Paths::new();
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        if let Some(path) = persistent::path(ctx, pod, volume)
            .await
            .map_err(|e| failed(&volume.name, &e))?
        {
            out.insert(volume.name.clone(), path);
        }
    }
    Ok(out)
}

fn failed(volume: &str, error: &str) -> String {
    format!("MountVolume.SetUp failed for volume \"{volume}\" : {error}")
}

/// Makes every volume of the pod, or brings it up to date. Blocks.
///
/// # Errors
/// The first that failed, in the words users know.
pub fn set_up(s: &Sources) -> Result<Paths, String> {
    let volumes = s
        .pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .map(|v| {
            one(s, v)
                .map(|p| (v.name.clone(), p))
                .map_err(|e| failed(&v.name, &e))
        })
        .collect()
}

fn one(s: &Sources, volume: &Volume) -> Result<PathBuf, String> {
    let group = ownership::group(&s.pod);
    if let Some(source) = &volume.host_path {
        let path = PathBuf::from(&source.path);
        host_path::prepare(&path, source.type_.as_deref().unwrap_or_default())?;
        return Ok(path);
    }
    if let Some(path) = s.claims.get(&volume.name) {
        give(path, group, &s.pod)?;
        return Ok(path.clone());
    }
    let dir = s
        .dir
        .join("volumes")
        .join(format!("kubernetes.io~{}", plugin(volume)?))
        .join(&volume.name);
    let text = |e: io::Error| e.to_string();
    if let Some(source) = &volume.empty_dir {
        empty_dir(&dir, source, &s.pod).map_err(text)?;
        give(&dir, group, &s.pod)?;
        return Ok(dir);
    }
    let tokens = s.tokens.texts();
    let user = ownership::single_user(&s.pod);
    let sources = payload::Sources {
        pod: &s.pod,
        objects: &s.objects,
        facts: &s.facts,
        tokens: &tokens,
        user,
        group,
    };
    let files =
        payload::of_volume(volume, &sources).ok_or("no support for this kind of volume")??;
    fs::create_dir_all(&dir).map_err(text)?;
    if holds_secrets(volume) {
        mounts::tmpfs(&dir, None, 0o755).map_err(text)?;
    }
    atomic::write(&dir, &files, group).map_err(text)?;
    Ok(dir)
}

/// The name that the volume's directory carries.
fn plugin(volume: &Volume) -> Result<&'static str, String> {
    let kinds = [
        (volume.empty_dir.is_some(), "empty-dir"),
        (volume.config_map.is_some(), "configmap"),
        (volume.secret.is_some(), "secret"),
        (volume.downward_api.is_some(), "downward-api"),
        (volume.projected.is_some(), "projected"),
    ];
    let found = kinds.iter().find(|(is, _)| *is).map(|(_, name)| *name);
    found.ok_or_else(|| "no support for this kind of volume".to_owned())
}

/// Secrets never reach a disk.
fn holds_secrets(volume: &Volume) -> bool {
    let projected = volume
        .projected
        .iter()
        .flat_map(|p| p.sources.iter().flatten());
    volume.secret.is_some()
        || projected
            .into_iter()
            .any(|s| s.secret.is_some() || s.service_account_token.is_some())
}

fn empty_dir(dir: &Path, source: &EmptyDirVolumeSource, pod: &Pod) -> io::Result<()> {
    let is_new = !dir.exists();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)?;
    if source.medium.as_deref() == Some("Memory") {
        let limits = [
            source.size_limit.as_ref().and_then(units),
            pod_resources(pod).memory_limit,
        ];
        mounts::tmpfs(
            dir,
            limits.into_iter().flatten().filter(|l| *l > 0).min(),
            0o777,
        )?;
    }
    if is_new {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
    }
    Ok(())
}

fn give(path: &Path, group: Option<u32>, pod: &Pod) -> Result<(), String> {
    let Some(group) = group else { return Ok(()) };
    let policy = pod
        .spec
        .as_ref()
        .and_then(|s| s.security_context.as_ref())
        .and_then(|s| s.fs_group_change_policy.as_deref());
    ownership::give(path, group, policy == Some("OnRootMismatch"))
        .map_err(|e| format!("applyFSGroup failed: {e}"))
}
