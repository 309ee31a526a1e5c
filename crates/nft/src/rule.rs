//! Rules, written in the order in which the `nft` tool shows them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    expr::{Base, CmpOp, CtKey, Expr, Found, MetaKey, NatKind, Reg, Reject, Verdict},
    set::Key,
    table::Family,
};

/// `RTN_LOCAL`: an address of this machine.
const LOCAL: u32 = 2;
/// `IPS_DST_NAT` of conntrack's status.
const DST_NAT: u32 = 0x20;

/// States of a connection; a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CtState(pub u32);

impl CtState {
    pub const INVALID: CtState = CtState(1);
    pub const ESTABLISHED: CtState = CtState(2);
    pub const RELATED: CtState = CtState(4);
    pub const NEW: CtState = CtState(8);
}

/// A field of a packet that can be part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Saddr,
    Daddr,
    L4proto,
    Dport,
    /// A random number below this, new for each packet.
    Random(u32),
}

/// A rule under construction: matches first, then what to do. What looks at addresses is for IPv4 or IPv6 alone: in an
/// inet table start with [`Rule::inet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    family: Family,
    pub(crate) exprs: Vec<Expr>,
    /// What the numbers of the rule's own verdict map lead to.
    pub(crate) choices: Option<Vec<Verdict>>,
    pub(crate) comment: Option<String>,
}

impl Rule {
    /// A rule of an IPv4 or IPv6 table.
    pub fn new(family: Family) -> Self {
        Rule {
            family,
            exprs: Vec::new(),
            choices: None,
            comment: None,
        }
    }

    /// A rule of an inet table for packets of `family` only.
    pub fn inet(family: Family) -> Self {
        Rule::new(family).meta_eq(MetaKey::Nfproto, vec![family.code()])
    }

    /// Appends any instruction.
    pub fn push(mut self, expr: Expr) -> Self {
        self.exprs.push(expr);
        self
    }

    fn cmp(self, op: CmpOp, data: Vec<u8>) -> Self {
        self.push(Expr::Cmp {
            op,
            reg: Reg(0),
            data,
        })
    }

    fn meta_eq(self, key: MetaKey, data: Vec<u8>) -> Self {
        self.push(Expr::Meta { key, into: Reg(0) })
            .cmp(CmpOp::Eq, data)
    }

    fn load(self, field: Field, into: Reg) -> Self {
        let v6 = self.family == Family::Ipv6;
        let (base, offset, len) = match field {
            Field::Random(modulus) => {
                return self.push(Expr::Numgen {
                    modulus,
                    random: true,
                    into,
                });
            }
            Field::L4proto => {
                return self.push(Expr::Meta {
                    key: MetaKey::L4proto,
                    into,
                });
            }
            Field::Saddr if v6 => (Base::Network, 8, 16),
            Field::Daddr if v6 => (Base::Network, 24, 16),
            Field::Saddr => (Base::Network, 12, 4),
            Field::Daddr => (Base::Network, 16, 4),
            Field::Dport => (Base::Transport, 2, 2),
        };
        self.push(Expr::Payload {
            base,
            offset,
            len,
            into,
        })
    }

    fn words(&self, field: Field) -> u8 {
        match field {
            Field::Saddr | Field::Daddr if self.family == Family::Ipv6 => 4,
            _ => 1,
        }
    }

    fn load_key(mut self, fields: &[Field]) -> Self {
        let mut reg = 0;
        for field in fields {
            let words = self.words(*field);
            self = self.load(*field, Reg(reg));
            reg += words;
        }
        self
    }

    fn in_net(self, field: Field, op: CmpOp, net: IpNet) -> Self {
        let mut rule = self.load(field, Reg(0));
        if net.prefix_len() != net.max_prefix_len() {
            let mask = octets(net.netmask());
            let xor = vec![0; mask.len()];
            rule = rule.push(Expr::Bitwise {
                reg: Reg(0),
                mask,
                xor,
            });
        }
        rule.cmp(op, octets(net.network()))
    }

    pub fn saddr(self, net: IpNet) -> Self {
        self.in_net(Field::Saddr, CmpOp::Eq, net)
    }

    pub fn saddr_not(self, net: IpNet) -> Self {
        self.in_net(Field::Saddr, CmpOp::Neq, net)
    }

    pub fn daddr(self, net: IpNet) -> Self {
        self.in_net(Field::Daddr, CmpOp::Eq, net)
    }

