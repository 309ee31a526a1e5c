//! Netlink framing: messages and attributes, written and read.

/// `nlmsghdr` is 16 bytes; netfilter's `nfgenmsg` of 4 bytes follows it.
pub const HEADER: usize = 16;

const NLA_NESTED: u16 = 0x8000;
const NLA_TYPE: u16 = 0x3fff;

/// Appends netlink messages to a buffer.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    pub buf: Vec<u8>,
}

fn align(n: usize) -> usize {
    (n + 3) & !3
}

impl Writer {
    /// Starts a netfilter message; the returned offset goes to [`Writer::end`].
    pub fn begin(&mut self, kind: u16, flags: u16, seq: u32, family: u8, res_id: u16) -> usize {
        let start = self.buf.len();
        self.buf.extend_from_slice(&0u32.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(&flags.to_ne_bytes());
        self.buf.extend_from_slice(&seq.to_ne_bytes());
        self.buf.extend_from_slice(&0u32.to_ne_bytes());
        self.buf.extend_from_slice(&[family, 0]);
        self.buf.extend_from_slice(&res_id.to_be_bytes());
        start
    }

    /// Closes the message that began at `start`.
    pub fn end(&mut self, start: usize) {
        let len = (self.buf.len() - start) as u32;
        self.buf[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    pub fn attr(&mut self, kind: u16, data: &[u8]) {
        self.buf
            .extend_from_slice(&((data.len() + 4) as u16).to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(data);
        self.buf.resize(align(self.buf.len()), 0);
    }

    /// netfilter's integers are in network byte order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    pub fn u64(&mut self, kind: u16, value: u64) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// A NUL-terminated string.
    pub fn str(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    pub fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Writer)) {
        let start = self.buf.len();
        self.buf.extend_from_slice(&0u16.to_ne_bytes());
        self.buf
            .extend_from_slice(&(kind | NLA_NESTED).to_ne_bytes());
        inside(self);
        let len = (self.buf.len() - start) as u16;
        self.buf[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// One received message, header split off.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    /// All that follows the `nlmsghdr`.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes of a netfilter message.
    pub fn attrs(&self) -> Attrs<'a> {
        Attrs(self.payload.get(4..).unwrap_or_default())
    }

    /// Family of a netfilter message.
    pub fn family(&self) -> u8 {
        self.payload.first().copied().unwrap_or_default()
    }
}

/// Splits a datagram into messages; stops at the first malformed one.
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = u32_at(self.0, 0)? as usize;
        if len < HEADER || len > self.0.len() {
            return None;
        }
        let message = Message {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            seq: u32_at(self.0, 8)?,
            payload: &self.0[HEADER..len],
        };
        self.0 = self.0.get(align(len)..).unwrap_or_default();
        Some(message)
    }
}

/// Walks over attributes; stops at the first malformed one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attrs<'a>(pub &'a [u8]);

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = u16_at(self.0, 0)? as usize;
        if len < 4 || len > self.0.len() {
            return None;
        }
        let kind = u16_at(self.0, 2)? & NLA_TYPE;
        let data = &self.0[4..len];
        self.0 = self.0.get(align(len)..).unwrap_or_default();
        Some((kind, data))
    }
}

impl<'a> Attrs<'a> {
    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        let mut attrs = self;
        attrs.find(|(k, _)| *k == kind).map(|(_, data)| data)
    }

    pub fn nested(self, kind: u16) -> Attrs<'a> {
        Attrs(self.get(kind).unwrap_or_default())
    }

    pub fn str(self, kind: u16) -> Option<&'a str> {
        let bytes = self.get(kind)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).ok()
    }

    pub fn u8(self, kind: u16) -> Option<u8> {
        self.get(kind)?.first().copied()
    }

    pub fn u16(self, kind: u16) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    pub fn u32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    pub fn u64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut w = Writer::default();
        let start = w.begin(0x0a01, 5, 7, 2, 0);
        w.str(1, "name");
        w.nested(2, |w| w.u32(3, 0xdead_beef));
        w.end(start);
        let start = w.begin(3, 0, 8, 10, 0);
        w.end(start);

        let messages: Vec<_> = Messages(&w.buf).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(
            (messages[0].kind, messages[0].flags, messages[0].seq),
            (0x0a01, 5, 7)
        );
        assert_eq!(messages[0].attrs().str(1), Some("name"));
        assert_eq!(messages[0].attrs().nested(2).u32(3), Some(0xdead_beef));
        assert_eq!(messages[1].family(), 10);
    }

    #[test]
    fn malformed_input_ends_the_walk() {
        for bytes in [
            &[][..],
            &[1, 2],
            &[255; 20],
            &[0; 64],
            &[15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(Messages(bytes).count(), 0);
        }
        assert_eq!(Attrs(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(Attrs(&[9, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(Attrs(&[5, 0, 1, 0, 9]).next(), Some((1, &[9u8][..])));
    }
}
