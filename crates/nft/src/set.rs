//! Sets and maps and what is in them.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use crate::{expr::Verdict, wire::Writer};

/// What a field of a key or value is. The numbers are those of the `nft` tool, which prints values by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    Ipv4Addr,
    Ipv6Addr,
    Proto,
    Port,
    Mark,
    Integer,
}

impl KeyType {
    fn code(self) -> u32 {
        match self {
            KeyType::Integer => 4,
            KeyType::Ipv4Addr => 7,
            KeyType::Ipv6Addr => 8,
            KeyType::Proto => 12,
            KeyType::Port => 13,
            KeyType::Mark => 19,
        }
    }

    fn len(self) -> u32 {
        match self {
            KeyType::Proto => 1,
            KeyType::Port => 2,
            KeyType::Ipv6Addr => 16,
            KeyType::Ipv4Addr | KeyType::Mark | KeyType::Integer => 4,
        }
    }

    /// 1 is the host's byte order, 2 the network's.
    fn byte_order(self) -> u32 {
        match self {
            KeyType::Mark | KeyType::Integer => 1,
            _ => 2,
        }
    }

    pub fn address(family: crate::Family) -> Self {
        if family == crate::Family::Ipv6 {
            KeyType::Ipv6Addr
        } else {
            KeyType::Ipv4Addr
        }
    }
}

/// The type number and length in bytes of a concatenation. A lone field keeps its length, several are padded to words.
fn concatenated(types: &[KeyType]) -> (u32, u32) {
    match types {
        [one] => (one.code(), one.len()),
        many => many.iter().fold((0, 0), |(code, len), t| {
            ((code << 6) | t.code(), len + t.len().next_multiple_of(4))
        }),
    }
}

/// What a map's values are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Data {
    None,
    Verdict,
    Value(Vec<KeyType>),
}

/// A named set, map or verdict map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    key: Vec<KeyType>,
    data: Data,
    interval: bool,
    dynamic: bool,
    timeout: Option<Duration>,
}

impl Set {
    pub fn new(name: impl Into<String>, key: &[KeyType]) -> Self {
        Set {
            name: name.into(),
            key: key.to_vec(),
            data: Data::None,
            interval: false,
            dynamic: false,
            timeout: None,
        }
    }

    /// A map from keys to verdicts.
    pub fn verdict_map(name: impl Into<String>, key: &[KeyType]) -> Self {
        Set {
            data: Data::Verdict,
            ..Set::new(name, key)
        }
    }

    /// A map from keys to values.
    pub fn map(name: impl Into<String>, key: &[KeyType], data: &[KeyType]) -> Self {
        Set {
            data: Data::Value(data.to_vec()),
            ..Set::new(name, key)
        }
    }

    /// Holds ranges of its single field; see [`Element::network`].
    pub fn interval(mut self) -> Self {
        self.interval = true;
        self
    }

    /// Rules add to it, and elements go after this time.
    pub fn dynamic(mut self, timeout: Duration) -> Self {
        self.dynamic = true;
        self.timeout = Some(timeout);
        self
    }

    fn flags(&self) -> u32 {
        let mut flags = 0;
        if self.interval {
            flags |= 0x4;
        }
        if self.data != Data::None {
            flags |= 0x8;
        }
        if self.timeout.is_some() {
            flags |= 0x10;
        }
        if self.dynamic {
            flags |= 0x20;
        }
        flags
    }

    /// Writes the attributes after the table's name. `anonymous` adds the flags of a rule's own map.
    pub(crate) fn encode(&self, w: &mut Writer, id: u32, anonymous: bool) {
        const NAME: u16 = 2;
        const FLAGS: u16 = 3;
        const KEY_TYPE: u16 = 4;
        const KEY_LEN: u16 = 5;
        const DATA_TYPE: u16 = 6;
        const DATA_LEN: u16 = 7;
        const ID: u16 = 10;
        const TIMEOUT: u16 = 11;
        const USERDATA: u16 = 13;
        let (code, len) = concatenated(&self.key);
        w.str(NAME, &self.name);
        w.u32(FLAGS, self.flags() | if anonymous { 0x1 | 0x2 } else { 0 });
        w.u32(KEY_TYPE, code);
        w.u32(KEY_LEN, len);
        match &self.data {
            Data::None => {}
            Data::Verdict => {
                w.u32(DATA_TYPE, 0xffff_ff00);
                w.u32(DATA_LEN, 0);
            }
            Data::Value(types) => {
                let (code, len) = concatenated(types);
                w.u32(DATA_TYPE, code);
                w.u32(DATA_LEN, len);
            }
        }
        w.u32(ID, id);
        if let Some(timeout) = self.timeout {
            w.u64(TIMEOUT, timeout.as_millis() as u64);
        }
        // Tells the `nft` tool in which byte order to print.
        if let [one] = self.key[..] {
            let mut user = vec![0, 4];
            user.extend_from_slice(&one.byte_order().to_ne_bytes());
            w.attr(USERDATA, &user);
        }
    }
}

