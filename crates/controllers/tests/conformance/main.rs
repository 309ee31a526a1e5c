//! What the conformance tests of Kubernetes demand of the API server and its controllers together, where a stand-in for kubelets
//! will do. `docs/conformance.md` says which of them are shown where.

#[path = "../common/mod.rs"]
mod common;
mod world;

mod deployments;
mod endpoints;
mod garbage;
mod namespaces;
mod replicasets;
mod scheduling;
