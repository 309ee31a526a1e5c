//! `knarr kubeconfig`, and the context in the user's own file.

use anyhow::{Context, Result};
use knarr_bootstrap::kubeconfig::{self, Entry};

use crate::paths::Paths;

/// Name of the cluster and the context.
pub const NAME: &str = "knarr";
pub const USER: &str = "knarr-admin";

pub fn print(paths: &Paths) -> Result<()> {
    let path = paths.admin_kubeconfig();
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} cannot be read; is the cluster up? `knarr up` starts it",
            path.display()
        )
    })?;
    print!("{text}");
    Ok(())
}

/// Adds the context to the user's kubeconfig; the name of the file, when there is one.
pub fn add(entry: &Entry<'_>) -> Result<Option<String>> {
    let Some(path) = kubeconfig::user_file() else {
        return Ok(None);
    };
    kubeconfig::edit(&path, |text| entry.merge_into(text))?;
    Ok(Some(path.display().to_string()))
}

/// Takes the context out again.
pub fn remove() -> Result<()> {
    match kubeconfig::user_file().filter(|path| path.exists()) {
        Some(path) => kubeconfig::edit(&path, |text| kubeconfig::remove_from(text, NAME, USER)),
        None => Ok(()),
    }
}