/// The bytes of a key or value: fields appended in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Key {
    bytes: Vec<u8>,
    fields: u32,
}

impl Key {
    pub fn new() -> Self {
        Key::default()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Key {
            bytes: bytes.to_vec(),
            fields: 1,
        }
    }

    fn push(mut self, bytes: &[u8]) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend_from_slice(bytes);
        self.fields += 1;
        self
    }

    pub fn ip(self, ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => self.push(&ip.octets()),
            IpAddr::V6(ip) => self.push(&ip.octets()),
        }
    }

    /// IP protocol number.
    pub fn proto(self, proto: u8) -> Self {
        self.push(&[proto])
    }

    pub fn port(self, port: u16) -> Self {
        self.push(&port.to_be_bytes())
    }

    /// An integer or mark, in the host's byte order.
    pub fn number(self, n: u32) -> Self {
        self.push(&n.to_ne_bytes())
    }

    /// The bytes as the kernel wants them: concatenations are padded to words at the end too.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if self.fields > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }
}

/// What an element of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    None,
    Verdict(Verdict),
    Data(Key),
}

/// One element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    key: Vec<u8>,
    value: Value,
    interval_end: bool,
    comment: Option<String>,
}

impl Element {
    pub fn key(key: &Key) -> Self {
        Element {
            key: key.bytes(),
            value: Value::None,
            interval_end: false,
            comment: None,
        }
    }

    pub fn verdict(key: &Key, verdict: Verdict) -> Self {
        Element {
            value: Value::Verdict(verdict),
            ..Element::key(key)
        }
    }

    pub fn value(key: &Key, value: Key) -> Self {
        Element {
            value: Value::Data(value),
            ..Element::key(key)
        }
    }

    pub(crate) fn dumped(
        key: &[u8],
        value: Value,
        interval_end: bool,
        comment: Option<String>,
    ) -> Self {
        Element {
            key: key.to_vec(),
            value,
            interval_end,
            comment,
        }
    }

    /// The key's bytes, as [`Key::bytes`] gives them.
    pub fn key_bytes(&self) -> &[u8] {
        &self.key
    }

    /// The verdict of an element of a verdict map.
    pub fn verdict_of(&self) -> Option<&Verdict> {
        match &self.value {
            Value::Verdict(verdict) => Some(verdict),
            _ => None,
        }
    }

    /// The value's bytes of an element of a map of values.
    pub fn value_bytes(&self) -> Option<Vec<u8>> {
        match &self.value {
            Value::Data(key) => Some(key.bytes()),
            _ => None,
        }
    }

    /// Shown by `nft list ruleset`; cut to what the kernel keeps.
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }

    /// The two ends that make a network in an interval set.
    pub fn network(net: IpNet) -> Vec<Self> {
        let first = Element::key(&Key::new().ip(net.network()));
        let after_last = match net.broadcast() {
            IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|n| IpAddr::V4(n.into())),
            IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(|n| IpAddr::V6(n.into())),
        };
        let last = after_last.map(|ip| Element {
            interval_end: true,
            ..Element::key(&Key::new().ip(ip))
        });
        std::iter::once(first).chain(last).collect()
    }

    /// The elements of an interval set that holds `nets`, which may overlap.
    pub fn networks(nets: &[IpNet]) -> Vec<Self> {
        IpNet::aggregate(&nets.to_vec())
            .into_iter()
            .flat_map(Element::network)
            .collect()
    }

    pub(crate) fn encode(&self, w: &mut Writer, with_value: bool) {
        const KEY: u16 = 1;
        const DATA: u16 = 2;
        const FLAGS: u16 = 3;
        const USERDATA: u16 = 6;
        w.nested(1, |w| {
            w.nested(KEY, |w| w.attr(1, &self.key));
            if self.interval_end {
                w.u32(FLAGS, 1);
            }
            if !with_value {
                return;
            }
            match &self.value {
                Value::None => {}
                Value::Verdict(verdict) => w.nested(DATA, |w| verdict.encode(w)),
                Value::Data(data) => w.nested(DATA, |w| w.attr(1, &data.bytes())),
            }
            if let Some(comment) = &self.comment {
                w.attr(USERDATA, &comment_data(comment));
            }
        });
    }
}

/// The `nft` tool's encoding of a comment on a rule or an element.
pub(crate) fn comment_data(text: &str) -> Vec<u8> {
    let mut end = text.len().min(127);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut data = vec![0, end as u8 + 1];
    data.extend_from_slice(&text.as_bytes()[..end]);
    data.push(0);
    data
}
