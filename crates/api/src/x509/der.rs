//! DER, one element at a time.

pub const INTEGER: u8 = 2;
pub const OCTETS: u8 = 4;
pub const OID: u8 = 6;
pub const SEQUENCE: u8 = 0x30;

/// The elements that `0` holds one after another.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// What the next element holds, if it has this tag.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&[found, short], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match short {
            0..0x80 => (usize::from(short), rest),
            _ => long_length(usize::from(short & 0x7f), rest)?,
        };
        let (body, rest) = rest.split_at_checked(length)?;
        if found != tag {
            return None;
        }
        self.0 = rest;
        Some(body)
    }

    /// The elements of the next sequence.
    pub fn sequence(&mut self) -> Option<Reader<'a>> {
        self.take(SEQUENCE).map(Reader)
    }

    /// A whole number that is not negative, without leading zeros.
    pub fn unsigned(&mut self) -> Option<&'a [u8]> {
        let body = self
            .take(INTEGER)
            .filter(|b| b.first().is_some_and(|f| f & 0x80 == 0))?;
        Some(trimmed(body))
    }
}

/// A number without leading zeros.
pub fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|b| **b == 0).count();
    &number[zeros..]
}

/// A length of `count` bytes in the shortest form, as DER wants it.
fn long_length(count: usize, rest: &[u8]) -> Option<(usize, &[u8])> {
    let (bytes, rest) = rest.split_at_checked(count)?;
    if !(1..=4).contains(&count) || bytes[0] == 0 {
        return None;
    }
    let length = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
    (length >= 0x80).then_some((length, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_in_their_shortest_form_only() {
        let long = [&[4, 0x81, 0x80][..], &[7; 128]].concat();
        for (bytes, tag, want) in [
            (&b"\x02\x01\x05"[..], INTEGER, Some(&b"\x05"[..])),
            (&long, OCTETS, Some(&[7; 128][..])),
            (b"\x02\x01\x05", OCTETS, None),
            (b"\x04\x81\x01x", OCTETS, None),
            (b"\x04\x80", OCTETS, None),
            (b"\x04\x85\x01\x01\x01\x01\x01", OCTETS, None),
            (b"\x04\x05ab", OCTETS, None),
            (b"\x04", OCTETS, None),
            (b"", OCTETS, None),
        ] {
            assert_eq!(Reader(bytes).take(tag), want, "{bytes:?}");
        }
        assert_eq!(Reader(b"\x02\x02\x00\x81").unsigned(), Some(&b"\x81"[..]));
        assert_eq!(Reader(b"\x02\x01\x81").unsigned(), None);
    }
}
