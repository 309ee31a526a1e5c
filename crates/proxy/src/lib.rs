//! The service proxy: brings connections to a Service's addresses to its endpoints.
//!
//! [`ServiceMap`] decides, purely, which endpoints each port of each Service has on this node. A [`Backend`] brings the
//! kernel from one such state to the next by its difference, so that a change to one Service costs the same with ten
//! Services as with ten thousand. [`run`] connects both to the API. When it ends, or is killed, the rules stay and keep
//! routing; [`teardown`] removes them.

mod backend;
mod conntrack;
mod endpoints;
mod health;
mod map;
mod nftables;
mod run;
mod service;

pub use backend::{Backend, Diff, ServiceChange};
pub use map::{HealthCheck, Node, ServiceMap};
pub use nftables::{Nftables, TABLE};
pub use run::{Config, Mode, run};
pub use service::{Endpoint, IpFamily, Protocol, Routing, ServicePort};

pub(crate) use nftables::nftables_family;

/// Removes all service rules of this machine, whoever installed them in our name.
pub fn teardown() -> anyhow::Result<()> {
    nftables::teardown(&mut knarr_nft::Connection::open()?)
}
