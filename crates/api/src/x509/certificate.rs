//! Certificates.

use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    der::{INTEGER, Reader},
    pem,
};

/// Reads a certificate.
///
/// # Errors
/// In the original's words, where it has its own.
pub fn parse(der: &[u8]) -> Result<X509Certificate<'_>, &'static str> {
    match X509Certificate::from_der(der) {
        Ok((rest, _)) if !rest.is_empty() => Err("x509: trailing data"),
        Ok((_, certificate)) => {
            if certificate
                .raw_serial()
                .first()
                .is_some_and(|b| b & 0x80 != 0)
            {
                return Err("x509: negative serial number");
            }
            if certificate.signature_algorithm != certificate.tbs_certificate.signature {
                return Err("x509: inner and outer signature algorithm identifiers don't match");
            }
            Ok(certificate)
        }
        Err(_) => Err(fault(der)),
    }
}

/// Which part of a certificate it is that cannot be read.
fn fault(der: &[u8]) -> &'static str {
    const MALFORMED: &str = "x509: malformed certificate";
    let Some(mut outer) = Reader(der).sequence() else {
        return MALFORMED;
    };
    let Some(mut inner) = outer.sequence() else {
        return "x509: malformed tbs certificate";
    };
    if inner.0.first() == Some(&0xa0) {
        let version = inner.take(0xa0).and_then(|v| Reader(v).take(INTEGER));
        match version {
            Some([0..=2]) => {}
            Some([0x80..=0xff, ..]) | None => return "x509: malformed version",
            Some(_) => return "x509: invalid version",
        }
    }
    if inner.take(INTEGER).is_none() {
        return "x509: malformed serial number";
    }
    let parts = [
        "x509: malformed signature algorithm identifier",
        "x509: malformed issuer",
        "x509: malformed validity",
        "x509: malformed issuer",
        "x509: malformed spki",
    ];
    let missing = parts.into_iter().find(|_| inner.sequence().is_none());
    missing.unwrap_or(MALFORMED)
}

/// Checks that there are certificates and nothing else.
///
/// # Errors
/// In the original's words, where it has its own.
pub fn certificates(data: &[u8]) -> Result<(), String> {
    let blocks = pem::blocks(data);
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
        parse(&block.der)?;
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
    fn faults_are_told_by_their_place() {
        for (der, want) in [
            (&b""[..], "x509: malformed certificate"),
            (b"hello", "x509: malformed certificate"),
            (b"\x30\x02\x05\x00", "x509: malformed tbs certificate"),
            (b"\x30\x04\x30\x02\x05\x00", "x509: malformed serial number"),
            (
                b"\x30\x09\x30\x07\xa0\x03\x02\x01\x07\x05\x00",
                "x509: invalid version",
            ),
            (
                b"\x30\x06\x30\x04\xa0\x02\x05\x00",
                "x509: malformed version",
            ),
            (
                b"\x30\x05\x30\x03\x02\x01\x01",
                "x509: malformed signature algorithm identifier",
            ),
            (
                b"\x30\x07\x30\x05\x02\x01\x01\x30\x00",
                "x509: malformed issuer",
            ),
        ] {
            assert_eq!(parse(der).unwrap_err(), want, "{der:?}");
        }
    }

    #[test]
    fn only_certificates_are_taken() {
        for (text, want) in [
            (
                "not a cert",
                "must contain at least one CERTIFICATE PEM block",
            ),
            (
                "-----BEGIN X-----\nQUJD\n-----END X-----",
                "only CERTIFICATE PEM blocks are allowed, found \"X\"",
            ),
            (
                "-----BEGIN CERTIFICATE-----\na: b\n\nQUJD\n-----END CERTIFICATE-----",
                "no PEM block headers are permitted",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----",
                "x509: malformed certificate",
            ),
        ] {
            assert_eq!(certificates(text.as_bytes()).unwrap_err(), want, "{text}");
        }
    }
}
