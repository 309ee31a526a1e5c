//! Container runtimes: the [`Runtime`] trait, shaped as the Kubernetes CRI v1 API, and what implements it.
//!
//! The kubelet talks only to the trait. `embedded` makes containers itself (OCI by library, one shim process per pod,
//! so that pods outlive a restart of Knarr). `images` pulls, imports, unpacks and collects images.

mod types;

pub use types::*;
