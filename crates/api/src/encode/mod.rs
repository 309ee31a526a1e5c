//! Objects as bytes other than JSON.

mod json;
pub mod protobuf;
mod wire;
