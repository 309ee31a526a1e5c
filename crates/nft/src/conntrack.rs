//! The kernel's table of connections: reading it and taking entries out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    error::Result,
    socket::Connection,
    table::Family,
    wire::{Attrs, Message, Writer},
};

const CTNETLINK: u16 = 1;
const GET: u16 = (CTNETLINK << 8) | 1;
const DELETE: u16 = (CTNETLINK << 8) | 2;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// IP protocol number.
    pub proto: u8,
    /// 0 for protocols without ports.
    pub src_port: u16,
    pub dst_port: u16,
}

/// A tracked flow. Where nothing was translated, `reply` is `orig` turned round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// As the first packet came in.
    pub orig: Tuple,
    /// As answers come in: its source is where a changed destination led to.
    pub reply: Tuple,
    id: u32,
}

impl Connection {
    /// All tracked flows of a family.
    pub fn flows(&mut self, family: Family) -> Result<Vec<Flow>> {
        self.dump(GET, family.code(), |_| {}, flow)
    }

    /// Forgets a flow; the next packet of it is looked at anew. Succeeds when it is gone already.
    pub fn delete_flow(&mut self, flow: &Flow) -> Result<()> {
        let family = Family::of(flow.orig.src).code();
        let deleted = self.request(DELETE, family, "delete conntrack entry", |w| {
            w.nested(TUPLE_ORIG, |w| encode(w, &flow.orig));
            w.u32(ID, flow.id);
        });
        match deleted {
            Err(e) if e.is_not_found() => Ok(()),
            other => other,
        }
    }
}

fn flow(m: &Message) -> Option<Flow> {
    let a = m.attrs();
    Some(Flow {
        orig: tuple(a.nested(TUPLE_ORIG))?,
        reply: tuple(a.nested(TUPLE_REPLY))?,
        id: a.u32(ID).unwrap_or_default(),
    })
}

fn tuple(a: Attrs) -> Option<Tuple> {
    let (ip, proto) = (a.nested(1), a.nested(2));
    let v4 = |kind| {
        Some(IpAddr::V4(Ipv4Addr::from(
            <[u8; 4]>::try_from(ip.get(kind)?).ok()?,
        )))
    };
    let v6 = |kind| {
        Some(IpAddr::V6(Ipv6Addr::from(
            <[u8; 16]>::try_from(ip.get(kind)?).ok()?,
        )))
    };
    Some(Tuple {
        src: v4(1).or_else(|| v6(3))?,
        dst: v4(2).or_else(|| v6(4))?,
        proto: proto.u8(1)?,
        src_port: proto.u16(2).unwrap_or_default(),
        dst_port: proto.u16(3).unwrap_or_default(),
    })
}

fn encode(w: &mut Writer, t: &Tuple) {
    w.nested(1, |w| match (t.src, t.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            w.attr(1, &src.octets());
            w.attr(2, &dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            w.attr(3, &src.octets());
            w.attr(4, &dst.octets());
        }
        // The kernel never reports such a flow.
        _ => {}
    });
    w.nested(2, |w| {
        w.attr(1, &[t.proto]);
        w.attr(2, &t.src_port.to_be_bytes());
        w.attr(3, &t.dst_port.to_be_bytes());
    });
}
