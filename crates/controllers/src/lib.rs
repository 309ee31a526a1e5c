//! The controllers: each brings one kind of thing from what is to what is wanted.
//!
//! A controller is a file (or folder) with a `run` that watches through shared informers and a `sync` of one key; what it
//! decides is pure and tested with tables. Nothing here polls: everything follows from an event or from a deadline.

pub mod backends;
pub mod deployment;
pub mod discovery;
pub mod endpoints;
pub mod endpointslice;
pub mod expectations;
pub mod feed;
pub mod gc;
pub mod index;
pub mod namespace;
pub mod node;
pub mod owner;
pub mod pod;
pub mod policy_types;
pub mod replicaset;
pub mod role_aggregation;
pub mod root_ca;
pub mod service_account;
pub mod template;
pub mod token_secret;
pub mod write;

use std::time::Duration;

use ipnet::IpNet;
use knarr_client::Informers;

/// What the controllers must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// PEM of the certificate authority that clients of the API server trust; published in every namespace.
    pub root_ca: String,
    /// PEM of the key that service account tokens are signed with; without it Secrets of such tokens are not filled.
    pub service_account_key: String,
    /// Addresses of all pods, at most one range of each family; nodes get a part of each. With none they get none.
    pub cluster_cidrs: Vec<IpNet>,
    /// How long a node may be silent before it counts as lost.
    pub node_monitor_grace_period: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            root_ca: String::new(),
            service_account_key: String::new(),
            cluster_cidrs: Vec::new(),
            node_monitor_grace_period: Duration::from_secs(40),
        }
    }
}

/// Runs all controllers for ever. To stop them, drop the future.
pub async fn run(informers: Informers, config: Config) {
    let mut all = tokio::task::JoinSet::new();
    all.spawn(replicaset::run(informers.clone()));
    all.spawn(deployment::run(informers.clone()));
    all.spawn(endpoints::run(informers.clone()));
    all.spawn(endpointslice::run(informers.clone()));
    all.spawn(endpointslice::mirror::run(informers.clone()));
    all.spawn(namespace::run(informers.clone()));
    all.spawn(service_account::run(informers.clone()));
    all.spawn(role_aggregation::run(informers.clone()));
    all.spawn(token_secret::run(
        informers.clone(),
        config.service_account_key,
        config.root_ca.clone(),
    ));
    all.spawn(root_ca::run(informers.clone(), config.root_ca));
    all.spawn(policy_types::run(informers.clone()));
    all.spawn(gc::run(informers.clone()));
    all.spawn(node::addresses::run(
        informers.clone(),
        config.cluster_cidrs,
    ));
    all.spawn(node::health::run(
        informers.clone(),
        config.node_monitor_grace_period,
    ));
    all.spawn(node::eviction::run(informers.clone()));
    all.spawn(node::leftovers::run(informers));
    while all.join_next().await.is_some() {}
    // Controllers that have nothing to do return; the caller waits for all of them together.
    std::future::pending().await
}
