//! PKI and kubeconfigs.
