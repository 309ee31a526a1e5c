//! One container: from its spec and what surrounds it to what the runtime is told.

pub mod config;
pub mod dns;
pub mod env;
pub mod expand;
pub mod fields;
pub mod hooks;
pub mod image;
pub mod mounts;
pub mod security;
pub mod start;
pub mod stop;
