//! What a group uses.

use std::{fs, path::Path};

use super::{Cgroups, Version};

/// Usage of a group and those below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Cumulative.
    pub cpu_nanos: u64,
    /// Bytes, page cache included.
    pub memory: u64,
    /// Bytes that cannot be reclaimed at once: usage without inactive file pages.
    pub working_set: u64,
    /// Bytes of anonymous memory.
    pub rss: u64,
}

/// Finds `name <number>` among lines.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

fn number(path: &Path) -> u64 {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

pub(super) fn read(cgroups: &Cgroups, path: &str) -> Usage {
    let mut usage = Usage::default();
    if let Some(dir) = cgroups.dir("cpuacct", path) {
        usage.cpu_nanos = number(&dir.join("cpuacct.usage"));
    } else if let Some(unified) = cgroups
        .hierarchies()
        .iter()
        .find(|h| h.version == Version::V2)
    {
        let text = fs::read_to_string(unified.at(path).join("cpu.stat")).unwrap_or_default();
        usage.cpu_nanos = field(&text, "usage_usec").unwrap_or(0) * 1000;
    }
    let Some(memory) = cgroups.with("memory") else {
        return usage;
    };
    let dir = memory.at(path);
    let (current, inactive, anonymous) = match memory.version {
        Version::V1 => ("memory.usage_in_bytes", "total_inactive_file", "total_rss"),
        Version::V2 => ("memory.current", "inactive_file", "anon"),
    };
    let text = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    usage.memory = number(&dir.join(current));
    usage.working_set = usage
        .memory
        .saturating_sub(field(&text, inactive).unwrap_or(0));
    usage.rss = field(&text, anonymous).unwrap_or(0);
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_words_only() {
        let text = "oom 3\noom_kill 2\noom_kill_disable 0\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom_group_kill"), None);
    }
}
