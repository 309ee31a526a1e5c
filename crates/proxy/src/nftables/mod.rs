//! The nftables backend: one table `knarr-proxy` for each address family.
//!
//! A packet to a Service is found by one lookup of `address . protocol . port` (or `protocol . port` for node ports),
//! whatever the number of Services. Most Services are elements of shared maps and nothing else: a map for each number of
//! endpoints, whose keys end in a random number, leads to the endpoint. Services with session affinity, traffic policy
//! `Local` or very many endpoints have chains of their own, which a verdict map leads to. The kernel walks through all
//! chains of a table whenever a rule is added, but not when an element of a plain map is, so that is what usual changes
//! consist of. Connections that exist are translated by connection tracking without looking at any of this.

mod base;
mod claims;
mod compile;
mod names;
mod update;

use std::collections::HashMap;

use anyhow::Context;
use ipnet::IpNet;
use knarr_nft::{Batch, Connection};

use crate::{
    backend::{Backend, Diff},
    conntrack,
    service::{IpFamily, ServicePort},
};
use claims::Claims;
use compile::{Piece, compile};
pub use names::TABLE;
pub(crate) use names::family as nftables_family;
use update::PieceChange;

/// A Service port within our tables.
type Id = (IpFamily, String);

pub struct Nftables {
    nft: Connection,
    families: Vec<IpFamily>,
    cluster_cidrs: Vec<IpNet>,
    wanted: HashMap<Id, Piece>,
    claims: Claims,
    /// Whether the kernel has what is wanted.
    installed: bool,
    /// Messages of the last transaction.
    last_messages: usize,
}

impl Nftables {
    /// Changes nothing yet: rules of an earlier run stay until the first [`Backend::apply`].
    pub fn open(families: Vec<IpFamily>, cluster_cidrs: Vec<IpNet>) -> anyhow::Result<Self> {
        let nft = Connection::open().context("nf_tables is not available")?;
        Ok(Nftables {
            nft,
            families,
            cluster_cidrs,
            wanted: HashMap::new(),
            claims: Claims::default(),
            installed: false,
            last_messages: 0,
        })
    }

    /// How many messages the last transaction had: the cost of a change.
    pub fn last_messages(&self) -> usize {
        self.last_messages
    }

    fn compile_all<'a>(&self, ports: impl Iterator<Item = &'a ServicePort>) -> HashMap<Id, Piece> {
        let known = |family| {
            self.cluster_cidrs
                .iter()
                .any(|net| IpFamily::of(net.addr()) == family)
        };
        ports
            .filter(|p| self.families.contains(&p.family))
            .map(|p| ((p.family, p.id()), compile(p, known(p.family))))
            .collect()
    }

    /// Takes over what is wanted from now on, and says which pieces differ.
    fn adopt(&mut self, diff: &Diff) -> Vec<PieceChange> {
        let old = self.compile_all(diff.changes.iter().flat_map(|c| &c.old));
        let mut new = self.compile_all(diff.changes.iter().flat_map(|c| &c.new));
        let mut changes = Vec::new();
        for id in old.keys() {
            let after = new.remove(id);
            changes.extend(self.adopt_one(id.clone(), after));
        }
        for (id, piece) in new {
            changes.extend(self.adopt_one(id, Some(piece)));
        }
        changes
    }

    fn adopt_one(&mut self, id: Id, new: Option<Piece>) -> Option<PieceChange> {
        let old = self.wanted.remove(&id).unwrap_or_default();
        let family = id.0;
        old.claims
            .iter()
            .for_each(|c| self.claims.remove(family, &id.1, c));
        if let Some(new) = &new {
            new.claims
                .iter()
                .for_each(|c| self.claims.add(family, &id.1, c));
            self.wanted.insert(id, new.clone());
        }
        let new = new.unwrap_or_default();
        (old != new).then_some(PieceChange { family, old, new })
    }

    /// All of it in one transaction, in place of whatever is there.
    fn rebuild(&mut self) -> anyhow::Result<()> {
        let mut batch = Batch::new();
        for family in &self.families {
            base::rebuild(&mut batch, *family, &self.cluster_cidrs);
        }
        let pieces: Vec<PieceChange> = self
            .wanted
            .iter()
            .map(|((family, _), piece)| PieceChange {
                family: *family,
                old: Piece::default(),
                new: piece.clone(),
            })
            .collect();
        update::write(&mut batch, &pieces, &self.claims.all());
        self.installed = false;
        self.commit(&batch)
            .context("cannot install the service rules")?;
        self.installed = true;
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> knarr_nft::Result<()> {
        self.last_messages = batch.len();
        self.nft.commit(batch)
    }
}

impl Backend for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn apply(&mut self, diff: &Diff) -> anyhow::Result<()> {
        let pieces = self.adopt(diff);
        let elements = self.claims.take_changes();
        if !self.installed {
            self.rebuild()?;
        } else if !pieces.is_empty() || !elements.is_empty() {
            let mut batch = Batch::new();
            update::write(&mut batch, &pieces, &elements);
            if let Err(error) = self.commit(&batch) {
                // Somebody changed our table, or we are wrong about what is in it.
                tracing::warn!(%error, "service rules are not as they should be, installing all of them anew");
                self.rebuild()?;
            }
        }
        conntrack::forget_stale(&mut self.nft, &self.families, diff);
        Ok(())
    }

    fn check(&mut self) -> anyhow::Result<bool> {
        if !self.installed {
            return Ok(false);
        }
        for family in self.families.clone() {
            let table = names::table(family);
            if !self.nft.tables(table.family)?.contains(&table) {
                self.rebuild()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn teardown(&mut self) -> anyhow::Result<()> {
        self.installed = false;
        teardown(&mut self.nft)
    }
}

/// Removes our tables, if they are there.
pub fn teardown(nft: &mut Connection) -> anyhow::Result<()> {
    let mut batch = Batch::new();
    for family in [IpFamily::V4, IpFamily::V6] {
        let table = names::table(family);
        if nft.tables(table.family)?.contains(&table) {
            batch.delete_table(&table);
        }
    }
    nft.commit(&batch)
        .context("cannot remove the service rules")
}
