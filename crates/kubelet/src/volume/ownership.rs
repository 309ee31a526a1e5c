//! Group ownership of volumes (`fsGroup`).

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

use k8s_openapi::api::core::v1::Pod;

/// Bits a group gets on files.
const FILE: u32 = 0o660;
/// Bits a group gets on directories; what is made inside stays the group's.
const DIRECTORY: u32 = 0o2770;

/// The group that owns the pod's volumes.
pub fn group(pod: &Pod) -> Option<u32> {
    let wanted = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(wanted).ok()
}

/// The one user that all containers run as by their spec.
pub fn single_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let all = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers);
    let mut users = all.map(|c| {
        c.security_context
            .as_ref()
            .and_then(|s| s.run_as_user)
            .or(of_pod)
    });
    let first = users.next()??;
    users
        .all(|u| u == Some(first))
        .then(|| u32::try_from(first).ok())
        .flatten()
}

/// Gives everything below `path` to the group. With `only_if_needed`, does nothing when the top already fits.
pub fn give(path: &Path, group: u32, only_if_needed: bool) -> io::Result<()> {
    let top = fs::symlink_metadata(path)?;
    if only_if_needed && top.gid() == group && top.mode() & DIRECTORY == DIRECTORY {
        return Ok(());
    }
    walk(path, group)
}

fn walk(path: &Path, group: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    let add = if meta.is_dir() { DIRECTORY } else { FILE };
    fs::set_permissions(
        path,
        fs::Permissions::from_mode((meta.mode() & 0o7777) | add),
    )?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), group)?;
        }
    }
    Ok(())
}