    pub fn daddr_not(self, net: IpNet) -> Self {
        self.in_net(Field::Daddr, CmpOp::Neq, net)
    }

    /// IP protocol number, e.g. 6 for TCP.
    pub fn l4proto(self, proto: u8) -> Self {
        self.meta_eq(MetaKey::L4proto, vec![proto])
    }

    /// Destination port; needs [`Rule::l4proto`] before it.
    pub fn dport(self, port: u16) -> Self {
        self.load(Field::Dport, Reg(0))
            .cmp(CmpOp::Eq, port.to_be_bytes().to_vec())
    }

    fn ifname(self, key: MetaKey, op: CmpOp, name: &str) -> Self {
        let mut data = name.as_bytes().to_vec();
        match data.strip_suffix(b"*") {
            Some(prefix) => data = prefix.to_vec(),
            None => data.resize(16, 0),
        }
        self.push(Expr::Meta { key, into: Reg(0) }).cmp(op, data)
    }

    /// Name of the input interface; a trailing `*` matches any rest.
    pub fn iifname(self, name: &str) -> Self {
        self.ifname(MetaKey::Iifname, CmpOp::Eq, name)
    }

    pub fn iifname_not(self, name: &str) -> Self {
        self.ifname(MetaKey::Iifname, CmpOp::Neq, name)
    }

    /// Name of the output interface; a trailing `*` matches any rest.
    pub fn oifname(self, name: &str) -> Self {
        self.ifname(MetaKey::Oifname, CmpOp::Eq, name)
    }

    pub fn oifname_not(self, name: &str) -> Self {
        self.ifname(MetaKey::Oifname, CmpOp::Neq, name)
    }

    /// Any bit of `mask` is set in what was loaded.
    fn any_bit(self, mask: u32) -> Self {
        let mask = mask.to_ne_bytes().to_vec();
        self.push(Expr::Bitwise {
            reg: Reg(0),
            mask,
            xor: vec![0; 4],
        })
        .cmp(CmpOp::Neq, vec![0; 4])
    }

    /// The connection is in one of the states of the mask.
    pub fn ct_state(self, states: CtState) -> Self {
        self.push(Expr::Ct {
            key: CtKey::State,
            into: Reg(0),
        })
        .any_bit(states.0)
    }

    /// The connection's destination was changed, by us or by others.
    pub fn ct_dnat(self) -> Self {
        self.push(Expr::Ct {
            key: CtKey::Status,
            into: Reg(0),
        })
        .any_bit(DST_NAT)
    }

    pub fn ct_mark(self, mark: u32) -> Self {
        self.push(Expr::Ct {
            key: CtKey::Mark,
            into: Reg(0),
        })
        .cmp(CmpOp::Eq, mark.to_ne_bytes().to_vec())
    }

    /// A bit of the packet's mark is set.
    pub fn mark(self, bit: u32) -> Self {
        self.push(Expr::Meta {
            key: MetaKey::Mark,
            into: Reg(0),
        })
        .any_bit(bit)
    }

    fn change_mark(self, keep: u32, flip: u32) -> Self {
        let (mask, xor) = (keep.to_ne_bytes().to_vec(), flip.to_ne_bytes().to_vec());
        self.push(Expr::Meta {
            key: MetaKey::Mark,
            into: Reg(0),
        })
        .push(Expr::Bitwise {
            reg: Reg(0),
            mask,
            xor,
        })
        .push(Expr::MetaSet {
            key: MetaKey::Mark,
            from: Reg(0),
        })
    }

    pub fn set_mark(self, bit: u32) -> Self {
        self.change_mark(!bit, bit)
    }

    pub fn clear_mark(self, bit: u32) -> Self {
        self.change_mark(!bit, 0)
    }

    fn fib_local(self, source: bool) -> Self {
        self.push(Expr::FibType {
            source,
            into: Reg(0),
        })
        .cmp(CmpOp::Eq, LOCAL.to_ne_bytes().to_vec())
    }

    /// The source is an address of this machine.
    pub fn saddr_local(self) -> Self {
        self.fib_local(true)
    }

    /// The destination is an address of this machine.
    pub fn daddr_local(self) -> Self {
        self.fib_local(false)
    }

