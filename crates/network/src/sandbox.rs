//! The inside of a sandbox's network namespace.

use std::{net::IpAddr, path::Path};

use anyhow::Context;
use ipnet::IpNet;
use knarr_nft::netns;

use crate::{links, sysctl};

/// Name of the sandbox's interface, as everyone expects it.
pub const INTERFACE: &str = "eth0";

/// Gives the sandbox's interface its addresses and routes. Every address stands alone (/32 or /128) and all traffic goes
/// by the gateway, so that the host sees both directions of every connection between pods and can translate them back.
pub fn configure(netns: &Path, ips: &[IpAddr], gateways: &[IpAddr]) -> anyhow::Result<()> {
    netns::inside(netns, || configure_here(ips, gateways))
        .with_context(|| format!("cannot enter network namespace {}", netns.display()))?
}

fn configure_here(ips: &[IpAddr], gateways: &[IpAddr]) -> anyhow::Result<()> {
    // The gateway is on the same wire as the other pods: it may not talk us into going there directly.
    for conf in ["all", "default", INTERFACE] {
        sysctl::try_set(&format!("ipv4/conf/{conf}/accept_redirects"), "0");
        sysctl::try_set(&format!("ipv6/conf/{conf}/accept_redirects"), "0");
    }
    sysctl::try_set(&format!("ipv6/conf/{INTERFACE}/accept_ra"), "0");
    if ips.iter().any(IpAddr::is_ipv6) {
        sysctl::set(&format!("ipv6/conf/{INTERFACE}/disable_ipv6"), "0")?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(add_addresses(ips, gateways))
}

async fn add_addresses(ips: &[IpAddr], gateways: &[IpAddr]) -> anyhow::Result<()> {
    let handle = links::connect()?;
    if let Some(lo) = links::by_name(&handle, "lo").await?.filter(|lo| !lo.up) {
        links::set_up(&handle, lo.index).await?;
    }
    let link = links::by_name(&handle, INTERFACE)
        .await?
        .context("the sandbox has no eth0")?;
    for ip in ips {
        links::add_address(&handle, link.index, IpNet::from(*ip))
            .await
            .with_context(|| format!("cannot add {ip}"))?;
    }
    links::set_up(&handle, link.index).await?;
    for gateway in gateways {
        links::add_link_route(&handle, IpNet::from(*gateway), link.index, None).await?;
        links::add_default_route(&handle, *gateway, link.index).await?;
    }
    Ok(())
}

/// Whether the namespace has our interface already.
pub fn has_interface(netns: &Path) -> bool {
    netns::inside(netns, || nix::net::if_::if_nametoindex(INTERFACE).is_ok()).unwrap_or(false)
}
