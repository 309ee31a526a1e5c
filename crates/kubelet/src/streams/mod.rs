//! Streams between a client and a container: what carries them, and what is carried.

pub mod remote;
pub mod spdy;
pub mod ws;

#[cfg(test)]
mod fuzz;
