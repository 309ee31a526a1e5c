//! Revisioned key-value store with watch. The read model lives in memory; an engine makes writes durable.
//!
//! One writer takes every write that waits at that moment, makes them durable with one sync, gives each its revision,
//! then changes the read model and tells the watchers. What was acknowledged is on disk.

mod types;

pub use types::*;