    fn lookup(self, fields: &[Field], set: &str, found: Found) -> Self {
        self.load_key(fields).push(Expr::Lookup {
            set: set.to_owned(),
            id: 0,
            from: Reg(0),
            found,
        })
    }

    /// The key is in the set.
    pub fn is_in(self, fields: &[Field], set: &str) -> Self {
        self.lookup(fields, set, Found::Match)
    }

    pub fn is_not_in(self, fields: &[Field], set: &str) -> Self {
        self.lookup(fields, set, Found::Absent)
    }

    /// Takes the verdict that the map has for the key; goes on when it has none.
    pub fn vmap(self, fields: &[Field], map: &str) -> Self {
        self.lookup(fields, map, Found::Verdict)
    }

    /// One of the verdicts by chance, all with the same probability.
    pub fn random(mut self, verdicts: Vec<Verdict>) -> Self {
        let modulus = verdicts.len().max(1) as u32;
        self.choices = Some(verdicts);
        // The map gets its name and id when the rule is put into a batch.
        self.push(Expr::Numgen {
            modulus,
            random: true,
            into: Reg(0),
        })
        .lookup(&[], "", Found::Verdict)
    }

    /// True once in `n` times.
    pub fn once_in(self, n: u32) -> Self {
        self.push(Expr::Numgen {
            modulus: n.max(1),
            random: true,
            into: Reg(0),
        })
        .cmp(CmpOp::Eq, vec![0; 4])
    }

    /// Remembers the key in a dynamic set, or renews it there.
    pub fn update(self, fields: &[Field], set: &str) -> Self {
        self.load_key(fields).push(Expr::Update {
            set: set.to_owned(),
            from: Reg(0),
        })
    }

    /// Changes the destination. Needs [`Rule::l4proto`] before it when a port is given.
    pub fn dnat(self, ip: IpAddr, port: Option<u16>) -> Self {
        self.nat(NatKind::Dnat, ip, port)
    }

    /// Changes the source. Needs [`Rule::l4proto`] before it when a port is given.
    pub fn snat(self, ip: IpAddr, port: Option<u16>) -> Self {
        self.nat(NatKind::Snat, ip, port)
    }

    fn nat(self, kind: NatKind, ip: IpAddr, port: Option<u16>) -> Self {
        let after = Reg(if ip.is_ipv4() { 1 } else { 4 });
        let mut rule = self.push(Expr::Immediate {
            into: Reg(0),
            data: octets(ip),
        });
        if let Some(port) = port {
            rule = rule.push(Expr::Immediate {
                into: after,
                data: port.to_be_bytes().to_vec(),
            });
        }
        rule.push(Expr::Nat {
            kind,
            family: Family::of(ip),
            addr: Reg(0),
            port: port.map(|_| after),
        })
    }

    /// Changes the destination to the address and port that a map has for the key.
    pub fn dnat_map(self, fields: &[Field], map: &str) -> Self {
        let family = self.family;
        let port = Some(Reg(if family == Family::Ipv6 { 4 } else { 1 }));
        self.lookup(fields, map, Found::Load(Reg(0)))
            .push(Expr::Nat {
                kind: NatKind::Dnat,
                family,
                addr: Reg(0),
                port,
            })
    }

    /// Changes the source to an address of the output interface, with source ports that are hard to guess.
    pub fn masquerade(self) -> Self {
        self.push(Expr::Masquerade { random: true })
    }

    pub fn counter(self) -> Self {
        self.push(Expr::Counter)
    }

    pub fn notrack(self) -> Self {
        self.push(Expr::Notrack)
    }

    /// [`Reject::TcpReset`] needs `l4proto(6)` before it.
    pub fn reject(self, with: Reject) -> Self {
        let family = self.family;
        self.push(Expr::Reject { family, with })
    }

    pub fn verdict(self, verdict: Verdict) -> Self {
        self.push(Expr::Verdict(verdict))
    }

    pub fn accept(self) -> Self {
        self.verdict(Verdict::Accept)
    }

    pub fn drop(self) -> Self {
        self.verdict(Verdict::Drop)
    }

    pub fn jump(self, chain: &str) -> Self {
        self.verdict(Verdict::Jump(chain.to_owned()))
    }

    pub fn goto(self, chain: &str) -> Self {
        self.verdict(Verdict::Goto(chain.to_owned()))
    }

    /// Shown by `nft list ruleset`; cut to what the kernel keeps.
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    Key::new().ip(ip).bytes()
}
