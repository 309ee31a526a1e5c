//! What this machine is as a node: name and addresses.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};

/// The machine's host name as a node name: lower case.
pub fn default_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("host name")?;
    let name = name.to_string_lossy().to_ascii_lowercase();
    check_name(&name)?;
    Ok(name)
}

pub fn check_name(name: &str) -> Result<()> {
    match knarr_api::names::dns1123_subdomain(name).first() {
        Some(wrong) => {
            bail!("{name:?} cannot be a node name: {wrong}; choose one with --node-name")
        }
        None => Ok(()),
    }
}

/// The addresses to use: those given, else those the machine is reached by.
pub fn addresses(given: &[IpAddr]) -> Result<Vec<IpAddr>> {
    let found = if given.is_empty() {
        knarr_network::node_addresses()
    } else {
        given.to_vec()
    };
    if found.is_empty() {
        bail!(
            "this machine has no address but loopback; give one to an interface, or name one with --node-ip"
        );
    }
    Ok(found)
}
