//! What is kept on disk about each attached sandbox, one small file each, so that a restart gives nothing twice.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use knarr_runtime::PortMapping;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub sandbox: String,
    /// Primary first.
    pub ips: Vec<IpAddr>,
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Order of attachment: addresses go on after the latest.
    pub sequence: u64,
}

impl Record {
    /// Name of the host's end of the sandbox's veth.
    pub fn veth(&self) -> String {
        veth_name(&self.sandbox)
    }
}

/// Prefix of all interfaces that are ours, besides the bridge.
pub const VETH_PREFIX: &str = "knv";

/// Interface names have at most 15 bytes, sandbox ids are longer: FNV-1a makes 12 hexadecimal digits of them.
pub fn veth_name(sandbox: &str) -> String {
    let hash = sandbox.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{VETH_PREFIX}{:012x}", hash >> 16)
}

/// The directory of the records.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    pub fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let dir = state_dir.join("sandboxes");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Records { dir })
    }

    fn path(&self, sandbox: &str) -> anyhow::Result<PathBuf> {
        if sandbox.is_empty()
            || sandbox.starts_with('.')
            || sandbox.contains(['/', '\0'])
            || sandbox.len() > 200
        {
            bail!("sandbox id {sandbox:?} cannot be a file name");
        }
        Ok(self.dir.join(format!("{sandbox}.json")))
    }

    /// All records, in order of attachment. Unreadable ones are reported and left out: a crash of the machine may have
    /// cut them, and then the sandbox is gone too.
    pub fn load(&self) -> anyhow::Result<Vec<Record>> {
        let entries = fs::read_dir(&self.dir)
            .with_context(|| format!("cannot read {}", self.dir.display()))?;
        let mut records = Vec::new();
        for path in entries
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "json"))
        {
            let parsed = fs::read(&path)
                .map_err(anyhow::Error::from)
                .and_then(|b| Ok(serde_json::from_slice(&b)?));
            match parsed {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "unreadable record of a pod's network, ignored")
                }
            }
        }
        records.sort_by_key(|r: &Record| r.sequence);
        Ok(records)
    }

    /// Atomic, but not forced to disk: after a crash of the machine no sandbox lives anyway.
    pub fn save(&self, record: &Record) -> anyhow::Result<()> {
        let path = self.path(&record.sandbox)?;
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(record)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    pub fn remove(&self, sandbox: &str) -> anyhow::Result<()> {
        let path = self.path(sandbox)?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sandbox: &str, sequence: u64) -> Record {
        Record {
            sandbox: sandbox.into(),
            ips: vec!["10.0.0.2".parse().unwrap()],
            ports: vec![],
            sequence,
        }
    }

    #[test]
    fn records_are_read_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        records.save(&record("b", 1)).unwrap();
        records.save(&record("a", 2)).unwrap();
        fs::write(dir.path().join("sandboxes/broken.json"), b"{").unwrap();
        assert_eq!(records.load().unwrap(), [record("b", 1), record("a", 2)]);
        records.remove("b").unwrap();
        records.remove("b").unwrap();
        assert_eq!(records.load().unwrap(), [record("a", 2)]);
    }

    #[test]
    fn ids_that_would_leave_the_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        for id in ["", "../x", ".x", "a/b", "a\0b"] {
            assert!(records.save(&record(id, 1)).is_err(), "{id:?}");
        }
    }

    #[test]
    fn interface_names_fit_and_differ() {
        let names: std::collections::HashSet<String> = (0..1000)
            .map(|n| veth_name(&format!("sandbox-{n}")))
            .collect();
        assert_eq!(names.len(), 1000);
        assert!(
            names
                .iter()
                .all(|n| n.len() <= 15 && n.starts_with(VETH_PREFIX))
        );
    }
}
