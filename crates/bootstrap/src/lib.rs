//! What a cluster needs before its components run: certificates and keys, kubeconfigs, and the objects every cluster starts with.

pub mod addons;
pub mod files;
pub mod kubeconfig;
pub mod pki;
