//! Cluster DNS after the Kubernetes DNS specification 1.1.0: the zone as a pure function of Services and EndpointSlices
//! ([`zone`]), answers from it ([`answer`]), serving over UDP and TCP ([`server`]) and forwarding the rest ([`forward`]).

pub mod answer;
pub mod feed;
pub mod forward;
pub mod server;
pub mod zone;

use std::{net::SocketAddr, sync::Arc};

use knarr_client::Informers;
use parking_lot::RwLock;

/// What a DNS server is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// `cluster.local`.
    pub domain: String,
    /// Where to listen, over UDP and TCP; also what the DNS Service leads to.
    pub listen: Vec<SocketAddr>,
    /// Servers asked for names outside the cluster, in order. Empty answers them with SERVFAIL.
    pub upstreams: Vec<SocketAddr>,
    pub node_name: String,
}

/// Binds the sockets; [`Server::run`](server::Server::run) then serves for ever.
///
/// # Errors
/// When an address cannot be bound.
pub async fn bind(config: &Config) -> anyhow::Result<server::Server> {
    server::Server::bind(config).await
}

/// Serves the zone kept current from `informers`, for ever. To stop, drop the future.
///
/// # Errors
/// When a socket fails for good.
pub async fn run(
    informers: Informers,
    config: Config,
    server: server::Server,
) -> anyhow::Result<()> {
    let zone = Arc::new(RwLock::new(zone::Zone::new(&config.domain)));
    tokio::select! {
        () = feed::run(informers.clone(), zone.clone()) => Ok(()),
        () = feed::publish(informers, config.clone()) => Ok(()),
        served = server.run(zone) => served,
    }
}
