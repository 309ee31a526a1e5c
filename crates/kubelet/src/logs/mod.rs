//! Container logs: their line format, reading and following them, keeping them from growing for ever.

pub mod format;
pub mod read;
pub mod rotate;
pub mod watch;
