//! What is done about nodes: telling those that no longer answer ([`health`]), taking pods off them ([`eviction`]), giving
//! them addresses for pods ([`addresses`]), and deleting pods that nobody else will ([`leftovers`]).

pub mod addresses;
pub mod eviction;
pub mod health;
pub mod leftovers;
mod taints;
