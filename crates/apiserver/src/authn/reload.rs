//! The authentication configuration is read again when its file changes.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::jwt::config;
use crate::server::Shared;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Reads the file at start.
///
/// # Errors
/// What is wrong with it.
pub fn first(file: &PathBuf) -> Result<(String, config::File), String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let parsed = config::parse(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok((text, parsed))
}

/// Follows the file until the server stops. What is wrong is told, and the old configuration stays.
pub fn follow(shared: &Arc<Shared>, file: PathBuf, mut last: String) {
    let server = shared.clone();
    shared.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = server.stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let Ok(text) = tokio::fs::read_to_string(&file).await else {
                continue;
            };
            if text == last {
                continue;
            }
            let taken = config::parse(&text).and_then(|f| server.authenticators.reconfigure(f));
            match taken {
                Ok(()) => tracing::info!(file = %file.display(), "authentication configuration read again"),
                Err(why) => tracing::warn!(file = %file.display(), why, "authentication configuration"),
            }
            last = text;
        }
    });
}
