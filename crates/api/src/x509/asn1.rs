//! What Go's ASN.1 decoder says of a request that it cannot read.

/// Where a value starts: what it is, and how long.
#[derive(Debug, PartialEq)]
struct Header {
    class: u8,
    tag: u8,
    length: usize,
    compound: bool,
}

/// The original's words for what is wrong with the outer structures of a certificate request.
pub fn words(der: &[u8]) -> String {
    let inner = sequence(der, "certificateRequest");
    match inner.and_then(|inner| sequence(inner, "tbsCertificateRequest")) {
        Err(words) => format!("asn1: {words}"),
        // Deeper faults are told by their place in Go's types, which nobody reads.
        Ok(_) => "asn1: syntax error: data truncated".to_owned(),
    }
}

/// What is in the sequence that `bytes` start with, which Go reads into the struct `name`.
fn sequence<'b>(bytes: &'b [u8], name: &str) -> Result<&'b [u8], String> {
    if bytes.is_empty() {
        return Err("syntax error: sequence truncated".to_owned());
    }
    let (header, at) = header(bytes)?;
    let Header {
        class,
        tag,
        length,
        compound,
    } = header;
    if (class, tag, compound) != (0, 16, true) {
        return Err(format!(
            "structure error: tags don't match (16 vs {{class:{class} tag:{tag} length:{length} isCompound:{compound}}}) {{optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false}} {name} @{at}"
        ));
    }
    bytes
        .get(at..at + length)
        .ok_or_else(|| "syntax error: data truncated".to_owned())
}

/// The first header and where it ends. Tags of more than one byte do not occur in what is read here.
fn header(bytes: &[u8]) -> Result<(Header, usize), String> {
    let mut rest = bytes.iter().copied();
    let mut next = || rest.next().ok_or("syntax error: truncated tag or length");
    let first = next()?;
    let short = next()?;
    let count = usize::from(short & 0x7f);
    let mut length = count;
    let mut end = 2;
    if short & 0x80 != 0 {
        if count == 0 {
            return Err("syntax error: indefinite length found (not DER)".to_owned());
        }
        length = 0;
        for _ in 0..count {
            let byte = next()?;
            if length >= 1 << 23 {
                return Err("structure error: length too large".to_owned());
            }
            length = length << 8 | usize::from(byte);
            if length == 0 {
                return Err("structure error: superfluous leading zeros in length".to_owned());
            }
        }
        if length < 0x80 {
            return Err("structure error: non-minimal length".to_owned());
        }
        end += count;
    }
    let header = Header {
        class: first >> 6,
        tag: first & 0x1f,
        length,
        compound: first & 0x20 != 0,
    };
    Ok((header, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_as_go_tells_them() {
        for (der, want) in [
            (&b""[..], "asn1: syntax error: sequence truncated"),
            (b"\x30", "asn1: syntax error: truncated tag or length"),
            (b"\x30\x05\x30", "asn1: syntax error: data truncated"),
            (
                b"\x30\x80",
                "asn1: syntax error: indefinite length found (not DER)",
            ),
            (b"\x30\x81\x05", "asn1: structure error: non-minimal length"),
            (
                b"hello",
                "asn1: structure error: tags don't match (16 vs {class:1 tag:8 length:101 isCompound:true}) {optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false} certificateRequest @2",
            ),
        ] {
            assert_eq!(words(der), want, "{der:?}");
        }
    }
}
