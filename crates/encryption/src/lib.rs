//! Encryption at rest: what an `EncryptionConfiguration` (apiserver.config.k8s.io/v1) says, done to the bytes between the
//! store's memory and its disk or etcd. The stored forms are the original's, so that the same keys open them.

mod aes;
mod config;
mod keyring;
mod kms;
mod random;
mod secretbox;

pub use config::{Rule, parse};
pub use keyring::{Keyring, Kinds};
