//! What lies in the state directory, so that a restarted Knarr finds what runs.
//!
//! ```text
//! <state>/sandboxes/<id>/sandbox.json      what was asked for (Knarr)
//!                       /network.json      its addresses (Knarr)
//!                       /shim.json         its process (shim)
//!                       /shim.sock, shim.log, netns, shm/, hostname, resolv.conf
//!                       /stopped           there when it was stopped
//!                       /containers/<id>/container.json   what was asked for (Knarr)
//!                                       /run.json         how far it has come (shim)
//!                                       /root/            where its file tree is assembled
//! ```

use std::{fs, net::IpAddr, path::Path};

use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    disk,
    spec::ContainerSpec,
    types::{ContainerConfig, SandboxConfig},
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub id: String,
    pub config: SandboxConfig,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub ips: Vec<IpAddr>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ShimRecord {
    pub pid: i32,
    /// Tells the process from a later one with the same number: clock ticks since boot.
    pub start_time: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub sandbox: String,
    pub config: ContainerConfig,
    pub spec: ContainerSpec,
    pub created_at: Timestamp,
    /// `sha256:…` of the image it is made of.
    pub image_id: String,
    /// How to ask it to end.
    pub stop_signal: i32,
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
}

pub(crate) fn write<T: Serialize>(path: &Path, record: &T) -> anyhow::Result<()> {
    disk::replace(path, &serde_json::to_vec(record)?)
}

/// When a process started; `None` when it is gone.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_start_time(&stat)
}

fn parse_start_time(stat: &str) -> Option<u64> {
    // The second field is the name in parentheses and may hold anything, also parentheses and spaces.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    // A zombie is gone for our purposes.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl ShimRecord {
    /// Does this very process still run?
    pub(crate) fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_the_22nd_field() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 10";
        assert_eq!(parse_start_time(stat), Some(777));
        assert_eq!(parse_start_time(&stat.replace(" S ", " Z ")), None);
        assert!(start_time(std::process::id().cast_signed()).is_some());
    }
}
