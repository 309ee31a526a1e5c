//! PEM blocks, found as Go's decoder finds them.

use base64::{Engine, engine::general_purpose::STANDARD};
use memchr::memmem::{find, rfind};

/// One block.
#[derive(Debug, PartialEq)]
pub struct Block {
    pub label: String,
    pub has_headers: bool,
    pub der: Vec<u8>,
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

/// All blocks of a text; what is around them, and what is no block, is passed over.
pub fn blocks(data: &[u8]) -> Vec<Block> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some(at) = find(rest, END) {
        let after = &rest[at + END.len()..];
        // of several beginnings before an end the last one counts
        let begin = rfind(&rest[..at], BEGIN).filter(|b| *b == 0 || rest[b - 1] == b'\n');
        match begin.and_then(|b| block(&rest[b + BEGIN.len()..at + 1], after)) {
            Some((block, next)) => {
                out.push(block);
                rest = next;
            }
            None => rest = after,
        }
    }
    out
}

/// The block whose text from its label to its last line is `inner`, and which `tail` should end, and what comes behind it.
fn block<'d>(inner: &[u8], tail: &'d [u8]) -> Option<(Block, &'d [u8])> {
    let (first, mut body) = line(inner);
    let label = first.strip_suffix(DASHES)?;
    let (last, next) = line(tail);
    if last.strip_suffix(DASHES)? != label {
        return None;
    }
    let mut has_headers = false;
    while let (header, below) = line(body)
        && header.contains(&b':')
    {
        has_headers = true;
        body = below;
    }
    let body: Vec<u8> = body
        .iter()
        .copied()
        .filter(|b| !b" \t\r\n".contains(b))
        .collect();
    let block = Block {
        label: String::from_utf8_lossy(label).into_owned(),
        has_headers,
        der: STANDARD.decode(body).ok()?,
    };
    Some((block, next))
}

/// The first line without white space at its end, and what follows it.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', text);
    let (line, rest) = match end {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[][..]),
    };
    (line.trim_ascii_end(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        let labels = |text: &str| -> Vec<String> {
            blocks(text.as_bytes())
                .into_iter()
                .map(|b| b.label)
                .collect()
        };
        for (text, want) in [
            ("-----BEGIN A-----\nQUJD\n-----END A-----", &["A"][..]),
            ("-----BEGIN A-----\n-----END A-----\n", &["A"]),
            ("-----BEGIN A-----\r\nQUJD\r\n-----END A-----\r\n", &["A"]),
            ("x\n-----BEGIN A-----\nQUJD\n-----END A-----  \nx", &["A"]),
            ("x-----BEGIN A-----\nQUJD\n-----END A-----\n", &[]),
            ("-----BEGIN A-----\nQUJD\n-----END B-----\n", &[]),
            ("-----BEGIN A-----\nQUJD\n-----END A-----x\n", &[]),
            ("-----BEGIN A-----\nQU=D\n-----END A-----\n", &[]),
            ("-----BEGIN A----\nQUJD\n-----END A-----\n", &[]),
            (
                "-----BEGIN A-----\n-----BEGIN B-----\nQUJD\n-----END B-----\n",
                &["B"],
            ),
            (
                "-----BEGIN A-----\n!\n-----END A-----\n-----BEGIN B-----\nQUJD\n-----END B-----",
                &["B"],
            ),
            ("", &[]),
        ] {
            assert_eq!(labels(text), want, "{text:?}");
        }
        let text = "hello\n-----BEGIN A B-----\nX: y\n\nQUJD\nRA==\n-----END A B-----\n-----BEGIN C-----\n";
        let want = Block {
            label: "A B".into(),
            has_headers: true,
            der: b"ABCD".to_vec(),
        };
        assert_eq!(blocks(text.as_bytes()), [want]);
    }
}
