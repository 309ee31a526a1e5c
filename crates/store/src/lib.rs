//! Revisioned key-value store with watch. The read model lives in memory; an engine makes writes durable.
//!
//! One writer takes every write that waits at that moment, checks preconditions, gives each its revision, makes them
//! durable with one sync, then changes the read model and tells the watchers. What was acknowledged is on disk, and what
//! readers see is durable.
//!
//! ```text
//! write() ─▶ writer thread: decide ─▶ engine.commit (1 sync) ─▶ model.publish ─▶ history rings ─▶ watchers
//! get(), list() ◀─ snapshot of the model (O(1), never waits for a sync)
//! ```

mod engine;
mod error;
mod history;
mod lock;
mod model;
mod store;
mod types;
mod watch;
mod writer;

pub use error::OpenError;
pub use store::Store;
pub use types::*;
pub use watch::Watch;
