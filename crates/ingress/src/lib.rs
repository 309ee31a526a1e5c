//! Ingress: which request goes where ([`route`]), what answers there ([`backend`]), with which certificate
//! ([`certificate`]), and the proxy between ([`proxy`]).

pub mod backend;
pub mod certificate;
mod feed;
pub mod proxy;
pub mod route;
mod server;
mod status;

use std::net::{IpAddr, SocketAddr};

pub use server::{Server, bind};

use knarr_client::Informers;

/// What an Ingress controller is started with.
#[derive(Debug, Clone)]
pub struct Config {
    pub http: SocketAddr,
    pub https: SocketAddr,
    /// Name of the class that stands for this controller also where only the old annotation names it.
    pub class: String,
    /// `spec.controller` of the classes that this controller serves.
    pub controller: String,
    /// Written to the status of served Ingresses.
    pub addresses: Vec<IpAddr>,
}

/// Serves Ingresses for ever. To stop, drop the future.
///
/// # Errors
/// When a listener fails for good.
pub async fn run(informers: Informers, config: Config, server: Server) -> anyhow::Result<()> {
    let state = server.state();
    tokio::select! {
        () = feed::run(&informers, &config, &state) => Ok(()),
        () = status::run(&informers, &config) => Ok(()),
        served = server.serve() => served,
    }
}
