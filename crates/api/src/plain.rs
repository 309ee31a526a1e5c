//! Text that stands in JSON as it is.

const EACH: u64 = u64::MAX / 255;
const HIGH: u64 = EACH * 128;

/// How many bytes there are before the first one that a JSON string cannot have as it is: a quote, a backslash or a control
/// character. Eight are looked at in one step.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (i, chunk) in chunks.iter().enumerate() {
        let marks = marks(chunk);
        if marks != 0 {
            return i * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    match bytes.last_chunk::<8>() {
        // The last eight, of which those before the rest are known to be plain.
        Some(last) => match marks(last) {
            0 => bytes.len(),
            marks => bytes.len() - 8 + marks.trailing_zeros() as usize / 8,
        },
        None => {
            let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            rest.iter().position(special).unwrap_or(rest.len())
        }
    }
}

/// Marks bytes that are special. The lowest mark is right; only marks above one that is right can be wrong.
fn marks(chunk: &[u8; 8]) -> u64 {
    let word = u64::from_le_bytes(*chunk);
    below(word, 0x20)
        | zeros(word ^ (EACH * u64::from(b'"')))
        | zeros(word ^ (EACH * u64::from(b'\\')))
}

/// Marks bytes that are smaller than `limit`, which is at most 128.
fn below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(EACH * limit) & !word & HIGH
}

/// Marks bytes that are zero.
fn zeros(word: u64) -> u64 {
    below(word, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_stops_where_one_by_one_stops(bytes in prop::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 0..40)) {
            let one = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
            prop_assert_eq!(plain(&bytes), one.unwrap_or(bytes.len()));
        }
    }
}
