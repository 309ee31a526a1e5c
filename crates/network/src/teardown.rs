//! Leaving nothing behind.

use std::path::Path;

use anyhow::Context;
use knarr_nft::{Batch, Connection, Family};

use crate::{forward, links, record::VETH_PREFIX, rules};

/// Removes everything that is ours, also what no record knows of.
pub async fn teardown(bridge: &str, state_dir: &Path) -> anyhow::Result<()> {
    let handle = links::connect().context("cannot open a netlink socket")?;
    if let Some(link) = links::by_name(&handle, bridge)
        .await?
        .filter(|l| l.is_bridge)
    {
        for port in links::all(&handle).await? {
            if port.controller == Some(link.index) && port.name.starts_with(VETH_PREFIX) {
                links::delete(&handle, port.index).await?;
            }
        }
        links::delete(&handle, link.index).await?;
    }
    let mut nft = Connection::open()?;
    let mut batch = Batch::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        if nft.tables(family)?.contains(&rules::table(family)) {
            batch.delete_table(&rules::table(family));
        }
    }
    nft.commit(&batch)?;
    forward::withdraw(&mut nft)?;
    remove_dir(&state_dir.join("sandboxes"))
}

fn remove_dir(dir: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
