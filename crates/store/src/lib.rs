//! Revisioned key-value store with watch. The read model lives in memory; an engine makes writes durable.
//!
//! Two engines decide writes and make them durable. `embedded` is a library: one thread takes every write that waits at that
//! moment, checks preconditions, gives each its revision, makes them durable with one sync, then changes the read model
//! and tells the watchers. `etcd` lets an etcd cluster decide, and feeds the read model from its watch. Either way, what was
//! acknowledged is durable, and what readers see is durable.
//!
//! ```text
//!            ┌ embedded: writer thread: decide ─▶ log (1 sync) ─┐
//! write() ─▶ ┤                                                  ├─▶ model.publish ─▶ history rings ─▶ watchers
//!            └ etcd: Txn ─▶ etcd ─▶ watch of etcd ──────────────┘
//! get(), list() ◀─ snapshot of the model (O(1), never waits)
//! catch_up() ◀─ the model has what anybody was told of (at once with one process, a round trip with etcd)
//! ```

mod engine;
mod error;
mod history;
mod lock;
mod model;
mod store;
mod transform;
mod types;
mod watch;

pub use engine::etcd::EtcdOptions;
pub use error::OpenError;
pub use store::Store;
pub use transform::Transformer;
pub use types::*;
pub use watch::Watch;
