//! Which file gets which value for a limit: a pure function of the limits and of where each controller lives.

use super::Version;
use crate::types::LinuxResources;

/// One write to one file of a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub controller: &'static str,
    pub file: String,
    pub value: String,
    /// The kernel may be built without this file.
    pub optional: bool,
}

fn setting(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Setting {
    Setting {
        controller,
        file: file.into(),
        value: value.to_string(),
        optional: false,
    }
}

fn optional(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Setting {
    Setting {
        optional: true,
        ..setting(controller, file, value)
    }
}

/// Shares run from 2 to 262144, weights from 1 to 10000.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn or_max(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

/// All writes, in order. Controllers for which `version` gives `None` are left out.
pub(super) fn settings(
    want: &LinuxResources,
    version: impl Fn(&str) -> Option<Version>,
) -> Vec<Setting> {
    let mut all = Vec::new();
    match version("cpu") {
        Some(Version::V1) => cpu_v1(want, &mut all),
        Some(Version::V2) => cpu_v2(want, &mut all),
        None => {}
    }
    if let (Some(limit), Some(version)) = (want.memory_limit, version("memory")) {
        memory(limit, version, &mut all);
    }
    if let (Some(limit), Some(_)) = (want.pids_limit, version("pids")) {
        let value = if limit <= 0 {
            "max".to_owned()
        } else {
            limit.to_string()
        };
        all.push(setting("pids", "pids.max", value));
    }
    if let (Some(cpus), Some(_)) = (&want.cpuset_cpus, version("cpuset")) {
        all.push(setting("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(version) = version("hugetlb") {
        for (size, limit) in &want.hugepage_limits {
            let file = match version {
                Version::V1 => format!("hugetlb.{size}.limit_in_bytes"),
                Version::V2 => format!("hugetlb.{size}.max"),
            };
            all.push(setting("hugetlb", file, limit));
        }
    }
    all
}

fn cpu_v1(want: &LinuxResources, all: &mut Vec<Setting>) {
    if let Some(shares) = want.cpu_shares {
        all.push(setting("cpu", "cpu.shares", shares));
    }
    // The period first: a quota is checked against it.
    if let Some(period) = want.cpu_period {
        all.push(setting("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = want.cpu_quota {
        all.push(setting("cpu", "cpu.cfs_quota_us", quota));
    }
}

fn cpu_v2(want: &LinuxResources, all: &mut Vec<Setting>) {
    if let Some(shares) = want.cpu_shares {
        all.push(setting("cpu", "cpu.weight", weight(shares)));
    }
    if want.cpu_quota.is_some() || want.cpu_period.is_some() {
        let quota = or_max(want.cpu_quota.unwrap_or(-1));
        all.push(setting(
            "cpu",
            "cpu.max",
            format!("{quota} {}", want.cpu_period.unwrap_or(100_000)),
        ));
    }
}

fn memory(limit: i64, version: Version, all: &mut Vec<Setting>) {
    match version {
        Version::V1 => {
            all.push(setting("memory", "memory.limit_in_bytes", limit));
            // Memory and swap together: no swap beyond the limit.
            all.push(optional("memory", "memory.memsw.limit_in_bytes", limit));
        }
        Version::V2 => {
            all.push(setting("memory", "memory.max", or_max(limit)));
            let swap = if limit < 0 { "max" } else { "0" };
            all.push(optional("memory", "memory.swap.max", swap));
            // The whole container ends, not one process of it at random.
            all.push(optional("memory", "memory.oom.group", u8::from(limit > 0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> LinuxResources {
        LinuxResources {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory_limit: Some(1 << 20),
            pids_limit: Some(100),
            cpuset_cpus: Some("0-1".into()),
            hugepage_limits: [("2MB".to_owned(), 4096)].into(),
            ..LinuxResources::default()
        }
    }

    fn written(want: &LinuxResources, version: impl Fn(&str) -> Option<Version>) -> Vec<String> {
        settings(want, version)
            .into_iter()
            .map(|s| format!("{}={}", s.file, s.value))
            .collect()
    }

    #[test]
    fn spells_limits_for_version_1() {
        assert_eq!(
            written(&limits(), |_| Some(Version::V1)),
            [
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=1048576",
                "memory.memsw.limit_in_bytes=1048576",
                "pids.max=100",
                "cpuset.cpus=0-1",
                "hugetlb.2MB.limit_in_bytes=4096"
            ]
        );
    }

    #[test]
    fn spells_limits_for_version_2() {
        assert_eq!(
            written(&limits(), |_| Some(Version::V2)),
            [
                "cpu.weight=39",
                "cpu.max=50000 100000",
                "memory.max=1048576",
                "memory.swap.max=0",
                "memory.oom.group=1",
                "pids.max=100",
                "cpuset.cpus=0-1",
                "hugetlb.2MB.max=4096"
            ]
        );
    }

    #[test]
    fn leaves_out_what_is_not_there() {
        assert!(written(&LinuxResources::default(), |_| Some(Version::V1)).is_empty());
        assert!(written(&limits(), |_| None).is_empty());
        let split = |c: &str| {
            Some(if c == "hugetlb" {
                Version::V2
            } else {
                Version::V1
            })
        };
        assert!(written(&limits(), split).contains(&"hugetlb.2MB.max=4096".to_owned()));
    }

    #[test]
    fn unlimited_is_max() {
        let want = LinuxResources {
            cpu_quota: Some(-1),
            memory_limit: Some(-1),
            pids_limit: Some(-1),
            ..LinuxResources::default()
        };
        let all = written(&want, |_| Some(Version::V2));
        assert_eq!(
            all,
            [
                "cpu.max=max 100000",
                "memory.max=max",
                "memory.swap.max=max",
                "memory.oom.group=0",
                "pids.max=max"
            ]
        );
    }

    #[test]
    fn weights_span_the_range() {
        assert_eq!(
            [
                weight(0),
                weight(2),
                weight(1024),
                weight(262_144),
                weight(u64::MAX)
            ],
            [1, 1, 39, 10_000, 10_000]
        );
    }
}
