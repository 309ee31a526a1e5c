//! Expressions: the instructions that a rule is made of.

use crate::{table::Family, wire::Writer};

/// One of the sixteen 4-byte registers; longer values take several in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reg(pub u8);

impl Reg {
    fn code(self) -> u32 {
        8 + u32::from(self.0)
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Continue,
    Jump(String),
    Goto(String),
}

impl Verdict {
    fn code(&self) -> i32 {
        match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Continue => -1,
            Verdict::Jump(_) => -3,
            Verdict::Goto(_) => -4,
            Verdict::Return => -5,
        }
    }

    /// Where a jump or goto leads.
    pub fn chain(&self) -> Option<&str> {
        match self {
            Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
            _ => None,
        }
    }

    /// As the content of an attribute of data.
    pub(crate) fn encode(&self, w: &mut Writer) {
        w.nested(2, |w| {
            w.attr(1, &self.code().to_be_bytes());
            if let Some(chain) = self.chain() {
                w.str(2, chain);
            }
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    Mark = 3,
    Iifname = 6,
    Oifname = 7,
    Nfproto = 15,
    L4proto = 16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtKey {
    State = 0,
    Direction = 1,
    Status = 2,
    Mark = 3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CmpOp {
    Eq = 0,
    Neq = 1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    Snat = 0,
    Dnat = 1,
}

/// How a refused packet's sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    TcpReset,
    /// ICMP or ICMPv6, by the rule's family; so with the following.
    PortUnreachable,
    HostUnreachable,
    AdminProhibited,
}

/// Where a payload offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    Network = 1,
    Transport = 2,
}

/// What a lookup does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The rule goes on when the key is in the set.
    Match,
    /// The rule goes on when the key is not in the set.
    Absent,
    /// The map's value goes into a register.
    Load(Reg),
    /// The map's verdict is taken.
    Verdict,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    Meta {
        key: MetaKey,
        into: Reg,
    },
    MetaSet {
        key: MetaKey,
        from: Reg,
    },
    Ct {
        key: CtKey,
        into: Reg,
    },
    CtSet {
        key: CtKey,
        from: Reg,
    },
    Payload {
        base: Base,
        offset: u32,
        len: u32,
        into: Reg,
    },
    Cmp {
        op: CmpOp,
        reg: Reg,
        data: Vec<u8>,
    },
    Bitwise {
        reg: Reg,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    Immediate {
        into: Reg,
        data: Vec<u8>,
    },
    Verdict(Verdict),
    Lookup {
        set: String,
        id: u32,
        from: Reg,
        found: Found,
    },
    /// Adds the key to a dynamic set, or renews its timeout.
    Update {
        set: String,
        from: Reg,
    },
    Nat {
        kind: NatKind,
        family: Family,
        addr: Reg,
        port: Option<Reg>,
    },
    Masquerade {
        random: bool,
    },
    Numgen {
        modulus: u32,
        random: bool,
        into: Reg,
    },
    /// The type (`RTN_*`) of the packet's source or destination address.
    FibType {
        source: bool,
        into: Reg,
    },
    Counter,
    Reject {
        family: Family,
        with: Reject,
    },
    Notrack,
}

impl Expr {
    fn name(&self) -> &'static str {
        match self {
            Expr::Meta { .. } | Expr::MetaSet { .. } => "meta",
            Expr::Ct { .. } | Expr::CtSet { .. } => "ct",
            Expr::Payload { .. } => "payload",
            Expr::Cmp { .. } => "cmp",
            Expr::Bitwise { .. } => "bitwise",
            Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
            Expr::Lookup { .. } => "lookup",
            Expr::Update { .. } => "dynset",
            Expr::Nat { .. } => "nat",
            Expr::Masquerade { .. } => "masq",
            Expr::Numgen { .. } => "numgen",
            Expr::FibType { .. } => "fib",
            Expr::Counter => "counter",
            Expr::Reject { .. } => "reject",
            Expr::Notrack => "notrack",
        }
    }

    pub(crate) fn encode(&self, w: &mut Writer) {
        w.nested(1, |w| {
            w.str(1, self.name());
            w.nested(2, |w| self.encode_data(w));
        });
    }

    // Attribute numbers are the NFTA_<name>_* of nf_tables.h.
    fn encode_data(&self, w: &mut Writer) {
        match self {
            Expr::Meta { key, into } => loading(w, *into, 2, *key as u32),
            Expr::MetaSet { key, from } => {
                w.u32(2, *key as u32);
                w.u32(3, from.code());
            }
            Expr::Ct { key, into } => loading(w, *into, 2, *key as u32),
            Expr::CtSet { key, from } => {
                w.u32(2, *key as u32);
                w.u32(4, from.code());
            }
            Expr::Payload {
                base,
                offset,
                len,
                into,
            } => {
                loading(w, *into, 2, *base as u32);
                w.u32(3, *offset);
                w.u32(4, *len);
            }
            Expr::Cmp { op, reg, data } => {
                loading(w, *reg, 2, *op as u32);
                w.nested(3, |w| w.attr(1, data));
            }
            Expr::Bitwise { reg, mask, xor } => {
                loading(w, *reg, 2, reg.code());
                w.u32(3, mask.len() as u32);
                w.nested(4, |w| w.attr(1, mask));
                w.nested(5, |w| w.attr(1, xor));
            }
            Expr::Immediate { into, data } => {
                w.u32(1, into.code());
                w.nested(2, |w| w.attr(1, data));
            }
            Expr::Verdict(verdict) => {
                w.u32(1, 0);
                w.nested(2, |w| verdict.encode(w));
            }
            Expr::Lookup {
                set,
                id,
                from,
                found,
            } => lookup(w, set, *id, *from, *found),
            Expr::Update { set, from } => {
                w.str(1, set);
                w.u32(3, 1);
                w.u32(4, from.code());
            }
            Expr::Nat {
                kind,
                family,
                addr,
                port,
            } => nat(w, *kind, *family, *addr, *port),
            Expr::Masquerade { random } => {
                if *random {
                    w.u32(1, 0x10);
                }
            }
            Expr::Numgen {
                modulus,
                random,
                into,
            } => {
                loading(w, *into, 2, *modulus);
                w.u32(3, u32::from(*random));
            }
            Expr::FibType { source, into } => {
                loading(w, *into, 2, 3);
                w.u32(3, if *source { 1 } else { 2 });
            }
            Expr::Reject { family, with } => {
                let (kind, code) = reject_codes(*family, *with);
                w.u32(1, kind);
                w.attr(2, &[code]);
            }
            Expr::Counter | Expr::Notrack => {}
        }
    }
}

fn loading(w: &mut Writer, reg: Reg, kind: u16, value: u32) {
    w.u32(1, reg.code());
    w.u32(kind, value);
}

fn lookup(w: &mut Writer, set: &str, id: u32, from: Reg, found: Found) {
    w.str(1, set);
    if id != 0 {
        w.u32(4, id);
    }
    w.u32(2, from.code());
    match found {
        Found::Match => {}
        Found::Absent => w.u32(5, 1),
        Found::Load(reg) => w.u32(3, reg.code()),
        Found::Verdict => w.u32(3, 0),
    }
}

fn nat(w: &mut Writer, kind: NatKind, family: Family, addr: Reg, port: Option<Reg>) {
    w.u32(1, kind as u32);
    w.u32(2, u32::from(family.code()));
    w.u32(3, addr.code());
    w.u32(4, addr.code());
    if let Some(port) = port {
        w.u32(5, port.code());
        w.u32(6, port.code());
    }
}

/// The reject's type and, for ICMP, its code. Tables of one family know only the codes of that family's ICMP.
fn reject_codes(family: Family, reject: Reject) -> (u32, u8) {
    const ICMP: u32 = 0;
    const RESET: u32 = 1;
    const ICMP_OF_EITHER: u32 = 2;
    match (reject, family) {
        (Reject::TcpReset, _) => (RESET, 0),
        (Reject::PortUnreachable, Family::Ipv4) => (ICMP, 3),
        (Reject::PortUnreachable, Family::Ipv6) => (ICMP, 4),
        (Reject::PortUnreachable, Family::Inet) => (ICMP_OF_EITHER, 1),
        (Reject::HostUnreachable, Family::Ipv4) => (ICMP, 1),
        (Reject::HostUnreachable, Family::Ipv6) => (ICMP, 3),
        (Reject::HostUnreachable, Family::Inet) => (ICMP_OF_EITHER, 2),
        (Reject::AdminProhibited, Family::Ipv4) => (ICMP, 13),
        (Reject::AdminProhibited, Family::Ipv6) => (ICMP, 1),
        (Reject::AdminProhibited, Family::Inet) => (ICMP_OF_EITHER, 3),
    }
}
