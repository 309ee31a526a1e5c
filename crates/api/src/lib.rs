//! What objects are: the registry of resources, their schemas, per-kind strategies, selectors, quantities and names.
//!
//! Nothing here does I/O. Generic code works on [`knarr_json::Value`] by schema; kind-specific code reads typed
//! `k8s-openapi` structs (see [`strategy`]).

pub mod builtin;
pub mod custom;
pub mod decode;
pub mod encode;
pub mod field;
pub mod fields;
pub mod go;
pub mod head;
pub mod names;
pub mod old;
pub mod openapi;
pub mod patch;
mod plain;
pub mod quantity;
pub mod registry;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod table;
pub mod validation;
pub mod x509;
pub mod yaml;

pub use head::Head;
pub use quantity::Quantity;
pub use registry::{Registry, Resource};
pub use schema::Schemas;
pub use status::Status;
