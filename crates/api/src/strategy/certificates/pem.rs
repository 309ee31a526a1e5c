//! PEM blocks and what is in them, as far as validation looks.

use base64::{Engine, engine::general_purpose::STANDARD};
use x509_parser::{
    certificate::X509Certificate, certification_request::X509CertificationRequest, prelude::FromDer,
};

use super::asn1;

/// One block.
#[derive(Debug, PartialEq)]
pub struct Block {
    pub label: String,
    pub has_headers: bool,
    pub der: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// All blocks of a text; what is around them, and what is no block, is passed over.
pub fn blocks(data: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines().map(str::trim_end);
    let mut out = Vec::new();
    while let Some(line) = lines.next() {
        let Some(label) = line
            .strip_prefix(BEGIN)
            .and_then(|l| l.strip_suffix("-----"))
        else {
            continue;
        };
        let end = format!("{END}{label}-----");
        let mut has_headers = false;
        let mut body = String::new();
        let closed = lines.by_ref().any(|line| {
            has_headers |= line.contains(": ");
            if line != end && !line.contains(':') {
                body.push_str(line);
            }
            line == end
        });
        if let (true, Ok(der)) = (closed, STANDARD.decode(body)) {
            let label = label.to_owned();
            out.push(Block {
                label,
                has_headers,
                der,
            });
        }
    }
    out
}

/// Checks that the first block is a request for a certificate.
///
/// # Errors
/// In the original's words, where it has its own.
pub fn request(data: &[u8]) -> Result<(), String> {
    let block = blocks(data).into_iter().next();
    let block = block
        .filter(|b| b.label == "CERTIFICATE REQUEST")
        .ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    match X509CertificationRequest::from_der(&block.der) {
        Ok(([], _)) => Ok(()),
        Ok(_) => Err("asn1: syntax error: trailing data".to_owned()),
        Err(_) => Err(asn1::words(&block.der)),
    }
}

/// Checks that there are certificates and nothing else.
///
/// # Errors
/// In the original's words, where it has its own.
pub fn certificates(data: &[u8]) -> Result<(), String> {
    let blocks = blocks(data);
    for block in &blocks {
        if block.label != "CERTIFICATE" {
            let words = "only CERTIFICATE PEM blocks are allowed, found";
            return Err(format!("{words} {:?}", block.label));
        }
        if block.has_headers {
            return Err("no PEM block headers are permitted".to_owned());
        }
        if block.der.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        if X509Certificate::from_der(&block.der).is_err() {
            return Err("x509: malformed certificate".to_owned());
        }
    }
    if blocks.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        let text = "hello\n-----BEGIN A B-----\nX: y\n\nQUJD\nRA==\n-----END A B-----\n-----BEGIN C-----\n";
        let want = Block {
            label: "A B".into(),
            has_headers: true,
            der: b"ABCD".to_vec(),
        };
        assert_eq!(blocks(text.as_bytes()), [want]);
        assert_eq!(
            certificates(b"not a cert").unwrap_err(),
            "must contain at least one CERTIFICATE PEM block"
        );
        let wrong = "-----BEGIN CERTIFICATE REQUEST-----\nQUJD\n-----END CERTIFICATE REQUEST-----";
        assert!(request(wrong.as_bytes()).is_err() && certificates(wrong.as_bytes()).is_err());
    }
}
