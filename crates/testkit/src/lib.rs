//! Real clusters for tests, each in a network namespace of its own, several side by side; images from the programs at hand.
//! Everything goes with its owner, also when a test panics.

mod cluster;
pub mod images;
mod namespace;

pub use cluster::{Cluster, Output, eventually};
pub use namespace::Namespace;

/// Whether what tests with real containers need is here; says what is missing and skips otherwise.
pub fn can_run() -> bool {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: not root");
        return false;
    }
    for program in ["ip", "nsenter", "kubectl"] {
        if !images::in_path(program) {
            eprintln!("skipped: {program} is not installed");
            return false;
        }
    }
    true
}
