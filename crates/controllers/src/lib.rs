//! The controllers: each brings one kind of thing from what is to what is wanted.
//!
//! A controller is a file (or folder) with a `run` that watches through shared informers and a `sync` of one key; what it
//! decides is pure and tested with tables. Nothing here polls: everything follows from an event or from a deadline.

pub mod backends;
pub mod deployment;
pub mod endpoints;
pub mod endpointslice;
pub mod expectations;
pub mod feed;
pub mod index;
pub mod owner;
pub mod pod;
pub mod replicaset;
pub mod root_ca;
pub mod service_account;
pub mod template;
pub mod write;

use knarr_client::Informers;

/// What the controllers must be told.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// PEM of the certificate authority that clients of the API server trust; published in every namespace.
    pub root_ca: String,
}

/// Runs all controllers for ever. To stop them, drop the future.
pub async fn run(informers: Informers, config: Config) {
    tokio::join!(
        replicaset::run(informers.clone()),
        deployment::run(informers.clone()),
        endpoints::run(informers.clone()),
        endpointslice::run(informers.clone()),
        endpointslice::mirror::run(informers.clone()),
        service_account::run(informers.clone()),
        root_ca::run(informers.clone(), config.root_ca.clone()),
    );
}
