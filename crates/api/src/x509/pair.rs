//! Whether a certificate and a private key belong together, as a server of TLS needs them.

use super::{certificate, key::Public, pem};

/// What is wrong with a certificate and its key, both in PEM.
///
/// # Errors
/// In the original's words.
pub fn check(certificate: &[u8], key: &[u8]) -> Result<(), String> {
    let (certificates, others): (Vec<_>, Vec<_>) = pem::blocks(certificate)
        .into_iter()
        .partition(|b| b.label == "CERTIFICATE");
    let Some(first) = certificates.first() else {
        return Err(no_certificate(&labels(&others)));
    };
    let keys = pem::blocks(key);
    let is_key = |b: &&pem::Block| b.label == "PRIVATE KEY" || b.label.ends_with(" PRIVATE KEY");
    let Some(key) = keys.iter().find(is_key) else {
        return Err(no_key(&labels(&keys)));
    };
    let certificate = certificate::parse(&first.der)?;
    let private = Public::of_private(&key.der)?;
    match (Public::of(certificate.public_key()), private) {
        (Public::Other, _) => Err("tls: unknown public key algorithm".to_owned()),
        (a, b) if std::mem::discriminant(&a) != std::mem::discriminant(&b) => {
            Err("tls: private key type does not match public key type".to_owned())
        }
        (a, b) if a != b => Err("tls: private key does not match public key".to_owned()),
        _ => Ok(()),
    }
}

fn labels(blocks: &[pem::Block]) -> Vec<&str> {
    blocks.iter().map(|b| b.label.as_str()).collect()
}

fn no_certificate(found: &[&str]) -> String {
    match found {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [one] if one.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
        all => format!("tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]", all.join(" ")),
    }
}

fn no_key(found: &[&str]) -> String {
    match found {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        ["CERTIFICATE"] => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        all => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
            all.join(" ")
        ),
    }
}
