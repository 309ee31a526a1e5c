//! What is mounted into a container.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, VolumeMount};
use knarr_runtime::{Mount, Propagation};

use super::expand::expand;
use crate::volume::{Paths, atomic::is_inside, mounts};

/// Default of `terminationMessagePath`.
const TERMINATION_LOG: &str = "/dev/termination-log";
const HOSTS: &str = "/etc/hosts";

/// Mounts of the container's volumes. `dir` is the pod's directory. Blocks.
///
/// # Errors
/// What is wrong with a mount.
pub fn of_volumes(
    dir: &Path,
    container: &Container,
    volumes: &Paths,
    env: &[(String, String)],
) -> Result<Vec<Mount>, String> {
    let all = container.volume_mounts.iter().flatten().enumerate();
    all.map(|(i, mount)| one(dir, container, mount, i, volumes, env))
        .collect()
}

fn one(
    dir: &Path,
    container: &Container,
    mount: &VolumeMount,
    index: usize,
    volumes: &Paths,
    env: &[(String, String)],
) -> Result<Mount, String> {
    let volume = volumes.get(&mount.name).ok_or_else(|| {
        format!(
            "cannot find volume \"{}\" to mount into container \"{}\"",
            mount.name, container.name
        )
    })?;
    let host_path = match sub_path(mount, env)? {
        None => volume.clone(),
        Some(sub) => {
            let target = dir
                .join("volume-subpaths")
                .join(&mount.name)
                .join(&container.name)
                .join(index.to_string());
            mounts::bind_inside(volume, Path::new(&sub), &target).map_err(|e| {
                format!(
                    "failed to prepare subPath for volumeMount \"{}\" of container \"{}\": {e}",
                    mount.name, container.name
                )
            })?;
            target
        }
    };
    let path = Path::new(&mount.mount_path);
    Ok(Mount {
        container_path: if path.is_absolute() {
            path.to_owned()
        } else {
            Path::new("/").join(path)
        },
        host_path,
        readonly: mount.read_only == Some(true),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::Private,
        },
    })
}

fn sub_path(mount: &VolumeMount, env: &[(String, String)]) -> Result<Option<String>, String> {
    let plain = mount.sub_path.as_deref().filter(|s| !s.is_empty());
    let expression = mount.sub_path_expr.as_deref().filter(|s| !s.is_empty());
    let lookup = |name: &str| {
        env.iter()
            .rev()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    };
    let wanted = match (plain, expression) {
        (Some(plain), _) => plain.to_owned(),
        (None, Some(expression)) => {
            let text = expand(expression, lookup);
            if text.contains("$(") {
                return Err(format!("missing value for {expression}"));
            }
            text
        }
        (None, None) => return Ok(None),
    };
    let clean = wanted.trim_end_matches('/').to_owned();
    if !is_inside(&clean) {
        return Err(format!(
            "subPath \"{wanted}\" must be a relative path without '..'"
        ));
    }
    Ok(Some(clean))
}

/// The pod's hosts file, unless the container mounts one itself.
pub fn of_hosts_file(container: &Container, hosts: &Path) -> Option<Mount> {
    let own = container
        .volume_mounts
        .iter()
        .flatten()
        .any(|m| m.mount_path == HOSTS);
    (!own).then(|| Mount {
        container_path: HOSTS.into(),
        host_path: hosts.to_owned(),
        ..Mount::default()
    })
}

/// A new file for the container's last words, with its mount. Blocks.
pub fn of_termination_message(dir: &Path, container: &Container) -> io::Result<(PathBuf, Mount)> {
    let dir = dir.join("containers").join(&container.name);
    fs::create_dir_all(&dir)?;
    let file = dir.join(format!("{:08x}", rand::random::<u32>()));
    fs::File::create(&file)?;
    // The container may run as anybody.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?;
    let path = container
        .termination_message_path
        .as_deref()
        .filter(|p| !p.is_empty())
        .unwrap_or(TERMINATION_LOG);
    let mount = Mount {
        container_path: path.into(),
        host_path: file.clone(),
        ..Mount::default()
    };
    Ok((file, mount))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_paths() {
        let env = [("A".to_owned(), "x".to_owned())];
        let mount = |plain: &str, expr: &str| VolumeMount {
            sub_path: Some(plain.into()),
            sub_path_expr: Some(expr.into()),
            ..VolumeMount::default()
        };
        let cases = [
            ("", "", Ok(None)),
            ("a/b/", "", Ok(Some("a/b"))),
            ("", "$(A)/y", Ok(Some("x/y"))),
            ("", "$(B)", Err(())),
            ("../a", "", Err(())),
            ("/a", "", Err(())),
        ];
        for (plain, expr, want) in cases {
            let got = sub_path(&mount(plain, expr), &env).map_err(drop);
            assert_eq!(got, want.map(|w| w.map(str::to_owned)), "{plain} {expr}");
        }
    }
}
