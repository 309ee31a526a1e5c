//! Certificates, requests for them and private keys, as far as validation looks into them: what Go's standard library says of
//! each, in its words, since these words are what clients of the original read.

mod asn1;
mod certificate;
mod der;
mod key;
pub mod pair;
pub mod pem;
mod request;
mod signature;

pub use certificate::certificates;
pub use request::request;

#[cfg(test)]
mod tests;
