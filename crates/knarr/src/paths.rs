//! Where things are, and the lock that keeps two Knarrs off one directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

pub const DEFAULT: &str = "/var/lib/knarr";
const LOCK: &str = "lock";

/// Files and directories of one cluster.
#[derive(Debug, Clone)]
pub struct Paths {
    pub data: PathBuf,
    /// Sockets and what else is worth nothing after a reboot. Short, because socket paths are limited to 108 bytes.
    pub run: PathBuf,
    /// cgroup of everything that runs in pods.
    pub cgroup: String,
}

impl Paths {
    pub fn new(data: &Path) -> Result<Self> {
        let data =
            std::path::absolute(data).with_context(|| format!("--data-dir {}", data.display()))?;
        // Clusters with directories of their own live beside each other.
        let name = if data == Path::new(DEFAULT) {
            "knarr".to_owned()
        } else {
            let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
            format!(
                "knarr-{:02x}{:02x}{:02x}{:02x}",
                digest[0], digest[1], digest[2], digest[3]
            )
        };
        Ok(Paths {
            run: Path::new("/run").join(&name),
            cgroup: format!("/{name}"),
            data,
        })
    }

    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }

    /// Images and what containers write.
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    pub fn kubelet(&self) -> PathBuf {
        self.data.join("kubelet")
    }

    pub fn pod_logs(&self) -> PathBuf {
        self.data.join("logs/pods")
    }

    /// Manifests of static pods.
    pub fn manifests(&self) -> PathBuf {
        self.data.join("manifests")
    }

    pub fn network(&self) -> PathBuf {
        self.data.join("network")
    }

    /// Output of `knarr up --detach`.
    pub fn log(&self) -> PathBuf {
        self.data.join("knarr.log")
    }

    pub fn admin_socket(&self) -> PathBuf {
        self.run.join("admin.sock")
    }

    /// There while the node is Ready and the manifests are applied; holds the process id.
    pub fn ready(&self) -> PathBuf {
        self.run.join("ready")
    }

    fn lock_file(&self) -> PathBuf {
        self.data.join(LOCK)
    }

    /// Takes the directory for this process. The lock goes with the process, so that a killed one leaves no obstacle.
    pub fn lock(&self) -> Result<Lock> {
        let made = !self.data.exists();
        std::fs::create_dir_all(&self.data).with_context(|| {
            format!(
                "cannot make {}; choose another place with --data-dir",
                self.data.display()
            )
        })?;
        let path = self.lock_file();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| {
                format!(
                    "{} is not writable; choose another place with --data-dir",
                    self.data.display()
                )
            })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder =
                    read_pid(&mut file).map_or_else(String::new, |pid| format!(" (process {pid})"));
                bail!(
                    "Knarr already runs with {}{holder}; see `knarr status`, stop it with `knarr down`",
                    self.data.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Lock {
            _file: file,
            made: made.then(|| self.data.clone()),
        })
    }

    /// The process that holds the lock, if one does.
    pub fn running(&self) -> Option<i32> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.lock_file())
            .ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => read_pid(&mut file),
            _ => None,
        }
    }
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Held as long as this process has the directory.
pub struct Lock {
    _file: File,
    /// The directory, when it was not there before.
    made: Option<PathBuf>,
}

impl Lock {
    /// Gives the directory back as it was found, for a start that is refused before anything is written.
    pub fn undo(self) {
        if let Some(dir) = &self.made {
            let _ = std::fs::remove_file(dir.join(LOCK));
            let _ = std::fs::remove_dir(dir);
        }
    }
}
