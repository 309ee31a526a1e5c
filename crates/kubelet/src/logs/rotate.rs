//! Keeps container logs from growing for ever: ten mebibytes per file, five files per container.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use knarr_runtime::ContainerState;

use crate::{Config, view::View};

const MAX_SIZE: u64 = 10 << 20;
/// With the one being written.
const MAX_FILES: usize = 5;
const LOOK: Duration = Duration::from_secs(10);

/// Rotated files of a log, oldest first.
pub fn rotated(log: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else {
        return Vec::new();
    };
    let mut prefix = name.to_owned();
    prefix.push(".");
    let is_one = |n: &OsString| n.as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|e| is_one(&e.file_name()))
        .map(|e| e.path())
        .collect();
    found.sort();
    found
}

/// Puts a log aside when it is too large, and drops the oldest. True when its writer has to open it anew.
fn rotate(log: &Path, max_size: u64, now: Timestamp) -> io::Result<bool> {
    if fs::metadata(log)?.len() < max_size {
        return Ok(false);
    }
    let mut aside = log.as_os_str().to_owned();
    aside.push(now.strftime(".%Y%m%d-%H%M%S").to_string());
    fs::rename(log, aside)?;
    let old = rotated(log);
    for file in &old[..old.len().saturating_sub(MAX_FILES - 1)] {
        fs::remove_file(file)?;
    }
    Ok(true)
}

/// Looks after the logs of all running containers, for ever.
pub async fn run(config: Arc<Config>, view: View) {
    loop {
        tokio::time::sleep(LOOK).await;
        for uid in view.uids() {
            let seen = view.observe(&uid);
            for container in seen
                .containers
                .iter()
                .filter(|c| c.state == ContainerState::Running)
            {
                let Some(sandbox) = seen.sandboxes.iter().find(|s| s.id == container.sandbox_id)
                else {
                    continue;
                };
                let log = sandbox.config.log_directory.join(&container.log_path);
                match rotate(&log, MAX_SIZE, Timestamp::now()) {
                    Ok(false) => {}
                    Ok(true) => {
                        if let Err(error) = config.runtime.reopen_log(&container.id).await {
                            tracing::warn!(container = container.id, %error, "log not opened anew");
                        }
                    }
                    Err(error) => tracing::debug!(log = %log.display(), %error, "log not rotated"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_logs_are_put_aside() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let log = tmp.path().join("0.log");
        for second in 0..8 {
            fs::write(&log, "0123456789").expect("write");
            assert!(!rotate(&log, 100, Timestamp::UNIX_EPOCH).expect("small"));
            assert!(
                rotate(&log, 10, Timestamp::from_second(second).expect("time")).expect("large")
            );
            assert!(!log.exists());
        }
        let names: Vec<_> = rotated(&log)
            .iter()
            .map(|p| {
                p.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert_eq!(
            names,
            [
                "0.log.19700101-000004",
                "0.log.19700101-000005",
                "0.log.19700101-000006",
                "0.log.19700101-000007"
            ]
        );
    }
}
