//! Configuration files that are read again when they change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    metrics::{Counter, Family, Gauge},
    server::Shared,
};

/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A file with what it said last, and the name of what it configures.
pub(crate) struct Followed {
    pub what: &'static str,
    pub file: PathBuf,
    pub text: String,
}

/// What a file says, or why that cannot be told.
type Said = Result<String, String>;

impl Followed {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(what: &'static str, file: PathBuf) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(Followed { what, file, text })
    }
}

/// Takes what a file says now.
pub(crate) type Take = for<'a> fn(&'a Shared, &'a str) -> BoxFuture<'a, Result<(), String>>;

/// Follows a file until the server stops. What is wrong is told, and the old configuration stays.
pub(crate) fn follow(shared: &Arc<Shared>, followed: Followed, take: Take) {
    let server = shared.clone();
    let Followed { what, file, text } = followed;
    let mut last: Said = Ok(text);
    shared.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = server.stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let said: Said = tokio::fs::read_to_string(&file)
                .await
                .map_err(|e| e.to_string());
            if said == last {
                continue;
            }
            let taken = match &said {
                Ok(text) => take(&server, text).await,
                Err(why) => Err(why.clone()),
            };
            let path = file.display();
            match &taken {
                Ok(()) => tracing::info!(%path, what, "configuration read again"),
                Err(why) => tracing::warn!(%path, what, why, "configuration"),
            }
            server.metrics.reloads.count(what, taken.is_ok());
            last = said;
        }
    });
}

/// How often configurations were read again, and when last.
pub(crate) struct Reloads(Vec<(&'static str, Family<Counter>, Family<Gauge>)>);

impl Default for Reloads {
    fn default() -> Self {
        let labels: &'static [&'static str] = &["apiserver_id_hash", "status"];
        let of = |what: &'static str, total, last| {
            let total = Family::new(
                total,
                "[BETA] Times that a configuration was read again.",
                labels,
            );
            let last = Family::new(
                last,
                "[BETA] When a configuration was last read again.",
                labels,
            );
            (what, total, last)
        };
        Reloads(vec![
            of(
                "authentication",
                "apiserver_authentication_config_controller_automatic_reloads_total",
                "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
            ),
            of(
                "authorization",
                "apiserver_authorization_config_controller_automatic_reloads_total",
                "apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds",
            ),
        ])
    }
}

impl Reloads {
    fn count(&self, what: &str, well: bool) {
        let status = if well { "success" } else { "failure" };
        let id = identity();
        for (_, total, last) in self.0.iter().filter(|(of, ..)| *of == what) {
            total.with(&[&id, status]).add(1);
            last.with(&[&id, status]).set(Timestamp::now().as_second());
        }
    }

    pub fn write(&self, out: &mut String) {
        for (_, total, last) in &self.0 {
            total.write(out);
            last.write(out);
        }
    }
}

/// The name of this machine; empty when it has none.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Names this server in metrics without saying its name.
fn identity() -> String {
    let digest = Sha256::digest(format!("apiserver-{}", host_name()));
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
