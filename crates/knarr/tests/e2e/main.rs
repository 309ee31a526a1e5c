//! Whole clusters, driven by the real kubectl as users drive them.

mod blog;
mod clients;
mod ingress;
mod kubectl;
mod lifecycle;
mod network;
mod ngx;
mod restart;
mod spdy;

use std::time::Duration;

use knarr_testkit::Cluster;

/// How long things may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn cluster() -> Cluster {
    Cluster::start(env!("CARGO_BIN_EXE_knarr"))
}

fn example(name: &str) -> String {
    format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"))
}
