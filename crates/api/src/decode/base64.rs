//! Base64 as Go's `encoding/base64.StdEncoding` takes it: line breaks are skipped, and an error is the offset that Go names.

/// Decodes; the error is the offset of the offending byte.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut at = 0;
    loop {
        let (quantum, filled, next, done) = quantum(text, at)?;
        at = next;
        if filled == 0 {
            return Ok(out);
        }
        let bits = quantum
            .iter()
            .fold(0u32, |bits, six| bits << 6 | u32::from(*six));
        out.extend_from_slice(&bits.to_be_bytes()[1..filled]);
        if done {
            return Ok(out);
        }
    }
}

fn skip_breaks(text: &[u8], mut at: usize) -> usize {
    while let Some(b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// Reads four characters from `at`: their values, how many were no padding, where to go on, and whether the text ends.
fn quantum(text: &[u8], mut at: usize) -> Result<([u8; 4], usize, usize, bool), usize> {
    let mut values = [0; 4];
    for i in 0..4 {
        at = skip_breaks(text, at);
        let Some(&c) = text.get(at) else {
            return if i == 0 {
                Ok((values, 0, at, true))
            } else {
                Err(at - i)
            };
        };
        at += 1;
        match value(c) {
            Some(six) => values[i] = six,
            None if c == b'=' && i >= 2 => return padding(text, values, i, at),
            None => return Err(at - 1),
        }
    }
    Ok((values, 4, at, false))
}

/// Goes on behind the first `=`, which stood in place `i`.
fn padding(
    text: &[u8],
    values: [u8; 4],
    i: usize,
    mut at: usize,
) -> Result<([u8; 4], usize, usize, bool), usize> {
    if i == 2 {
        at = skip_breaks(text, at);
        match text.get(at) {
            None => return Err(text.len()),
            Some(b'=') => at += 1,
            Some(_) => return Err(at - 1),
        }
    }
    at = skip_breaks(text, at);
    if at < text.len() {
        Err(at)
    } else {
        Ok((values, i, at, true))
    }
}

fn value(c: u8) -> Option<u8> {
    Some(match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_are_those_that_go_names() {
        for (text, want) in [
            ("AA==", Ok(vec![0])),
            ("aGVsbG8=", Ok(b"hello".to_vec())),
            ("aGVs\nbG8=\n", Ok(b"hello".to_vec())),
            ("", Ok(vec![])),
            ("not base64!", Err(3)),
            ("AAA", Err(0)),
            ("AAAAA", Err(4)),
            ("AA=", Err(3)),
            ("AA==A", Err(4)),
            ("=", Err(0)),
        ] {
            assert_eq!(decode(text.as_bytes()), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_encoder(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            use ::base64::{Engine, engine::general_purpose::STANDARD};
            prop_assert_eq!(decode(STANDARD.encode(&bytes).as_bytes()), Ok(bytes));
        }
    }
}
