//! Security contexts, merged from pod and container. Pure.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile};
use knarr_runtime::{Seccomp, SecurityContext};

/// Kernel files that containers cannot see.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
/// Kernel files that containers cannot write.
const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What the runtime is told. Localhost seccomp profiles are below `profiles`.
pub fn context(pod: &Pod, container: &Container, profiles: &Path) -> SecurityContext {
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|s| s.security_context.clone())
        .unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| {
        if unmasked {
            Vec::new()
        } else {
            list.iter().map(|p| (*p).to_owned()).collect()
        }
    };
    let capabilities = own.capabilities.unwrap_or_default();
    let mut groups = of_pod.supplemental_groups.clone().unwrap_or_default();
    groups.extend(of_pod.fs_group.filter(|g| !groups.contains(g)));
    SecurityContext {
        privileged,
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        run_as_user: own.run_as_user.or(of_pod.run_as_user),
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        run_as_username: None,
        supplemental_groups: groups,
        strict_groups: of_pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        no_new_privs: own.allow_privilege_escalation == Some(false) && !privileged,
        seccomp: seccomp(
            own.seccomp_profile.or(of_pod.seccomp_profile).as_ref(),
            privileged,
            profiles,
        ),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READONLY),
    }
}

fn seccomp(profile: Option<&SeccompProfile>, privileged: bool, profiles: &Path) -> Seccomp {
    match profile {
        _ if privileged => Seccomp::Unconfined,
        Some(p) if p.type_ == "RuntimeDefault" => Seccomp::RuntimeDefault,
        Some(p) if p.type_ == "Localhost" => {
            Seccomp::Localhost(profiles.join(p.localhost_profile.as_deref().unwrap_or_default()))
        }
        _ => Seccomp::Unconfined,
    }
}

/// Whether `runAsNonRoot` lets a container of an image with that `USER` run.
///
/// # Errors
/// Why it does not.
pub fn check_non_root(pod: &Pod, container: &Container, image_user: &str) -> Result<(), String> {
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|s| s.security_context.clone())
        .unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    if own.run_as_non_root.or(of_pod.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let meta = &pod.metadata;
    let of = |s: &Option<String>| s.clone().unwrap_or_default();
    let who = format!(
        "(pod: \"{}_{}({})\", container: {})",
        of(&meta.name),
        of(&meta.namespace),
        of(&meta.uid),
        container.name
    );
    let user = image_user.split(':').next().unwrap_or_default();
    match own.run_as_user.or(of_pod.run_as_user) {
        Some(0) => Err(format!(
            "container's runAsUser breaks non-root policy {who}"
        )),
        Some(_) => Ok(()),
        None if user.is_empty() || user.parse() == Ok(0) => Err(format!(
            "container has runAsNonRoot and image will run as root {who}"
        )),
        None if user.parse::<u32>().is_err() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {who}"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(pod_context: serde_json::Value, own: serde_json::Value) -> (Pod, Container) {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"securityContext": pod_context, "containers": [{"name": "c", "securityContext": own}]}}))
        .expect("a pod");
        let container = pod.spec.clone().unwrap_or_default().containers.remove(0);
        (pod, container)
    }

    #[test]
    fn containers_override_their_pod() {
        let (p, c) = pod(
            serde_json::json!({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4], "seccompProfile": {"type": "RuntimeDefault"}}),
            serde_json::json!({"runAsUser": 9, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}),
        );
        let s = context(&p, &c, Path::new("/s"));
        assert_eq!(
            (s.run_as_user, s.run_as_group, s.supplemental_groups),
            (Some(9), Some(2), vec![4, 3])
        );
        assert!(
            s.no_new_privs
                && s.seccomp == Seccomp::RuntimeDefault
                && s.drop_capabilities == ["ALL"]
        );
        assert_eq!(s.masked_paths.len(), MASKED.len());
        let (p, c) = pod(
            serde_json::json!({}),
            serde_json::json!({"privileged": true}),
        );
        assert!(context(&p, &c, Path::new("/s")).masked_paths.is_empty());
    }

    #[test]
    fn non_root_is_checked() {
        let run = |own, user| {
            let (p, c) = pod(serde_json::json!({"runAsNonRoot": true}), own);
            check_non_root(&p, &c, user).is_ok()
        };
        let none = serde_json::json!({});
        assert!(
            !run(none.clone(), "")
                && !run(none.clone(), "0:0")
                && !run(none.clone(), "nginx")
                && run(none, "1000:1000")
        );
        assert!(
            run(serde_json::json!({"runAsUser": 5}), "")
                && !run(serde_json::json!({"runAsUser": 0}), "1000")
        );
        assert!(run(serde_json::json!({"runAsNonRoot": false}), ""));
    }
}
