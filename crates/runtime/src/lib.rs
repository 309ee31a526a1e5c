//! Container runtimes: the [`Runtime`] trait, shaped as the Kubernetes CRI v1 API, and what implements it.
//!
//! The kubelet talks only to the trait. `embedded` makes containers itself (one shim process per pod, so that pods outlive
//! a restart of Knarr). `images` pulls, imports, unpacks and collects images. `shim` is the process that holds one pod.

mod beneath;
pub mod cgroup;
mod disk;
pub mod embedded;
pub mod images;
mod record;
mod shim;
mod spec;
mod types;
mod wire;

pub use embedded::{Config, Embedded};
pub use shim::shim_main;
pub use types::*;
