//! Ports, which are numbers or names.

use super::At;
use crate::{
    field::{Error, Errors},
    names,
};

/// Protocols of ports, as messages list them.
pub const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// The `protocol` of a port: required.
pub fn protocol(port: &At, errs: &mut Errors) {
    super::one_of(port, "protocol", &PROTOCOLS, errs);
}

/// A port number, or the name of one.
pub fn number_or_name(at: &At, errs: &mut Errors) {
    match at.v.as_str() {
        Some(name) => {
            for m in names::port_name(name) {
                errs.push(Error::invalid(&at.path, name, m));
            }
        }
        None => number(at, errs),
    }
}

/// A port number; absent counts as zero.
pub fn number(at: &At, errs: &mut Errors) {
    let n = at.v.as_i64().unwrap_or(0);
    for m in names::port_number(n) {
        errs.push(Error::invalid(&at.path, n, m));
    }
}
