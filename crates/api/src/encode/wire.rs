//! The parts that protobuf messages are made of.

/// How the value of a field is written.
#[derive(Clone, Copy)]
pub enum Kind {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
}

pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn tag(out: &mut Vec<u8>, number: u32, kind: Kind) {
    varint(out, u64::from(number) << 3 | kind as u64);
}

/// A field of bytes or text.
pub fn bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    tag(out, number, Kind::Bytes);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// A field whose length is told when its content has been written: its start, for [`close`].
pub fn open(out: &mut Vec<u8>, number: u32) -> usize {
    tag(out, number, Kind::Bytes);
    out.push(0);
    out.len()
}

/// Puts the length in front of what was written since [`open`]. One byte was left for it, as most messages are small.
pub fn close(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    if len < 0x80 {
        out[start - 1] = len as u8;
        return;
    }
    let more = varint_len(len as u64) - 1;
    let end = out.len();
    out.resize(end + more, 0);
    out.copy_within(start..end, start + more);
    let (mut at, mut value) = (start - 1, len);
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
}

pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_in_as_few_bytes_as_they_need() {
        for len in [0usize, 1, 127, 128, 300, 16_383, 16_384, 100_000] {
            let mut out = vec![9];
            let start = open(&mut out, 2);
            out.extend((0..len).map(|i| i as u8));
            close(&mut out, start);
            let mut want = vec![9];
            bytes(&mut want, 2, &(0..len).map(|i| i as u8).collect::<Vec<_>>());
            assert_eq!(out, want, "{len}");
            assert_eq!(
                varint_len(len as u64),
                want.len() - len - 2,
                "length of {len}"
            );
        }
    }
}
