//! A small web program, linked statically, that Knarr carries inside itself: the application of `knarr up --demo`, and the
//! peer that tests talk to. It needs nothing but a kernel, so its image holds one file.

/// The program, an ELF executable for this machine.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo"));

/// Where the program is in its image.
pub const PATH: &str = "/demo";
