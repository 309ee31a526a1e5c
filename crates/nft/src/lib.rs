//! nf_tables and connection tracking over netlink, spoken directly: no `nft` binary and no system library.
//!
//! A [`Batch`] collects changes and [`Connection::commit`] applies them in one kernel transaction: all or nothing. Rules
//! are built with [`Rule`], whose methods are named after what `nft list ruleset` shows.
//!
//! ```no_run
//! use knarr_nft::{Batch, Chain, Connection, Family, Hook, Rule, Table};
//!
//! # fn main() -> knarr_nft::Result<()> {
//! let table = Table::new(Family::Ipv4, "example");
//! let mut batch = Batch::new();
//! batch.add_table(&table);
//! batch.add_chain(&table, &Chain::filter("in", Hook::Input, 0));
//! batch.add_rule(&table, "in", &Rule::new(table.family).l4proto(6).dport(23).drop());
//! Connection::open()?.commit(&batch)
//! # }
//! ```
//!
//! The protocol is that of the kernel's `linux/netfilter/nf_tables.h`, `nfnetlink.h` and `nfnetlink_conntrack.h`.

mod batch;
pub mod conntrack;
mod dump;
mod error;
mod expr;
pub mod netns;
mod rule;
mod set;
mod socket;
mod table;
mod wire;

pub use batch::Batch;
pub use dump::{ChainInfo, RuleInfo, SetInfo};
pub use error::{Error, Result};
pub use expr::{Base, CmpOp, CtKey, Expr, Found, MetaKey, NatKind, Reg, Reject, Verdict};
pub use rule::{CtState, Field, Rule};
pub use set::{Element, Key, KeyType, Set};
pub use socket::Connection;
pub use table::{Chain, ChainType, Family, Hook, Table};
