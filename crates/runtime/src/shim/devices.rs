//! Which devices a container may use.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
};

use nix::sys::stat::{major, minor};

use crate::{cgroup::DeviceRule, spec::ContainerSpec};

/// Making nodes is harmless as long as they cannot be opened; the usual character devices and the pod's own may be.
pub(super) fn rules(spec: &ContainerSpec) -> Vec<DeviceRule> {
    let rule = |block, major, minor, access: &str| DeviceRule {
        block,
        major,
        minor,
        access: access.into(),
    };
    if spec.privileged {
        return vec![
            rule(false, None, None, "rwm"),
            rule(true, None, None, "rwm"),
        ];
    }
    let mut rules = vec![rule(false, None, None, "m"), rule(true, None, None, "m")];
    // null, zero, full, random, urandom; tty, console, ptmx; terminals.
    for minor in [3, 5, 7, 8, 9] {
        rules.push(rule(false, Some(1), Some(minor), "rwm"));
    }
    for minor in [0, 1, 2] {
        rules.push(rule(false, Some(5), Some(minor), "rwm"));
    }
    rules.push(rule(false, Some(136), None, "rwm"));
    for device in &spec.devices {
        // A missing device fails later, with its name, when its node is made.
        let Ok(data) = fs::metadata(&device.host_path) else {
            continue;
        };
        let number = |n: u64| u32::try_from(n).ok();
        rules.push(DeviceRule {
            block: data.file_type().is_block_device(),
            major: number(major(data.rdev())),
            minor: number(minor(data.rdev())),
            access: device.permissions.clone(),
        });
    }
    rules
}
